"""What a check finds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is the case, `why` it matters, `fix`: a command or statement. An error keeps taskflow from working, now or
    at the next occasion; a note needs nobody to do anything."""

    severity: Severity
    what: str
    why: str
    fix: str


def error(what: str, why: str, fix: str) -> Finding:
    return Finding("error", what, why, fix)


def warning(what: str, why: str, fix: str) -> Finding:
    return Finding("warning", what, why, fix)


def note(what: str, why: str, fix: str) -> Finding:
    return Finding("note", what, why, fix)


def few(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    found: Sequence[str] = list(names)
    more = f" and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more


def time(seconds: float) -> str:
    """Seconds as people say them."""
    for length, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.3g} seconds"
