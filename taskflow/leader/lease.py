"""The lease: one process at a time leads. That saves work; with two nothing goes wrong, the loops see to that."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable

import psycopg

from taskflow.leader.looper import Connection, Fatal, Loop, Pause, log
from taskflow.store import leases

NAME = "leader"


class Lease(Loop):
    """Takes the lease, renews it at a third of its time, and closes the connection while another process has it.

    `held` follows this process's own monotonic clock from before the lease was asked for, so it ends no later here than
    in the database, also when the connection hangs.
    """

    name = "lease"

    def __init__(self, holder: str, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._holder = holder
        self._seconds = seconds
        self._clock = clock
        self._held_until = float("-inf")

    @property
    def held(self) -> bool:
        """Whether this process leads at this moment."""
        return self._clock() < self._held_until

    def begin(self, connection: Connection) -> None:
        self._held_until = float("-inf")

    def work(self, connection: Connection) -> float:
        asked = self._clock()
        was_held = self.held
        try:
            acquired = leases.acquire(connection, NAME, self._holder, self._seconds)
        except psycopg.Error as error:
            self._held_until = float("-inf")
            raise Fatal from error
        if not acquired:
            self._give_up(was_held)
        self._held_until = asked + self._seconds
        if not was_held:
            log.info("leader_elected", holder=self._holder, lease_seconds=self._seconds)
        return self._seconds / 3

    def _give_up(self, was_held: bool) -> None:
        self._held_until = float("-inf")
        if was_held:
            log.warning("leader_lost_lease", holder=self._holder)
        # Not all followers at once, and each with a connection only while it asks.
        raise Pause(self._seconds * random.uniform(0.7, 1.0))

    def end(self, connection: Connection) -> None:
        if not self.held:
            return
        self._held_until = float("-inf")
        with contextlib.suppress(psycopg.Error):  # then it ends by itself, a few seconds later
            leases.release(connection, NAME, self._holder)
