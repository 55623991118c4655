"""Tasks run in the process of a test: claimed, run and completed one after the other, by the statements of a worker."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, cast

import orjson
import psycopg

from taskflow.settings import load, process_settings
from taskflow.store import queues, tasks, workers
from taskflow.store.arrays import texts
from taskflow.store.connection import connect, repeat_on_conflict, settle_session
from taskflow.store.queues import QueueSettings
from taskflow.tasks.handler import AnyHandler
from taskflow.tasks.outcome import TimedOut
from taskflow.tasks.registry import Registry
from taskflow.tasks.task import ClaimedTask
from taskflow.worker.attempt import Attempt, InFlight
from taskflow.worker.claims import Claims
from taskflow.worker.connections import HandlerConnections
from taskflow.worker.dispatcher import timeout_seconds
from taskflow.worker.ending import UNSTORABLE, Ending, Endings, encode, ending, portions, refused, why_unstorable
from taskflow.worker.executor import run_async, run_sync
from taskflow.worker.identity import Identity, type_rows
from taskflow.worker.imports import BUILT_IN
from taskflow.worker.own_completion import Stage
from taskflow.worker.pace import Pace
from taskflow.worker.process_slots import ProcessSlots, child_environment
from taskflow.worker.slots import Slots


class AttemptFailed(AssertionError):
    """An attempt failed, and there is no exception of its handler to raise: it ran in a process, or was too long."""


class NoHandlerWarning(UserWarning):
    """A task is due, and no module that declares its handler has been imported."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt that `Harness.drain` has run.

    - `task_id`: the task's id.
    - `type`: its type.
    - `attempt`: the number of the attempt, from 1.
    - `outcome`: "succeeded", "failed", "timed_out", "snoozed" or "cancelled".
    - `state`: the state of the task afterwards.
    - `result`: what the handler has returned.
    - `error`: the error or the reason that is stored.
    - `exception`: what the handler has raised, if it ran in this process.
    """

    task_id: int
    type: str
    attempt: int
    outcome: str
    state: str
    result: Any = None
    error: str | None = None
    exception: BaseException | None = field(default=None, compare=False)

    def raise_if_failed(self) -> None:
        """Raise what the handler raised if the attempt has failed or took too long, else nothing."""
        if self.outcome not in ("failed", "timed_out"):
            return
        if self.outcome == "failed" and self.exception is not None:
            raise self.exception
        told = f"task {self.task_id} {self.type!r}, attempt {self.attempt}: {self.error}"
        raise AttemptFailed(told) from self.exception


class InlineAttempt(Attempt):
    """An attempt whose questions to the database are asked at once: nothing else goes on meanwhile."""

    __slots__ = ("connection",)
    connection: psycopg.Connection[tuple[Any, ...]]

    def is_cancelled(self) -> bool:
        row = self.connection.execute(
            "SELECT cancel_requested FROM taskflow.tasks_live WHERE id = %s AND attempt = %s AND state = 'running'",
            (self.task.id, self.task.attempt),
        ).fetchone()
        return row is None or bool(row[0])

    def report_progress(self, percent: int, message: str | None) -> None:
        report = (self.task.id, self.task.attempt, percent, message)
        tasks.report_progress(self.connection, self.worker_id, [report])


class InlineWorker:
    """A worker without threads of its own: plain handlers run in the thread that calls `run`, so that they see what
    belongs to it (a debugger, the connection of a framework); async ones in an event loop; those with
    isolation="process" in a process that is kept until `close`."""

    def __init__(self, dsn: str, registry: Registry) -> None:
        self._dsn = dsn
        self._registry = registry
        import_module(BUILT_IN)
        self._connection = connect(dsn, name="inline worker")
        settle_session(self._connection)
        self._connections = HandlerConnections(dsn, _nothing)
        self._types: tuple[str, ...] = ()
        self._settings: dict[str, QueueSettings] = {}
        self._claims = Claims("{}", asynchronous=False)
        self._identity = Identity((), (), 1)
        self._in_flight = InFlight()
        self._endings: Endings = SimpleQueue()
        self._processes: ProcessSlots | None = None

    def close(self) -> None:
        """Leave the list of workers and end the process for handlers."""
        if self._processes is not None:
            self._processes.close()
        with suppress(psycopg.Error):  # the test may have taken the connection, or the schema, away
            for worker_id in self._identity.all():
                workers.deregister(self._connection, worker_id)
        self._connection.close()

    def look(self) -> None:
        """Learn what may have changed between two tasks: handlers, settings of queues, the environment."""
        process_settings.cache_clear()
        if self._types != self._registry.types() or self._identity.current is None:
            self._types = self._registry.types()
            workers.register_types(self._connection, type_rows(self._registry, self._types, load()))
            self._claims = Claims(texts(self._types), asynchronous=False)
            self._identity.register(self._connection)
        self._settings = queues.read(self._connection)
        self._claims.learn(self._settings)

    def due(self, wanted: Sequence[str] | None) -> dict[str, float]:
        """Seconds until the first task of each queue is due, or may start by the queue's limit; paused ones have none.
        `wanted` None: every queue."""
        found = tasks.next_due(self._connection, wanted, texts(self._types))
        return {
            name: max(seconds, self._claims.held_seconds(name))
            for name, seconds in found.items()
            if name not in self._settings or not self._settings[name].paused
        }

    def claim(self, wanted: Sequence[str] | None) -> ClaimedTask | None:
        """The next task: of the queue whose first has been due for longest, in that by priority and time."""
        assert self._identity.current is not None
        due = {name: seconds for name, seconds in self.due(wanted).items() if seconds <= 0}
        for name in sorted(due, key=due.__getitem__):
            claimed = self._claims.claim(self._connection, self._identity.current, [name], wanted=1, free=1, sweep=True)
            if claimed:
                return claimed[0]
        return None

    def time_moved(self) -> None:
        """What limits hold back may start now."""
        self._claims.look_again(self._claims.limited)

    def run(self, task: ClaimedTask) -> Run:
        """Run a claimed task, write what came of it, and return that."""
        handler = self._registry.get(task.type)
        assert handler is not None
        raised: list[BaseException] = []
        assert self._identity.current is not None
        attempt = InlineAttempt(
            task,
            watched(handler, raised),
            self._identity.current,
            time.monotonic(),
            timeout_seconds(task, handler, self._settings),
            self._connections,
        )
        attempt.connection = self._connection
        outcome, result, error = self._complete(self._run(attempt))
        row = self._connection.execute("SELECT state FROM taskflow.read_task(%s)", (task.id,)).fetchone()
        state = str(row[0]) if row is not None else "removed"
        exception = raised[-1] if raised else None
        if exception is not None and not isinstance(exception, Exception | SystemExit | asyncio.CancelledError):
            raise exception  # Ctrl-C, or pytest.fail(): not the handler's to end with
        return Run(task.id, task.type, task.attempt, outcome, state, result, error, exception)

    def warn_of_unknown_types(self, wanted: Sequence[str] | None) -> None:
        """Say which tasks are due and stay, since nobody here knows their types."""
        rows = self._connection.execute(
            "SELECT type, min(id), count(*) FROM taskflow.tasks_live WHERE state IN ('pending', 'retrying')"
            " AND run_at <= now() AND type <> ALL (%s::text[]) AND (%s::text[] IS NULL OR queue = ANY (%s::text[]))"
            " GROUP BY type ORDER BY type",
            (list(self._types), wanted, wanted),
        ).fetchall()
        for name, first, number in rows:
            warnings.warn(
                f"task {first} is due{f' and {number - 1} more' if number > 1 else ''}, but there is no handler of the"
                f" type {name!r} here: import the module that declares it",
                NoHandlerWarning,
                stacklevel=3,
            )

    def _run(self, attempt: InlineAttempt) -> Ending:
        if attempt.handler.isolation == "process":
            return self._run_in_process(attempt)
        attempt.start()
        if attempt.handler.is_async:
            return ending(attempt, _in_event_loop(lambda: run_async(attempt)))
        outcome = run_sync(attempt)
        if time.monotonic() > attempt.deadline:
            outcome = TimedOut("the handler ran longer than its timeout; a worker would have given its attempt up")
        return ending(attempt, outcome)

    def _run_in_process(self, attempt: InlineAttempt) -> Ending:
        if self._processes is None:
            slots = Slots(1, self._in_flight, self._endings, Pace(1, 0, 1), lambda _: True)
            self._processes = ProcessSlots(slots, self._child_environment())
        self._in_flight.add([attempt])
        self._processes.submit([attempt])
        item = self._endings.get()
        assert item is not None
        return item

    def _child_environment(self) -> dict[str, str]:
        """A child finds the modules that this process finds, and imports those that declare handlers for processes."""
        modules = {handler.function.__module__ for handler in self._registry if handler.isolation == "process"}
        environment = child_environment(self._dsn, sorted(modules))
        return {**environment, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}

    def _complete(self, item: Ending) -> tuple[str, Any, str | None]:
        """Write an ending: what was written as its outcome, result and error."""
        own = item.attempt.own
        if own is not None and own.stage is Stage.COMMITTED:  # `context.transaction()` has written it
            return "succeeded", None if own.stored is None else orjson.loads(own.stored), None
        worker_id = item.attempt.worker_id
        [((item,), [row])] = portions([item])
        try:
            repeat_on_conflict(lambda: tasks.complete(self._connection, worker_id, [row]))
        except UNSTORABLE as error:
            row = encode(refused(item, why_unstorable(error)))
            tasks.complete(self._connection, worker_id, [row])
        _, _, _, outcome, result, details = row
        told = orjson.loads(details) if details else {}
        return outcome, None if result is None else orjson.loads(result), told.get("error")


def watched(handler: AnyHandler, raised: list[BaseException]) -> AnyHandler:
    """The handler as a worker uses it; what it raises is noted in `raised` on its way."""

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            except BaseException as error:
                raised.append(error)
                raise

        return call

    async def call_async(*arguments: Any) -> Any:
        try:
            return await handler.function(*arguments)
        except BaseException as error:
            raised.append(error)
            raise

    stand_in = SimpleNamespace(
        type=handler.type,
        function=call_async if handler.is_async else noting(handler.function),
        parse=noting(handler.parse),
        wants_context=handler.wants_context,
        is_async=handler.is_async,
        isolation=handler.isolation,
    )
    return cast(AnyHandler, stand_in)


def _in_event_loop(run: Callable[[], Any]) -> Any:
    """Run a coroutine function to its end, also below an event loop that runs already, as in an async test."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(run())
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as other:
        return other.submit(context.run, asyncio.run, run()).result()


def _nothing() -> None:
    """Progress is written when it is reported."""
