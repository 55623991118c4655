"""The blocks of code of the documentation, as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
HOSTS = re.compile(r"(?:http://)?(?:127\.0\.0\.1|localhost):8080")
SHORTENED = "\N{HORIZONTAL ELLIPSIS}"


def blocks(page: Path, *languages: str) -> list[str]:
    """The blocks in one of these languages, in their order."""
    pattern = rf"^```(?:{'|'.join(languages)})\n(.*?)^```"
    return re.findall(pattern, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def scripts(page: Path, url: str) -> list[str]:
    """What is typed into a shell, with `url` for the server that the documentation talks to."""
    return [HOSTS.sub(url, typed(block)) for block in blocks(page, "sh", "console")]


def typed(block: str) -> str:
    """Of a session, what stands behind the prompt; anything else is answers. Without a prompt all of it is typed."""
    if not re.search(r"^\$ ", block, re.MULTILINE):
        return block
    lines, going_on = [], False
    for line in block.split("\n"):
        if line.startswith("$ ") or going_on:
            lines.append(line.removeprefix("$ "))
            going_on = line.endswith("\\")
    return "\n".join(lines) + "\n"


def statements(block: str) -> list[str]:
    """The SQL statements of a block; each ends with a line."""
    without_comments = re.sub(r"--.*$", "", block, flags=re.MULTILINE)
    return [one.strip() for one in re.split(r";[ \t]*$", without_comments, flags=re.MULTILINE) if one.strip()]
