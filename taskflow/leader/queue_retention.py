"""Queue retention: what a queue keeps for a shorter time than the system does is removed row by row."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from taskflow.leader.looper import Connection, Loop
from taskflow.store import queue_retention
from taskflow.store.partitions import database_time
from taskflow.store.queue_retention import BATCH, Kept

INTERVAL_SECONDS = 60.0
LEAST_SECONDS = 1.0
ROUND_SECONDS = 2.0  # then the other loops come first
STEP = timedelta(minutes=10)
AGAIN = timedelta(days=1)
"""So often it begins at the oldest again: something may have been locked when it was there."""


class QueueRetention(Loop):
    """Goes through history in steps of some minutes, and remembers how far it was: of other queues, whose rows lie in
    between, each is looked at once."""

    name = "queue_retention"

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = now
        self._clock = clock
        self._done: dict[tuple[str, str], datetime] = {}
        self._begun: datetime | None = None

    def work(self, connection: Connection) -> float:
        # Both clocks must say that the time is up, as for whole days.
        now = min(database_time(connection), self._now())
        if self._begun is None or not timedelta(0) <= now - self._begun < AGAIN:
            self._begun, self._done = now, {}
        deadline = self._clock() + ROUND_SECONDS
        wait = INTERVAL_SECONDS
        for what in queue_retention.kept(connection):
            if not self._forget(connection, what, now - timedelta(seconds=what.seconds), deadline):
                return 0.0
            wait = min(wait, max(LEAST_SECONDS, what.seconds / 10))
        return wait

    def _forget(self, connection: Connection, what: Kept, until: datetime, deadline: float) -> bool:
        """Remove what ended before `until`; False if the time was up before."""
        since = self._done.get((what.queue, what.state), what.oldest)
        while since is not None and since < until:
            if self._clock() > deadline:
                return False
            end = min(since + STEP, until)
            if queue_retention.forget(connection, what, since, end) < BATCH:
                since = self._done[what.queue, what.state] = end
        return True
