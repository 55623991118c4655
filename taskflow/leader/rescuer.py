"""The rescuer: finds workers that are dead, and gives their tasks back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from taskflow.leader.looper import Connection, Loop, log
from taskflow.store import rescue

RECORD_AGAIN_SECONDS = 60.0
ROUND_SECONDS = 2.0  # then the lease and the next look come first


@dataclass(frozen=True, slots=True)
class Sighting:
    """The heartbeat of a worker (None: it has no row), and since when, on this process's clock, it has been that."""

    heartbeat: int | None
    since: float


class Rescuer(Loop):
    """A worker is dead when this very rescuer has seen its heartbeat unchanged for `timeout` seconds.

    The heartbeat is a counter and the time is this process's own monotonic clock, so no jump of any wall clock kills
    anybody. Nor does an outage, which workers and rescuer share: whatever interrupts the looking (a lost connection, a
    statement that hung, this process being stopped) starts the time of all anew, since nobody can tell what the workers
    could do meanwhile. Worker ids that have claims and no row in workers are watched in the same way.
    """

    name = "rescue"

    def __init__(self, timeout: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout
        self._interval = min(5.0, timeout / 6)
        self._longest_gap = timeout / 2
        self._clock = clock
        self._seen: dict[int, Sighting] = {}
        self._told: dict[str, set[int]] = {"rescue_waits_for_lock": set(), "worker_lost": set()}
        self._looked_at = float("-inf")
        self._record_at: list[float] = []

    def begin(self, connection: Connection) -> None:
        self._seen = {}
        # Twice: calls that a migration has overtaken go on for a moment with the functions that it has replaced.
        self._record_at = [self._clock(), self._clock() + RECORD_AGAIN_SECONDS]

    def work(self, connection: Connection) -> float:
        if self._record_at and self._clock() >= self._record_at[0]:
            self._record_at.pop(0)
            self._record_claims(connection)
        deadline = self._clock() + ROUND_SECONDS
        for worker_id in self._look(connection):
            if not self._rescue(connection, worker_id, deadline):
                return 0.0
        return self._interval

    def _record_claims(self, connection: Connection) -> None:
        try:
            if concerned := rescue.record_claims(connection):
                log.info("claims_recorded", count=concerned)
        except psycopg.Error as error:
            if connection.closed:
                raise
            log.warning("claims_not_recorded", error=str(error).strip())  # the dead are rescued all the same

    def _look(self, connection: Connection) -> list[int]:
        """Look at all workers; returns the ids of the dead."""
        asked = self._clock()
        observed = rescue.observe(connection)
        now = self._clock()
        if now - self._looked_at > self._longest_gap:
            self._seen = {}
        self._looked_at = now
        for told in self._told.values():
            told.intersection_update(observed)
        self._seen = {
            worker_id: known
            if (known := self._seen.get(worker_id)) and known.heartbeat == heartbeat
            else Sighting(heartbeat, now)
            for worker_id, heartbeat in observed.items()
        }
        return [worker_id for worker_id, sighting in self._seen.items() if asked - sighting.since >= self._timeout]

    def _rescue(self, connection: Connection, worker_id: int, deadline: float) -> bool:
        """Take every task from a dead worker, and its row with the last; False if the time was up before."""
        sighting = self._seen[worker_id]
        rescued, batch = 0, rescue.BATCH
        try:
            while batch == rescue.BATCH and self._clock() < deadline:
                batch = rescue.rescue(connection, worker_id, sighting.heartbeat)
                rescued += batch
        except psycopg.errors.LockNotAvailable as error:
            # Somebody holds one of its rows in an open transaction: the others first, this one at the next look.
            if self._is_news("rescue_waits_for_lock", worker_id):
                log.info("rescue_waits_for_lock", worker_id=worker_id, reason=error.diag.message_primary)
            return True
        if sighting.heartbeat is None and not rescued:  # it had left, and its last tasks have ended since
            return True
        if self._is_news("worker_lost", worker_id) or rescued:
            log.warning(
                "worker_lost",
                worker_id=worker_id,
                silent_seconds=round(self._clock() - sighting.since, 1),
                tasks_rescued=rescued,
            )
        return batch < rescue.BATCH

    def _is_news(self, event: str, worker_id: int) -> bool:
        """Whether it is to be logged, or was at an earlier look: a lock may be held for hours."""
        known = worker_id in self._told[event]
        self._told[event].add(worker_id)
        return not known
