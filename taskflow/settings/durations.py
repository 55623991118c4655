"""Durations as people write them."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import PydanticCustomError

from taskflow.errors import LONGEST_SECONDS

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])")


def duration(value: Any) -> Any:
    """Seconds from `500ms`, `10s`, `2m`, `1h30m`, `7d` or a number as text; what is neither text nor number is left as
    it is.

    Raises pydantic's error for anything else, and for more than a hundred years: neither clocks nor calendars go on
    for as long as one may write.
    """
    if isinstance(value, bool):
        raise _refusal()
    seconds = _seconds(value) if isinstance(value, str) else value
    if isinstance(seconds, int | float) and seconds > LONGEST_SECONDS:
        raise PydanticCustomError("duration", "must be at most a hundred years (36525d)")
    return seconds


def with_units(text: str) -> float | None:
    """The seconds that a duration such as `1h30m` means; None for what is none, such as a number without a unit."""
    parts = PART.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        return None
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def _seconds(text: str) -> float:
    text = text.strip()
    try:
        return float(text)
    except ValueError:
        seconds = with_units(text)
    if seconds is None:
        raise _refusal()
    return seconds


def _refusal() -> PydanticCustomError:
    return PydanticCustomError(
        "duration", "must be a number of seconds, or a duration such as 500ms, 10s, 2m, 1h30m or 7d"
    )
