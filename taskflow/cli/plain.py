"""Texts and values as people read them, and harmless: what a task holds is written by others."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from typing import Any

# All that could move the cursor, colour or retitle a terminal, or turn the direction of writing.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")
UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "m"))
SHORT_SECONDS = 1.0


def color() -> bool | None:
    """For click.echo: False where colours are not wanted (no-color.org); None, as the terminal is."""
    return False if os.environ.get("NO_COLOR") else None


def clean(text: str, *, indent: int = 0) -> str:
    """`text` without what a terminal would obey; `indent` is for its further lines."""
    harmless = CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return harmless.replace("\n", "\n" + " " * indent)


def one_line(value: Any) -> str:
    """A value for a cell of a table that programs read: nothing where there is none, no tab, no line break."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case dict():
            return as_json(value)
        case list() | tuple() if all(isinstance(item, str) for item in value):
            return clean(",".join(value)).replace("\t", " ").replace("\n", " ")
        case list() | tuple():
            return as_json(value)
        case _:
            return clean(str(value)).replace("\t", " ").replace("\n", " ")


def as_json(value: Any) -> str:
    """JSON on one line. No character in it is one that a terminal obeys."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def moment(text: str | None) -> datetime | None:
    """A time of the API."""
    return None if text is None else datetime.fromisoformat(text)


def at(text: str | None) -> str | None:
    """A time of the API to the second, in UTC."""
    found = moment(text)
    return None if found is None else found.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def ago(text: str | None) -> str | None:
    """How long ago a time of the API is, or in how long it will be."""
    found = moment(text)
    if found is None:
        return None
    seconds = (datetime.now(UTC) - found).total_seconds()
    return f"in {span(-seconds)}" if seconds <= -SHORT_SECONDS else f"{span(max(0.0, seconds))} ago"


def span(seconds: float | None) -> str | None:
    """A length of time in its two largest units: 45ms, 3.2s, 2m5s, 1h30m, 2d."""
    if seconds is None:
        return None
    if seconds < SHORT_SECONDS:
        return f"{seconds * 1000:.0f}ms" if seconds else "0s"
    if seconds < 60:
        return f"{seconds:.3g}s"
    for place, (length, unit) in enumerate(UNITS):
        if seconds >= length:
            whole, rest = divmod(seconds, length)
            smaller, small = UNITS[place + 1] if place + 1 < len(UNITS) else (1.0, "s")
            return f"{whole:.0f}{unit}" + (f"{rest // smaller:.0f}{small}" if rest >= smaller else "")
    return f"{seconds:.0f}s"


def number(value: float | None) -> str | None:
    """A number with separators."""
    return None if value is None else f"{value:,.4g}" if isinstance(value, float) and value < 1000 else f"{value:,.0f}"
