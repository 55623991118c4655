"""Tells whoever listens what becomes of tasks; where nobody does, it costs a look at an attribute."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from taskflow.store import events
from taskflow.store.events import event_text, task_data
from taskflow.store.tasks import Ended
from taskflow.tasks.outcome import Failed, Outcome, TimedOut
from taskflow.telemetry import get_logger
from taskflow.worker.attempt import Attempt, Progress
from taskflow.worker.ending import Ending
from taskflow.worker.slots import Slots

MOST_PER_SECOND, BURST = 4_000, 5_000
"""What a process publishes of events at most, for long and at once. Telling of more would slow its tasks, and nobody
could read it: it falls silent for a moment then, and says so."""
SILENCE_SECONDS = 1.0
WANTED_SECONDS = 30.0
"""How long an answer about who listens holds, if it cannot be asked for again."""
FEW = 50
QUICK_SECONDS, SLOW_SECONDS = 0.02, 0.1
FAILED_SECONDS, RIGHTS_SECONDS = 5.0, 300.0

Connection = psycopg.Connection[tuple[Any, ...]]
AFTERWARDS = {
    "pending": "task.retrying",
    "scheduled": "task.retrying",
    "retrying": "task.retrying",
    "dead_letter": "task.dead_letter",
    "cancelled": "task.cancelled",
}


class EventPublisher:
    """Gathers events and publishes them in batches: at once when idle, ten batches a second when busy.

    The completer publishes, between two writes, never in the transaction of a task. `wanted` are the events that are
    to be gathered: those that somebody listens for, asked for with each heartbeat, and none during a silence.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wanted: frozenset[str] = frozenset()
        self.last_write = 0.0  # when endings were written; of the monotonic clock
        self._listened_for: frozenset[str] = frozenset()
        self._allowance = float(BURST)
        self._silent_until: float | None = None
        self._wake = wake
        self._slots: Slots | None = None
        self._gathered: deque[dict[str, Any]] = deque()
        self._lost = False
        self._valid_until = 0.0
        self._last_flush = 0.0
        self._pause = QUICK_SECONDS
        self._waiting = False
        self._ask_again = 0.0
        self._log = get_logger("events")

    def watch(self, slots: Slots) -> None:
        """Be told of every start in these slots while somebody wants to know."""
        self._slots = slots

    @property
    def waiting(self) -> bool:
        """Whether anything has gathered."""
        return self._waiting

    @property
    def due_in_seconds(self) -> float:
        """Until the next batch is to be published."""
        if not self._waiting:
            return float("inf")
        return self._last_flush + self._pause - time.monotonic()

    def ask(self, connection: Connection) -> None:
        """Ask who listens. What happened between the wish of a listener and our knowing of it is lost, and said to be.

        Errors of the connection are raised; where a right or the function is missing nothing is published for a while.
        """
        now = time.monotonic()
        if now < self._ask_again:
            return
        try:
            wanted = events.wanted(connection)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFunction) as error:
            self._ask_again = now + RIGHTS_SECONDS
            self._log.warning("events_not_published", error=str(error).strip())
            wanted = {}
        new = {name: seconds for name, seconds in wanted.items() if name not in self._listened_for}
        since = [seconds for name, seconds in new.items() if name in events.TASK_EVENTS]
        last_start = self._slots.last_start if self._slots is not None else 0.0
        if since and max(last_start, self.last_write) > now - max(since):
            self._lost = True
            self._something_waits()
        self._valid_until = now + WANTED_SECONDS
        self._listened_for = frozenset(wanted)
        self._gather_what_is_wanted()

    def started(self, attempt: Attempt) -> None:
        """A handler begins."""
        if "task.started" in self.wanted:
            at = datetime.now(UTC)
            self._add("task.started", at, task_data(attempt.task, "running") | {"worker_id": str(attempt.worker_id)})

    def progressed(self, rows: Sequence[tuple[Attempt, Progress]]) -> None:
        """Progress has been written."""
        at = datetime.now(UTC)
        for attempt, progress in rows:
            self._progressed(at, attempt, progress)

    def ended(self, group: Sequence[Ending], ended: Sequence[Ended]) -> None:
        """Endings have been written; `ended` is what the database said of those that did not succeed."""
        now, wall = time.monotonic(), time.time()
        rows = {(row.id, row.attempt): row for row in ended}
        for item in group:
            task = item.attempt.task
            row = rows.get((task.id, task.attempt))
            at = datetime.fromtimestamp(wall - (now - item.ended), UTC)
            progress = item.attempt.progress
            if progress is not None and not progress.stored and (row is None or row.state is not None):
                self._progressed(at, item.attempt, progress)  # it was written with the end
            if row is None:
                self._add("task.completed", at, _ending(item, "completed"))
            elif row.state is not None:
                self._not_succeeded(at, item, row)

    def flush(self, connection: Connection) -> None:
        """Publish what has gathered. Never raises but for a lost connection."""
        self._waiting = False  # first: what is added from now on asks for the next batch
        gathered = [self._gathered.popleft() for _ in range(len(self._gathered))]
        lost, self._lost = self._lost, False
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + MOST_PER_SECOND * (now - self._last_flush))
        self._last_flush = now
        self._pause = QUICK_SECONDS if len(gathered) < FEW else SLOW_SECONDS
        if now > self._valid_until:
            self._listened_for = frozenset()
        if self._silent_until is not None and now < self._silent_until:
            self._pause, self._waiting = self._silent_until - now, True
        elif self._silent_until is not None:
            self._silent_until, lost = None, True
        self._gather_what_is_wanted()
        if not (gathered or lost) or not self._listened_for:
            return
        try:
            if not events.publish(connection, gathered, lost=lost):
                self._listened_for = frozenset()
                self._gather_what_is_wanted()
        except (psycopg.OperationalError, psycopg.InterfaceError):
            self._lost = self._waiting = True
            raise
        except (psycopg.Error, TypeError, ValueError) as error:
            self._lost = self._waiting = True
            self._pause = FAILED_SECONDS
            self._log.warning("events_not_published", error=str(error).strip())

    def _progressed(self, at: datetime, attempt: Attempt, progress: Progress) -> None:
        data = task_data(attempt.task, "running") | {"worker_id": str(attempt.worker_id)}
        self._add("task.progress", at, data | {"progress": progress.percent, "message": event_text(progress.message)})

    def _not_succeeded(self, at: datetime, item: Ending, row: Ended) -> None:
        assert row.state is not None
        error = event_text(error_of(item.outcome))
        waits = row.state == "pending" and row.run_at is not None and row.run_at > at
        data = _ending(item, "scheduled" if waits else row.state) | {"error": error}
        if isinstance(item.outcome, Failed | TimedOut) and row.state != "cancelled":
            self._add("task.failed", at, data)
        if (name := AFTERWARDS.get(row.state)) == "task.retrying":
            data = data | {"next_retry_at": row.run_at and row.run_at.astimezone(UTC)}
        if name is not None:
            self._add(name, at, data)

    def _add(self, name: str, at: datetime, data: dict[str, Any]) -> None:
        if name not in self.wanted:
            return
        self._allowance -= 1
        if self._allowance < 0:
            self._silent_until = time.monotonic() + SILENCE_SECONDS
            self._gather_what_is_wanted()
        else:
            self._gathered.append({"type": name, "timestamp": at, "data": data})
        self._something_waits()

    def _something_waits(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._wake()

    def _gather_what_is_wanted(self) -> None:
        self.wanted = self._listened_for if self._silent_until is None else frozenset()
        if self._slots is not None:
            self._slots.tell_start = self.started if "task.started" in self.wanted else None


def error_of(outcome: Outcome | None) -> str | None:
    """What an outcome has to say for itself."""
    if outcome is None:
        return "the worker was stopped before the handler had finished"
    return getattr(outcome, "error", None) or getattr(outcome, "reason", None)


def _ending(item: Ending, state: str) -> dict[str, Any]:
    attempt = item.attempt
    ran = 1000 * (item.ended - attempt.started) if attempt.started is not None else 0.0
    return task_data(attempt.task, state) | {"worker_id": str(attempt.worker_id), "duration_ms": round(ran, 3)}
