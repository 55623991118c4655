"""An attempt in this process, from its claim to its end, and the set of all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskflow.errors import TaskflowError
from taskflow.tasks.logs import Logs
from taskflow.worker.own_completion import OwnCompletion, Stage

if TYPE_CHECKING:
    import psycopg

    from taskflow.tasks.context import Context
    from taskflow.tasks.handler import AnyHandler
    from taskflow.tasks.task import ClaimedTask
    from taskflow.worker.connections import HandlerConnections


@dataclass(slots=True, eq=False)
class Progress:
    """What a handler has said of how far it is. `stored`: it is in the database; what is not when the attempt ends is
    written together with that."""

    percent: int
    message: str | None
    stored: bool = False


class Attempt:
    """One claimed task; it is also what a `Context` talks to. Times are of the monotonic clock, in seconds.

    `worker_id` is the one it was claimed under, which stays its fence when the process registers anew.
    `waited`: from the claim to the start of the handler. `stop` is set by whoever runs it: how to interrupt it.
    `own`: only where the handler completes the task.
    """

    __slots__ = (
        "cancel_requested", "claimed", "connections", "deadline", "handler", "logs", "marked", "own", "progress",
        "started", "stop", "task", "waited", "worker_id",
    )  # fmt: skip

    def __init__(
        self,
        task: ClaimedTask,
        handler: AnyHandler,
        worker_id: int,
        claimed: float,
        timeout_seconds: float,
        connections: HandlerConnections,
    ) -> None:
        self.task = task
        self.handler = handler
        self.worker_id = worker_id
        self.claimed = claimed
        self.deadline = timeout_seconds  # until it starts: how long it may run
        self.connections = connections
        self.started: float | None = None
        self.waited = 0.0
        self.marked = False
        self.cancel_requested = False
        self.progress: Progress | None = None  # the last one
        self.logs: Logs | None = None
        self.stop: Callable[[], None] | None = None
        self.own: OwnCompletion | None = None

    def start(self) -> float:
        """The handler begins now."""
        now = time.monotonic()
        self.deadline += now
        self.started = now
        self.waited = now - self.claimed
        return now

    def cancel(self) -> None:
        """Somebody cancelled the task: tell the handler, and interrupt it where that can be done."""
        self.cancel_requested = True
        stop = self.stop  # read once: the attempt may end at this very moment
        if stop is not None:
            stop()

    def is_cancelled(self) -> bool:
        return self.cancel_requested

    def report_progress(self, percent: int, message: str | None) -> None:
        if self.own is None or self.own.stage is not Stage.COMMITTED:  # its task has ended then
            self.progress = Progress(percent, message)
            self.connections.progress_reported()

    def log(self, entry: bytes) -> None:
        if self.logs is None:
            self.logs = Logs()
        self.logs.add(entry)

    def open_connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        return self.connections.open()

    def open_connection_async(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        return self.connections.open_async()

    def open_transaction(
        self, context: Context, isolation_level: psycopg.IsolationLevel | None
    ) -> AbstractContextManager[psycopg.Connection[Any]]:
        return self.connections.transaction(self, context, isolation_level)

    def open_transaction_async(
        self, context: Context, isolation_level: psycopg.IsolationLevel | None
    ) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        return self.connections.transaction_async(self, context, isolation_level)

    def set_result(self, result: Any) -> None:
        if self.own is None or self.own.stage is not Stage.OPEN:
            raise TaskflowError(
                "set_result() is for the block of context.transaction(); a handler without one returns its result"
            )
        self.own.result = result

    def commit_begins(self) -> None:
        """The task is completed in the handler's transaction, and COMMIT is next."""
        own = self.own = self.own or OwnCompletion()
        own.stage = Stage.IN_DOUBT
        if self.connections.own_completions is not None:
            self.connections.own_completions.add(self)

    def committed(self, stored: str | None, *, released: bool) -> None:
        """That transaction is committed."""
        own = self.own = self.own or OwnCompletion()
        own.stored, own.released, own.stage = stored, released, Stage.COMMITTED
        if self.connections.own_completions is not None:
            self.connections.own_completions.committed(self)

    def rolled_back(self) -> None:
        """Nothing of that transaction has stayed, for certain."""
        self.own = None
        if self.connections.own_completions is not None:
            self.connections.own_completions.discard(self)


def number_of(attempt: Attempt) -> tuple[int, int]:
    """What tells it from every other: (task id, attempt)."""
    return attempt.task.id, attempt.task.attempt


class InFlight:
    """Every attempt that this process has claimed and not ended, and those whose end is not yet in the database.

    `settle` is the one gate to an end: of those who would end an attempt (its handler, its timeout, the shutdown) the
    first wins, and what the others bring is dropped. Sets of plain objects change atomically, so there is no lock.
    """

    def __init__(self) -> None:
        self._open: set[Attempt] = set()
        self._unwritten: set[Attempt] = set()
        self._when_written: Callable[[], None] = _nothing

    def __len__(self) -> int:
        return len(self._open)

    def holds(self, attempt: Attempt) -> bool:
        """Whether this one has not ended yet."""
        return attempt in self._open

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Take up attempts that were just claimed."""
        self._unwritten.update(attempts)
        self._open.update(attempts)

    def settle(self, attempt: Attempt) -> bool:
        """Whether the caller is the one to end this attempt."""
        try:
            self._open.remove(attempt)
        except KeyError:
            return False
        return True

    def written(self, attempts: Iterable[Attempt]) -> None:
        """The end of these is in the database, or they were given back."""
        self._unwritten.difference_update(attempts)
        self._when_written()

    def when_written(self, callback: Callable[[], None]) -> None:
        """Call this, which must be cheap, whenever ends have been written."""
        self._when_written = callback

    def owes(self, attempt: Attempt) -> bool:
        """Whether the database may still show this one as running."""
        return attempt in self._unwritten

    @property
    def unwritten(self) -> list[Attempt]:
        """A copy of everything that the database may still show as running here."""
        return list(self._unwritten)

    def all(self) -> list[Attempt]:
        """A copy of what has not ended."""
        return list(self._open)

    def started(self) -> list[Attempt]:
        """Those whose handler runs."""
        return [attempt for attempt in self.all() if attempt.started is not None]

    def with_ids(self, ids: Iterable[int]) -> list[Attempt]:
        """Those of the tasks with these ids."""
        wanted = set(ids)
        return [attempt for attempt in self.all() if attempt.task.id in wanted]


def _nothing() -> None:
    """Nobody waits for what is written."""
