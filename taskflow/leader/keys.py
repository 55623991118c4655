"""Keys: now and then a look at every concurrency key that holds tasks up."""

from __future__ import annotations

import time
from collections.abc import Callable

from taskflow.leader.looper import Connection, Loop
from taskflow.store.keys import FIRST, release_waiting_keys

INTERVAL_SECONDS = 5.0
PATIENCE = 20
"""A look may take a twentieth of the time."""


class Keys(Loop):
    """Who ends a task lets the next of its key go. What ends without anybody's ending it, a row that somebody deleted
    in the table itself for one, holds the others up until this loop comes by."""

    name = "keys"

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._after = FIRST

    def work(self, connection: Connection) -> float:
        began = self._clock()
        last = release_waiting_keys(connection, self._after)  # a batch: the lease comes in between
        self._after = last or FIRST
        return max(0.0 if last else INTERVAL_SECONDS, PATIENCE * (self._clock() - began))
