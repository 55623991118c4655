"""How often a task type runs by itself, as its handler's decorator says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from taskflow.errors import LONGEST_SECONDS
from taskflow.tasks.limits import seconds_of

Missed = Literal["skip", "once", "all"]
Overlap = Literal["allow", "skip"]


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Either `cron` (five fields or an @word, by the clocks of `timezone`) or `interval` (seconds)."""

    cron: str | None
    interval: float | None
    timezone: str
    missed: Missed
    overlap: Overlap
    jitter: float

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any]) -> Recurrence | None:
        """What the options of a handler of the type `name` say; None if it is run only when somebody enqueues it.

        Raises `ValueError` or `InvalidSchedule`.
        """
        given = {name: options[name] for name in cls.__dataclass_fields__ if options.get(name) is not None}
        if not given:
            return None
        if "cron" not in given and "interval" not in given:
            raise ValueError(f"{next(iter(given))} is about a schedule: give cron or interval too")
        found = cls(
            cron=given.get("cron"),
            interval=seconds_of(given.get("interval"), "interval", positive=True, most=LONGEST_SECONDS),
            timezone=given.get("timezone", "UTC"),
            missed=_one_of(given.get("missed", "once"), "missed", ("skip", "once", "all")),
            overlap=_one_of(given.get("overlap", "allow"), "overlap", ("allow", "skip")),
            jitter=seconds_of(given.get("jitter", 0), "jitter") or 0.0,
        )
        found.check(name)
        return found

    def check(self, name: str) -> None:
        """Raises `InvalidSchedule` if it cannot fire, or have this name."""
        # Here, since the rules cost a producer that has no schedule 30 ms and more to import.
        from taskflow.schedules import Timing, check_name

        if self.cron is not None and not isinstance(self.cron, str):
            raise ValueError(f"cron must be a text such as '0 7 * * 1-5', not {self.cron!r}")
        Timing(self.cron, self.interval, str(self.timezone), datetime.now(UTC)).check()
        check_name(name)

    def columns(self) -> dict[str, Any]:
        """The values for the columns of `taskflow.schedules`."""
        return asdict(self)


def _one_of(value: Any, name: str, words: tuple[str, ...]) -> Any:
    if value not in words:
        raise ValueError(f"{name} must be one of {', '.join(words)}, not {value!r}")
    return value
