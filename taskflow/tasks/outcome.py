"""What became of an attempt: a closed union, matched once where it is written to the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The handler returned; `result` is any JSON value, or None."""

    result: Any = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised. `final`: no retry helps. `retry_after_seconds`: instead of the policy's delay."""

    error: str
    traceback: str | None = None
    final: bool = False
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The handler ran longer than its timeout; charged and retried like a failure."""

    error: str


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The handler asked to run again after `seconds`; not charged."""

    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The task was cancelled while it ran, or cancelled itself."""

    reason: str


Outcome = Succeeded | Failed | TimedOut | Snoozed | Cancelled
