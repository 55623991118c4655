"""How many tasks have ended, by queue and state: counted minute by minute, so that nobody who asks reads history."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from taskflow.leader.looper import Connection, Loop
from taskflow.leader.statistics import LATE, MINUTE, REST, ROUND_SECONDS
from taskflow.store import statistics

INTERVAL_SECONDS = 3.0
UPKEEP_SECONDS = 60.0
QUICK_SECONDS = 0.2
LONGEST_STEP = timedelta(days=1)


class Endings(Loop):
    """Counts the current minute and the last ones again and again. After a downtime of whatever length it goes on where
    it was: unlike the rates of `Statistics`, of which nobody asks after days, these must add up to what there is."""

    name = "endings"

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next: datetime | None = None
        self._first_step = MINUTE
        self._upkeep_at = float("-inf")

    def begin(self, connection: Connection) -> None:
        self._next = None
        self._first_step = MINUTE
        self._upkeep_at = float("-inf")

    def work(self, connection: Connection) -> float:
        started = self._clock()
        current, counted = statistics.endings_counted_until(connection)
        if counted is None:
            return INTERVAL_SECONDS
        self._next = min(counted if self._next is None else self._next, current) - LATE
        step = self._first_step
        while self._next <= current:
            if self._clock() - started > ROUND_SECONDS:
                self._next += LATE  # it is gone back to at the next round
                return REST * (self._clock() - started)
            began, end = self._clock(), min(self._next + step, current + MINUTE)
            statistics.count_endings(connection, self._next, end)
            self._next = end
            # What is behind goes by quickly: many minutes at a time, as long as that does not take long.
            step = min(2 * step, LONGEST_STEP) if self._clock() - began < QUICK_SECONDS else MINUTE
        # Where little ends, the current minute and the last ones are one statement.
        self._first_step = LATE + MINUTE if self._clock() - started < QUICK_SECONDS else MINUTE
        if started >= self._upkeep_at and not statistics.count_forgotten_day(connection):
            statistics.fold_endings(connection)
            self._upkeep_at = self._clock() + UPKEEP_SECONDS
        return max(INTERVAL_SECONDS, REST * (self._clock() - started))
