"""The words of tasks: their states and orders, and what the options that choose some of them mean to the API."""

from __future__ import annotations

from typing import Any

SORTS = ("-id", "id", "-created_at", "scheduled_at", "-priority", "-completed_at")
PRIORITIES = ("low", "normal", "high", "critical")


def query_of(words: tuple[str, ...], states: tuple[str, ...], type_: str | None, queue: str | None) -> dict[str, Any]:
    """The parameters of GET /tasks; those that were not given are left out."""
    text = " ".join(words)
    given = {"q": text or None, "state": list(states) or None, "type": type_, "queue": queue}
    return {name: value for name, value in given.items() if value is not None}
