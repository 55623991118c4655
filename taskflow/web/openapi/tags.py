"""The resources in the order in which a reader meets them: the usual ones first, what probes and programs need last."""

from __future__ import annotations

FIRST = ("tasks", "queues", "schedules", "workers", "types", "dead_letters", "statistics", "events")
LAST = ("jobs", "health", "metrics", "openapi")


def place(tag: str) -> tuple[int, int, str]:
    """What to sort tags by. One that is not known here stands between the first and the last."""
    if tag in FIRST:
        return 0, FIRST.index(tag), tag
    return (2, LAST.index(tag), tag) if tag in LAST else (1, 0, tag)
