"""When one schedule fires: its expression or interval, within its beginning and its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile

from taskflow.errors import LONGEST_SECONDS, InvalidSchedule
from taskflow.schedules.cron import Cron
from taskflow.schedules.zones import EARLIEST, LATEST, zone_of

INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Timing:
    """Either `cron` or `interval` (seconds). Times are UTC; `starts_at` and `ends_at` are included.

    The fire times of an interval are counted from `starts_at`, the first one, or else from `created_at`, one interval
    after it: they do not drift, whenever the one before was fired.
    """

    cron: str | None
    interval: float | None
    timezone: str
    created_at: datetime
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def check(self) -> None:
        """Raises `InvalidSchedule` unless there is a rule, and one that can fire."""
        zone_of(self.timezone)
        if self.cron is not None:
            Cron.of(self.cron)
        if (self.cron is None) == (self.interval is None):
            raise InvalidSchedule("cron", "contradiction", "give either cron or interval")
        if self.interval is not None and not 0 < self.interval <= LONGEST_SECONDS:
            raise InvalidSchedule("interval", "out_of_range", "must be more than 0 and at most a hundred years")
        check_time("starts_at", self.starts_at)
        check_time("ends_at", self.ends_at)
        if self.starts_at and self.ends_at and self.ends_at < self.starts_at:
            raise InvalidSchedule("ends_at", "contradiction", "is before starts_at")

    def next_after(self, after: datetime) -> datetime | None:
        """The first fire time later than `after`; None if there is none any more. Raises `InvalidSchedule`."""
        check_time("after", after)
        check_time("starts_at", self.starts_at)
        if self.starts_at is not None:
            after = max(after, self.starts_at - INSTANT)
        after = after.astimezone(UTC)
        if self.cron is not None:
            found = Cron.of(self.cron).next_after(after, zone_of(self.timezone))
        else:
            found = self._next_step(after)
        if found is None or (self.ends_at is not None and found > self.ends_at):
            return None
        return found

    def after(self, after: datetime) -> Iterator[datetime]:
        """All fire times later than `after`, in order."""
        found = self.next_after(after)
        while found is not None:
            yield found
            found = self.next_after(found)

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The fire times later than `after` and no later than `until`."""
        return takewhile(lambda time: time <= until, self.after(after))

    def upcoming(self, after: datetime, count: int) -> list[datetime]:
        """The next `count` fire times later than `after`, or as many as there are."""
        return list(islice(self.after(after), count))

    def _next_step(self, after: datetime) -> datetime | None:
        if self.interval is None:
            raise InvalidSchedule("cron", "contradiction", "give either cron or interval")
        step = max(timedelta(seconds=self.interval), INSTANT)
        first = self.starts_at or self.created_at + step
        if after < first:
            return first.astimezone(UTC)
        try:
            found = first + ((after - first) // step + 1) * step
        except OverflowError:
            return None
        return found.astimezone(UTC) if found < LATEST else None


def check_time(field: str, time: datetime | None) -> None:
    """Raises `InvalidSchedule` for a time so early that nothing can be reckoned from it in every zone."""
    if time is not None and time < EARLIEST:
        raise InvalidSchedule(field, "out_of_range", "must not be before the year 1900")
