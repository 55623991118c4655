"""The counters of /metrics: what has happened since ever, from figures that are there, and never on a task's way."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from taskflow.leader.looper import Connection, Loop
from taskflow.leader.statistics import REST, ROUND_SECONDS
from taskflow.store import statistics

INTERVAL_SECONDS = 10.0


class Totals(Loop):
    """Adds minutes to the totals when they are final, which `final` says (None: nothing is known yet), and counts what
    was created."""

    name = "totals"

    def __init__(self, final: Callable[[], datetime | None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._final = final
        self._clock = clock

    def work(self, connection: Connection) -> float:
        started = self._clock()
        until = self._final()
        if until is not None:
            statistics.add_to_totals(connection, until)
        while statistics.count_created(connection) and self._clock() - started < ROUND_SECONDS:
            pass
        return max(INTERVAL_SECONDS, REST * (self._clock() - started))
