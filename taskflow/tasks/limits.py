"""The rules for the plain fields of a task, checked where a mistake is made rather than where the database sees it.

Every function returns the value in its stored form or raises `ValueError` with a whole sentence.
"""

from __future__ import annotations

from datetime import timedelta

from taskflow.queue_names import QUEUE_RULE, is_queue_name
from taskflow.tasks.task import Priority
from taskflow.tasks.texts import is_storable

STORABLE = " without NUL or half a surrogate pair"
MAX_TIMEOUT_SECONDS = 30 * 86_400.0
_PRIORITIES = {level.name.lower(): level for level in Priority}


def check_type(value: object) -> str:
    """A task type: 1 to 200 characters that PostgreSQL can store."""
    if not isinstance(value, str) or not 1 <= len(value) <= 200 or not is_storable(value):
        raise ValueError(f"type must be a text of 1 to 200 characters{STORABLE}, not {value!r:.250}")
    return value


def check_queue(value: object) -> str:
    """A queue's name: 1 to 100 letters, digits and ``. - _ :``."""
    if not is_queue_name(value):
        raise ValueError(f"queue must be {QUEUE_RULE} (got {value!r:.150})")
    return value


def priority_of(value: object) -> Priority:
    """A priority given as 0..3, as a `Priority`, or by name."""
    if isinstance(value, str) and value in _PRIORITIES:
        return _PRIORITIES[value]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 3:
        return Priority(value)
    raise ValueError(f"priority must be 0 to 3 or one of {', '.join(_PRIORITIES)}, not {value!r}")


def check_key(value: object, name: str) -> str:
    """A unique or concurrency key: 1 to 500 characters that PostgreSQL can store."""
    if not isinstance(value, str) or not 1 <= len(value) <= 500 or not is_storable(value):
        raise ValueError(f"{name} must be a text of 1 to 500 characters{STORABLE}, not {value!r:.200}")
    return value


def check_max_attempts(value: object) -> int | None:
    """1 to 1000 attempts; None: as the queue says."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1000:
        return value
    raise ValueError(f"max_attempts must be a whole number from 1 to 1000, not {value!r}")


def seconds_of(value: object, name: str, *, positive: bool = False, most: float = MAX_TIMEOUT_SECONDS) -> float | None:
    """A duration given as seconds or a timedelta, at most `most` (30 days); None stays None."""
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds <= most:
        enough = seconds > 0 if positive else seconds >= 0
        if enough:  # NaN is not
            return float(seconds)
    least = "more than 0" if positive else "at least 0"
    raise ValueError(f"{name} must be {least} and at most {most:.0f} seconds, a number or a timedelta, not {value!r}")
