"""JSON as the database holds it: any SQL producer may store what Python cannot hold."""

from __future__ import annotations

import json
from typing import Any

import orjson


class Unreadable(dict[str, Any]):
    """In place of a JSON value that cannot be read here: an empty object that knows the `reason`."""

    reason: str = ""


def decode_stored(text: bytes | bytearray | memoryview | str) -> Any:
    """The value of a jsonb. Never raises: one task that cannot be read must not cost the whole batch it comes with.

    A number of hundreds of digits is none that orjson takes, but one that Python holds; what is nested 1,000 levels
    deep or has a number of thousands of digits becomes an `Unreadable`.
    """
    try:
        return orjson.loads(text)
    except ValueError as first:
        try:
            return json.loads(bytes(text) if isinstance(text, memoryview) else text)
        except (ValueError, RecursionError):
            unreadable = Unreadable()
            unreadable.reason = str(first)
            return unreadable
