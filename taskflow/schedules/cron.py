"""The fire times of a cron expression in a time zone.

croniter reads the expression and finds its times on a clock that knows no zones; what becomes of them where clocks are
changed is decided here. Where the field of hours names hours, people mean the clock on the wall: a time that is left
out fires once, right after the gap, and one that comes twice fires the first time. Where it is a wildcard or a step,
they mean a rhythm, and firing follows elapsed time: what is left out does not fire, what comes twice fires twice.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, CroniterError, croniter

from taskflow.errors import InvalidSchedule
from taskflow.schedules.syntax import fields_of, follows_elapsed_time, invalid
from taskflow.schedules.zones import LATEST, first_instant, offset_at, stretches

MINUTE = timedelta(minutes=1)
ANY_TIME = datetime(2000, 1, 1)  # noqa: DTZ001  (croniter is given times without a zone)


class Cron:
    """A parsed expression; safe to share between threads. Get one from `Cron.of`, which remembers them."""

    def __init__(self, expression: str) -> None:
        fields = fields_of(expression)
        self._elapsed = follows_elapsed_time(fields[1])
        try:
            self._croniter = croniter(" ".join(fields), ANY_TIME, ret_type=datetime)
        except (CroniterError, ValueError, KeyError, TypeError) as error:
            raise invalid(f"cannot be read: {error}") from error
        # croniter looks fifty years ahead; no date that there is takes longer to come.
        if self._match(ANY_TIME) is None:
            raise InvalidSchedule("cron", "cron_never_fires", "never fires: there is no such date")

    @staticmethod
    @lru_cache(maxsize=20_000)
    def of(expression: str) -> Cron:
        """The expression, parsed. Raises `InvalidSchedule` if it is none, or none that ever fires."""
        return Cron(expression)

    def next_after(self, after: datetime, zone: ZoneInfo) -> datetime | None:
        """The first fire time later than `after`, both UTC; None if there is none before the year 2200."""
        find = self._by_elapsed_time if self._elapsed else self._by_the_clock
        found = find(after, zone)
        return found if found is not None and found < LATEST else None

    def _by_the_clock(self, after: datetime, zone: ZoneInfo) -> datetime | None:
        local = _local(after, offset_at(zone, after)) + MINUTE
        while (match := self._match(local)) is not None:
            instant = first_instant(match, zone)
            if instant > after:
                return instant
            local = match + MINUTE  # clocks show it for the second time
        return None

    def _by_elapsed_time(self, after: datetime, zone: ZoneInfo) -> datetime | None:
        lower = match = None
        for begin, end, offset in stretches(zone, after):
            local = _local(begin, offset) + (MINUTE if begin == after else timedelta())
            if lower is None or match is None or not lower <= local <= match:
                lower, match = local, self._match(local)
            if match is None:
                return None
            instant = (match - offset).replace(tzinfo=UTC)
            if instant < end:
                return instant
        return None

    def _match(self, local: datetime) -> datetime | None:
        """The first match at or after the naive `local`, which is a whole minute."""
        try:
            # A copy, since it remembers where it is. What is parsed is shared.
            found = copy.copy(self._croniter).get_next(datetime, start_time=local - MINUTE)
        except (CroniterBadDateError, OverflowError, ValueError):
            return None
        assert isinstance(found, datetime)
        return found


def _local(instant: datetime, offset: timedelta) -> datetime:
    """What clocks show at an instant, without seconds."""
    return (instant + offset).replace(tzinfo=None, second=0, microsecond=0)
