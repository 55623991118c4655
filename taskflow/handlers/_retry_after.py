"""The header `Retry-After`: RFC 9110, section 10.2.3."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

SHORTEST_SECONDS = 1.0  # "0" must not use up all attempts within a blink
LONGEST_SECONDS = 86_400.0  # nobody else decides that a task sleeps for a year


def retry_after_seconds(value: str, *, now: datetime) -> float | None:
    """Seconds from `now` that `value` (seconds, or an HTTP date) asks to wait, 1 to 86400; None if it says nothing."""
    seconds = _delay(value.strip(), now)
    return None if seconds is None else min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)


def _delay(value: str, now: datetime) -> float | None:
    if value.isascii() and value.isdigit():
        return LONGEST_SECONDS if len(value) > 9 else float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
