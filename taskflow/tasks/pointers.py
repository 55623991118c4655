"""Places in JSON, and how they are named: RFC 6901, JSON Pointer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Place = tuple[int | str, ...]  # the keys and indexes that lead there


def pointer(place: Iterable[Any]) -> str:
    """The JSON pointer to the place that these keys and indexes lead to; "" is the whole document."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in place)


def value_at(document: Any, place: Place) -> Any:
    """What stands at a place. Raises `LookupError` or `TypeError` if there is no such place."""
    for part in place:
        document = document[part]
    return document
