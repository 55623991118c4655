"""Durations as people write them."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import PydanticCustomError

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])")


def duration(value: Any) -> Any:
    """Seconds from `500ms`, `10s`, `2m`, `1h30m`, `7d` or a number as text; what is no text is left as it is.

    Raises pydantic's error for anything else.
    """
    if isinstance(value, bool):
        raise _refusal()
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        return float(text)
    except ValueError:
        parts = PART.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        raise _refusal()
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def _refusal() -> PydanticCustomError:
    return PydanticCustomError(
        "duration", "must be a number of seconds, or a duration such as 500ms, 10s, 2m, 1h30m or 7d"
    )
