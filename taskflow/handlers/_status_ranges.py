"""HTTP statuses as people write them: `204`, `"2xx"`, `"200-204"`."""

from __future__ import annotations

import re
from collections.abc import Iterable

PATTERN = r"^([1-5][0-9][0-9](-[1-5][0-9][0-9])?|[1-5][xX][xX])$"


def range_of(text: str | int) -> range:
    """The statuses that one entry means. Raises `ValueError`."""
    text = str(text)
    if not re.fullmatch(PATTERN.strip("^$"), text):
        raise ValueError("a status is 204, '2xx' or '200-204'")
    if text[1:].lower() == "xx":
        return range(int(text[0]) * 100, int(text[0]) * 100 + 100)
    first, _, last = text.partition("-")
    if int(last or first) < int(first):
        raise ValueError("a range of statuses begins with the lower one")
    return range(int(first), int(last or first) + 1)


def is_among(status: int, entries: Iterable[str | int]) -> bool:
    """Whether one of the entries means `status`."""
    return any(status in range_of(entry) for entry in entries)
