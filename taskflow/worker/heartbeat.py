"""The heartbeat: this process lives, this is what it has begun; and what the database wants of it in return."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.errors import LockNotAvailable

from taskflow.store import tasks, workers
from taskflow.telemetry import get_logger
from taskflow.worker.attempt import Attempt, InFlight
from taskflow.worker.identity import Identity

Connection = psycopg.Connection[tuple[Any, ...]]


class Heartbeat:
    """Beats for every id of the process. `wanted` is what an operator wants: running, paused or draining.

    `expired`: the database no longer knows the current id, so the claimer must register anew.
    """

    def __init__(
        self, identity: Identity, in_flight: InFlight, interval_seconds: float, changed: Callable[[], None]
    ) -> None:
        self._identity = identity
        self._in_flight = in_flight
        self._interval = interval_seconds
        self._changed = changed
        self._log = get_logger("heartbeat")
        self.last = time.monotonic()
        self.wanted = "running"
        self.expired = False

    @property
    def due_in_seconds(self) -> float:
        """Until the next one; 0 or less: now."""
        return self.last + self._interval - time.monotonic()

    @property
    def registered(self) -> bool:
        """Whether the database knows this process, or did: before that there is nothing to ask or to tell."""
        return bool(self._identity.all())

    @property
    def age_seconds(self) -> float:
        """Since the last one that reached the database."""
        return time.monotonic() - self.last

    def beat(self, connection: Connection) -> None:
        """Beat for every id, mark what has begun, cancel what was cancelled, clear up after lost connections."""
        attempts = self._in_flight.all()
        for worker_id in self._identity.all():
            pulse = self._beat_for(connection, worker_id, [a for a in attempts if a.worker_id == worker_id])
            if worker_id in self._identity.retired:
                self._clear_up(connection, worker_id, known=pulse.known)
            elif not pulse.known:
                if not self.expired:
                    self._log.warning("worker_given_up_by_rescuer", worker_id=worker_id)
                self.expired = True
                self._changed()
            elif pulse.state != self.wanted and pulse.state is not None:
                self._log.info("worker_state_wanted", state=pulse.state)
                self.wanted = pulse.state
                self._changed()
        self.last = time.monotonic()

    def _beat_for(self, connection: Connection, worker_id: int, attempts: list[Attempt]) -> workers.Pulse:
        begun = [attempt for attempt in attempts if attempt.started is not None and not attempt.marked]
        running = sum(attempt.started is not None for attempt in attempts)
        try:
            pulse = workers.heartbeat(connection, worker_id, running, _started(begun))
        except LockNotAvailable:  # somebody has locked one of them: mark the others
            locked = tasks.locked(connection, [attempt.task.id for attempt in begun])
            begun = [attempt for attempt in begun if attempt.task.id not in locked]
            pulse = workers.heartbeat(connection, worker_id, running, _started(begun))
        for attempt in begun:
            attempt.marked = True
        for attempt in self._in_flight.with_ids(pulse.cancelled) if pulse.cancelled else ():
            if attempt.worker_id == worker_id and not attempt.cancel_requested:
                attempt.cancel()
        return pulse

    def _clear_up(self, connection: Connection, worker_id: int, *, known: bool) -> None:
        """Give back what a lost connection claimed without our knowing; the id goes when nothing is left under it."""
        ours = {(a.task.id, a.task.attempt) for a in self._in_flight.unwritten if a.worker_id == worker_id}
        orphans = tasks.claimed_by(connection, worker_id) - ours
        locked = tasks.locked(connection, [task_id for task_id, _ in orphans]) if orphans else set()
        if free := sorted(orphan for orphan in orphans if orphan[0] not in locked):
            released = tasks.release(connection, worker_id, free)
            self._log.info("unknown_claims_released", worker_id=worker_id, count=released)
        if not ours and not locked:
            if known:
                workers.deregister(connection, worker_id)
            self._identity.retired.discard(worker_id)


def _started(attempts: list[Attempt]) -> list[tuple[int, int, float]]:
    return [(attempt.task.id, attempt.task.attempt, attempt.waited) for attempt in attempts]
