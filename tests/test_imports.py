"""Imports point one way: cli, web → worker, leader → client → store → tasks → errors."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import taskflow

PACKAGE = Path(taskflow.__file__).parent
LEAVES = {"errors", "queue_names", "secret_names", "settings", "stop_flag", "telemetry"}
PUBLIC = "the public names of taskflow"  # what `from taskflow import task` reaches: the client and below

MAY_IMPORT = {
    "errors": set(),
    "queue_names": set(),
    "secret_names": set(),
    "settings": {"errors", "queue_names", "secret_names"},
    "telemetry": {"errors", "secret_names", "settings"},
    "schedules": {"errors"},
    "tasks": {"errors", "queue_names", "schedules"},
    "schema": {"errors"},
    "store": {"schedules", "tasks", *LEAVES},
    "client": {"store", "tasks", *LEAVES},
    PUBLIC: {"client", "tasks", "errors"},
    "handlers": {PUBLIC, "client", "tasks", *LEAVES},
    "processes": set(),
    "stop_flag": set(),
    "cluster": {"processes", "errors"},
    "leader": {PUBLIC, "client", "schedules", "store", "tasks", *LEAVES},
    "worker": {PUBLIC, "leader", "client", "schedules", "store", "tasks", "processes", *LEAVES},
    "web": {PUBLIC, "client", "schema", "schedules", "store", "tasks", *LEAVES},
    "bench": {PUBLIC, "client", "cluster", "processes", "store", "tasks", "web", "worker", *LEAVES},
    "testing": {PUBLIC, "client", "cluster", "store", "tasks", "worker", *LEAVES},
    "cli": {
        PUBLIC,
        "bench",
        "client",
        "cluster",
        "leader",
        "processes",
        "schedules",
        "store",
        "tasks",
        "web",
        "worker",
        *LEAVES,
    },
    "__main__": {"cli"},
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports_of(source: str, module: tuple[str, ...], *, is_package: bool) -> Iterator[str]:
    """The parts of taskflow that `source` imports, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = module[: len(module) - node.level + is_package] if node.level else ()
            start = ".".join([*parent, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for first, *rest in (name.split(".") for name in names):
            if first == "taskflow":
                yield rest[0] if rest and rest[0] in MAY_IMPORT else PUBLIC


def part_of(path: Path) -> tuple[str, tuple[str, ...]]:
    inside = path.relative_to(PACKAGE).with_suffix("").parts
    return (PUBLIC if inside == ("__init__",) else inside[0]), ("taskflow", *inside)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    part, module = part_of(path)
    is_package = module[-1] == "__init__"
    found = set(imports_of(path.read_text(), module[:-1] if is_package else module, is_package=is_package))
    assert part in MAY_IMPORT, f"{part} is new: say in MAY_IMPORT what it may import"
    assert found - {part} <= MAY_IMPORT[part]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import taskflow.worker.slots", {"worker"}),
        ("from taskflow import task, worker", {PUBLIC, "worker"}),
        ("def f():\n    from taskflow.leader import Leader", {"leader"}),
        ("from ..worker import run", {"worker"}),
        ("from . import auth", {"web"}),
        ("import psycopg", set()),
    ],
)
def test_the_rule_sees_every_form_of_import(source: str, expected: set[str]) -> None:
    assert set(imports_of(source, ("taskflow", "web", "app"), is_package=False)) == expected


def test_what_is_allowed_has_no_circle() -> None:
    done: set[str] = set()
    while remaining := {part for part in MAY_IMPORT if part not in done}:
        free = {part for part in remaining if MAY_IMPORT[part] <= done}
        assert free, f"these import each other: {remaining}"
        done |= free


def test_web_never_imports_the_worker() -> None:
    assert "worker" not in MAY_IMPORT["web"]
    assert "leader" not in MAY_IMPORT["web"]
