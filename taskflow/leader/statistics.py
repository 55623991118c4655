"""The statistics of each minute, counted from the audit rows: no completion ever touches a counter."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from taskflow.leader.looper import Connection, Loop
from taskflow.store import statistics

MINUTE = timedelta(minutes=1)
CATCH_UP = timedelta(days=1)
# Minutes are counted again for so long after they ended: a row is stamped a little before its commit shows it.
LATE = timedelta(minutes=2)
INTERVAL_SECONDS = 10.0
ROUND_SECONDS = 0.2
QUICK_SECONDS = 0.02
REST = 20  # times the duration of a round: counting takes at most a twentieth of one core, however much there is
CATCH_UP_REST = 4  # and a fifth of one while minutes are missing: workers beside it must not notice


class Statistics(Loop):
    """Counts the current minute and the last ones again and again; after a downtime, what was missed, up to a day."""

    name = "statistics"

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next: datetime | None = None
        self.final: datetime | None = None
        """The minutes before this one are counted for good; None while there may be some that are not."""

    def begin(self, connection: Connection) -> None:
        self._next = self.final = None

    def work(self, connection: Connection) -> float:
        started = self._clock()
        current, done = statistics.rolled_up_until(connection)
        minute = self._first_minute(current, done)
        step = MINUTE
        while minute <= current:
            began, end = self._clock(), min(minute + step, current + MINUTE)
            statistics.roll_up(connection, minute, end)
            minute = end
            # A day of nothing is 1,440 minutes: many at a time, as long as that takes next to no time.
            step = 2 * step if self._clock() - began < QUICK_SECONDS else MINUTE
            if self._clock() - started > ROUND_SECONDS and minute <= current:
                self._next = minute
                return (REST if minute > current - LATE else CATCH_UP_REST) * (self._clock() - started)
        self._next = self.final = current - LATE
        return max(INTERVAL_SECONDS, REST * (self._clock() - started))

    def _first_minute(self, current: datetime, done: datetime | None) -> datetime:
        if self._next is None:
            self._next = current - CATCH_UP if done is None else done - LATE
        if self._next > current:  # the clock was set back
            self._next = current - LATE
        return max(self._next, current - CATCH_UP)
