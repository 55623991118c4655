"""PostgreSQL's array literals, written directly: on the hot path the driver's own dumper costs ten times as much."""

from __future__ import annotations

from collections.abc import Iterable


def integers(values: Iterable[int]) -> str:
    """The literal of an array of whole numbers."""
    return "{" + ",".join(map(str, values)) + "}"


def numbers(values: Iterable[float | None]) -> str:
    """The literal of an array of numbers; None is NULL."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def texts(values: Iterable[str | None]) -> str:
    """The literal of an array of texts (or of anything that is written as one); None is NULL."""
    return "{" + ",".join(["NULL" if value is None else _quoted(value) for value in values]) + "}"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
