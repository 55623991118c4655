"""The lease: one process at a time leads. That saves work; with two nothing goes wrong, the loops see to that."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable

import psycopg

from taskflow.leader.looper import Connection, Fatal, Loop, Pause, log
from taskflow.store import leases, partitions
from taskflow.store.leases import LEADER, OWNER_WANTED


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
            acquired = self._acquire(connection) or self._take_over(connection)
        except psycopg.Error as error:
            self._held_until = float("-inf")
            raise Fatal from error
        if not acquired:
            self._give_up(was_held)
        self._held_until = asked + self._seconds
        if not was_held:
            log.info("leader_elected", holder=self._holder, lease_seconds=self._seconds)
        return self._seconds / 3

    def want_owner(self, connection: Connection, seconds: float) -> None:
        """For `seconds`, or until it leads no more: give the lead up to who stands by and may drop days."""
        leases.acquire(connection, OWNER_WANTED, self._holder, seconds)

    def _acquire(self, connection: Connection) -> bool:
        return leases.acquire(connection, LEADER, self._holder, self._seconds)

    def _take_over(self, connection: Connection) -> bool:
        """Whether the leader wants what this process is, and has been replaced: it notices when it renews its lease."""
        leader = leases.owner_wanted(connection)
        if leader is None or not all(day.owned for day in partitions.list_days(connection)):
            return False
        leases.release(connection, LEADER, leader)
        return self._acquire(connection)

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
        with contextlib.suppress(psycopg.Error):  # then they end by themselves, the lead a few seconds later
            leases.release(connection, LEADER, self._holder)
            leases.release(connection, OWNER_WANTED, self._holder)
