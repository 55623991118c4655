"""To which resource an address belongs, and the order in which a reader meets the resources."""

from __future__ import annotations

import re

PREFIX = re.compile(r"/(?:api/v1/|(admin)/)?([a-z_]+)")
# Addresses that belong to a resource of another name.
BELONGS = {"docs": "openapi", "live": "health", "ready": "health", "stats": "statistics", "metrics": "statistics"}
BELONGS["ws"] = "events"
ORDER = ("tasks", "queues", "schedules", "workers", "types", "dlq", "statistics", "events", "keys", "audit")
LAST = ("jobs", "health", "openapi")


def tag_of(path: str) -> str:
    """The resource that an address is about; `/admin/workers` is about workers too."""
    name = _parts(path)[1]
    return BELONGS.get(name, name)


def family_of(path: str) -> str:
    """With what the names of the operations at an address begin."""
    admin, name = _parts(path)
    return f"admin_{name}" if admin else name


def place(tag: str) -> tuple[int, str]:
    """What to sort resources by. One that is not known here stands before the last."""
    if tag in ORDER:
        return ORDER.index(tag), tag
    return len(ORDER) + (1 + LAST.index(tag) if tag in LAST else 0), tag


def _parts(path: str) -> tuple[str | None, str]:
    found = PREFIX.match(path)
    return (found[1], found[2]) if found else (None, "other")
