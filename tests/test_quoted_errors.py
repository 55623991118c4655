"""What docs/troubleshooting.md quotes is what the program says: no reader looks in vain for a message."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = [
    line
    for block in re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.strip().split("\n")
]
HOLE = "\N{HORIZONTAL ELLIPSIS}"


@cache
def said() -> str:
    """Every text of the program, a line each, with a hole where a value is filled in."""
    texts: list[str] = []
    for path in (ROOT / "taskflow").rglob("*.py"):
        texts += _texts(ast.parse(path.read_text(encoding="utf-8")))
    return "\n".join(texts)


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield " ".join(node.value.split())


@pytest.mark.parametrize("line", QUOTED)
def test_a_quoted_error_is_one_that_the_program_can_say(line: str) -> None:
    parts = [part.strip() for part in line.split(HOLE) if len(part.strip()) > 2]
    assert parts, line
    for part in parts:
        assert part in said(), part


def test_there_are_quotes_to_look_at() -> None:
    assert len(QUOTED) > 25
