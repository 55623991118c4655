"""A program's tasks in a test: run in this process, moved through time, looked for."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from taskflow.client.client import Client
from taskflow.client.connections import execute
from taskflow.client.decorator import default_client
from taskflow.store import client_statements as statements
from taskflow.store.connection import connect
from taskflow.tasks.registry import Registry
from taskflow.tasks.registry import registry as default_registry
from taskflow.testing.databases import Prepare, database
from taskflow.testing.expectation import Expectation, ExpectedFields
from taskflow.testing.inline import InlineWorker, Run

if TYPE_CHECKING:
    from taskflow.client.foreign import AnyConnection
    from taskflow.tasks.handler import AnyHandler
    from taskflow.tasks.payload import PayloadLike
    from taskflow.tasks.task import Task

VARIABLES = ("DATABASE_URL", "TASKFLOW_DATABASE_URL")
MOST_ATTEMPTS = 1_000
"""Of one `drain`: a handler that enqueues itself would go on for ever."""
MOST_MOVES = 100
"""Of time without anything to run: a limit may be full of tasks that another worker runs."""
LATEST_TASKS = 1_000


class Harness:
    """Tasks of the database at `dsn`, which must have the schema, in a test. Not for threads beside each other.

    Within its block DATABASE_URL names that database, so that `handler.enqueue()` and `Client()` use it. `client` is a
    client of it. `registry` has the handlers (None: those declared with `@task`, and those that come along).
    """

    def __init__(self, dsn: str, *, registry: Registry | None = None) -> None:
        self.dsn = dsn
        self.client = Client(dsn)
        self._registry = default_registry if registry is None else registry
        self._stack = contextlib.ExitStack()
        self._worker: InlineWorker | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(_named_by_environment(self.dsn))
        self._stack.callback(self.client.close)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()
        self._stack.close()

    def drain(
        self,
        *,
        queue: str | Sequence[str] | None = None,
        until_empty: bool = False,
        limit: int | None = None,
        raise_errors: bool = False,
    ) -> list[Run]:
        """Run what is due, one task after the other, and what that enqueues, until nothing more is due.

        The queue whose first task has been due for longest comes first; in a queue it is the order of workers. Claims
        and completions are those of a worker, with limits, keys and audit rows. Plain handlers run in this thread.

        `queue`: only of this one, or of these. `until_empty`: go on with what is due later (retries, delays), for which
        time is moved, see `travel`. `limit`: no more attempts than that. `raise_errors`: raise what a handler raises,
        after it was recorded, unless it chose to cancel or to snooze; `AttemptFailed` for one that ran in a process.

        Returns every attempt in order. Warns (`NoHandlerWarning`) of tasks that are due and have no handler here.
        Raises AssertionError after 1,000 attempts without a `limit`.
        """
        worker = self._worker = self._worker or InlineWorker(self.dsn, self._registry)
        wanted = [queue] if isinstance(queue, str) else None if queue is None else list(queue)
        runs: list[Run] = []
        moves = 0
        while limit is None or len(runs) < limit:
            worker.look()
            task = worker.claim(wanted)
            if task is None:
                if until_empty and moves < MOST_MOVES and self._moved_to_next(worker, wanted):
                    moves += 1
                    continue
                worker.warn_of_unknown_types(wanted)
                break
            if limit is None and len(runs) >= MOST_ATTEMPTS:
                raise AssertionError(_endless(runs))
            moves = 0
            runs.append(worker.run(task))
            if raise_errors:
                runs[-1].raise_if_failed()
        return runs

    def travel(self, duration: timedelta | None = None, **units: float) -> int:
        """Let time pass for what waits: `travel(hours=2)`, with the units of `timedelta`, or `travel(timedelta(…))`.

        The database's clock cannot be moved. Instead `run_at` of every task that waits, the end of every `unique_for`
        and what rate limits have counted are moved back by that; a negative time moves them ahead. Returns the number
        of tasks.
        """
        by = timedelta(**units) + (duration or timedelta())
        with connect(self.dsn, name="travel") as connection, connection.transaction():
            moved = connection.execute(
                "UPDATE taskflow.tasks_live SET run_at = run_at - %s WHERE state <> 'running'", [by]
            ).rowcount
            connection.execute("UPDATE taskflow.unique_windows SET until = until - %s", [by])
            windows = connection.execute("DELETE FROM taskflow.rate_windows RETURNING *").fetchall()
            for name, type_, start, starts in windows:  # one UPDATE would run into itself at the primary key
                connection.execute(
                    "INSERT INTO taskflow.rate_windows (queue, type, window_start, starts) VALUES (%s, %s, %s, %s)",
                    [name, type_, start - by, starts],
                )
        if self._worker is not None:
            self._worker.time_moved()
        return moved

    def tasks(self, *, connection: AnyConnection | None = None) -> list[Task]:
        """Every task of the database, in whatever state, in the order of their ids; the last 1,000 of more.

        With a `connection` of the program's, as `Client.enqueue` takes it, also what its transaction has not committed.
        """
        operation = statements.latest(LATEST_TASKS)
        if connection is not None:
            return execute(connection, operation)
        with connect(self.dsn, name="testing") as own:
            return execute(own, operation)

    def assert_enqueued(
        self,
        type: str | AnyHandler,
        payload: PayloadLike | None = None,
        *,
        count: int | None = None,
        connection: AnyConnection | None = None,
        **fields: Unpack[ExpectedFields],
    ) -> list[Task]:
        """Assert that a task of this type was enqueued, `count` of them exactly if given, and return those that were.

        `payload` need only be a part of the task's, at every depth. `fields`: queue, state, priority, unique_key,
        concurrency_key, tags, metadata. Tasks count in whatever state they are by now, run or not. `connection` as in
        `tasks`. The message of the AssertionError says how the tasks differ that there are.
        """
        __tracebackhide__ = True
        expectation = Expectation.of(type, payload, fields)
        tasks = self.tasks(connection=connection)
        found = [task for task in tasks if expectation.met_by(task)]
        if (not found) if count is None else (len(found) != count):
            raise AssertionError(expectation.missing(tasks, len(found), count))
        return found

    def assert_not_enqueued(
        self,
        type: str | AnyHandler,
        payload: PayloadLike | None = None,
        *,
        connection: AnyConnection | None = None,
        **fields: Unpack[ExpectedFields],
    ) -> None:
        """Assert that no such task was enqueued; parameters as in `assert_enqueued`."""
        __tracebackhide__ = True
        expectation = Expectation.of(type, payload, fields)
        found = [task for task in self.tasks(connection=connection) if expectation.met_by(task)]
        if found:
            raise AssertionError(expectation.unexpected(found))

    def _moved_to_next(self, worker: InlineWorker, wanted: Sequence[str] | None) -> bool:
        """Move time to when the next task may start. False: none waits for a time."""
        later = {name: seconds for name, seconds in worker.due(wanted).items() if seconds > 0}
        if not later:
            return False
        self.travel(seconds=min(later.values()))
        return True


@contextlib.contextmanager
def harness(*, registry: Registry | None = None, prepare: Prepare = None) -> Iterator[Harness]:
    """A `Harness` on a database of its own until the end of the block.

    `registry` is as of `Harness`; `prepare`, and what is raised, as of `testing.database`.
    """
    with database(prepare) as dsn, Harness(dsn, registry=registry) as made:
        yield made


@contextlib.contextmanager
def _named_by_environment(dsn: str) -> Iterator[None]:
    """Let DATABASE_URL name this database; the default client, which has read it before, is made anew."""
    before: dict[str, Any] = {name: os.environ.get(name) for name in VARIABLES}
    _forget_default_client()
    os.environ.update(dict.fromkeys(VARIABLES, dsn))
    try:
        yield
    finally:
        _forget_default_client()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _forget_default_client() -> None:
    if default_client.cache_info().currsize:
        client = default_client()
        default_client.cache_clear()
        client.close()
        atexit.unregister(client.close)


def _endless(runs: Sequence[Run]) -> str:
    (name, number), *_ = Counter(run.type for run in runs).most_common(1)
    return (
        f"{len(runs)} attempts were run and there is still something to do, {number} of them of {name!r}: does its"
        " handler enqueue itself, or snooze for ever? drain(limit=…) runs no more than that"
    )
