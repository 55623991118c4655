# Made from async_client.py by ops/generate-client: change that file.
"""The client."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from taskflow.client.connections import copy, execute, execute_together, open_pool
from taskflow.client.requests import (
    WaitSchedule,
    as_new_tasks,
    check_size,
    client_settings,
    many_tasks,
    retry_options,
)
from taskflow.store import client_statements as statements
from taskflow.store.connection import errors_translated
from taskflow.tasks.new_task import Enqueued, EnqueueOptions, NewTask

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from taskflow.client.foreign import AnyConnection
    from taskflow.tasks.execution import Execution
    from taskflow.tasks.handler import AnyHandler, PriorityLike
    from taskflow.tasks.payload import PayloadLike
    from taskflow.tasks.task import Task

Answer = TypeVar("Answer")


class Client:
    """Enqueues tasks and looks after them, over a pool of connections that is opened when first needed.

    `dsn` is a PostgreSQL URL or connection string; None reads DATABASE_URL. `pool_size` is the most connections it
    opens. `max_payload_bytes` (None: TASKFLOW_MAX_PAYLOAD_BYTES, 256 KiB) is the longest payload it accepts, as JSON.
    `prepare_threshold=None` switches prepared statements off, as a pooler in transaction mode may need.

    Wherever a `connection` is taken it may be a psycopg connection, a SQLAlchemy connection or session, or Django's,
    where it is synchronous: the work is then done in the caller's transaction, and commits or vanishes with it. Errors
    of the database are raised as `TaskflowError`s. Use it as a context manager, or call `close()`. It may be shared by
    everything in one process.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        pool_size: int = 10,
        max_payload_bytes: int | None = None,
        prepare_threshold: int | None = 1,
    ) -> None:
        self.settings = client_settings(dsn, max_payload_bytes)
        self._pool_size = pool_size
        self._prepare_threshold = prepare_threshold
        self._pool: ConnectionPool[Any] | None = None
        self._pool_lock = threading.Lock()
        self._process_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and self._process_id == os.getpid():
            pool.close()

    def enqueue(
        self,
        type: str | AnyHandler,
        payload: PayloadLike | None = None,
        *,
        connection: AnyConnection | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> Enqueued:
        """Create a task of a type, or of a handler with its options; see `EnqueueOptions`.

        Returns its id, whether it was created (not if its unique key was taken), and its state. Raises `InvalidTask`,
        `InvalidPayload`, `UniqueConflict`, `QueueFull`.
        """
        return self.enqueue_new(NewTask(type, payload, **options), connection=connection)

    def enqueue_new(self, task: NewTask, *, connection: AnyConnection | None = None) -> Enqueued:
        """`enqueue` for a task that has been made and checked before."""
        check_size(task, self.settings)
        return self._run(statements.enqueue(task), connection)

    def enqueue_many(
        self,
        tasks: Iterable[NewTask | Mapping[str, Any]],
        *,
        connection: AnyConnection | None = None,
    ) -> list[Enqueued]:
        """Create many tasks, all or none, a thousand a round trip; each is a `NewTask` or a mapping of its parameters.

        Returns what became of each, in the order given.
        """
        many = many_tasks(tasks, self.settings)
        if connection is not None:
            return many.in_order(execute_together(connection, many.operations))
        with errors_translated(), self._connections().connection() as own:
            return many.in_order(execute_together(own, many.operations))

    def copy(
        self,
        tasks: Iterable[NewTask | Mapping[str, Any]],
        *,
        connection: AnyConnection | None = None,
    ) -> int:
        """Create very many tasks, all or none, by COPY, and return their number: the fastest way, which tells no ids.

        A `unique_key` that is taken makes all of it fail, and there is no `delay`. `tasks` may be a generator: it
        is sent as it yields.
        """
        chunks = statements.copy(as_new_tasks(tasks, self.settings))
        if connection is not None:
            return copy(connection, chunks)
        with errors_translated(), self._connections().connection() as own:
            return copy(own, chunks)

    def get(self, id: int, *, connection: AnyConnection | None = None) -> Task:
        """The task as it is now. Raises `TaskNotFound`."""
        return self._run(statements.get(id), connection)

    def executions(self, id: int, *, connection: AnyConnection | None = None) -> list[Execution]:
        """The attempts of a task in order, the one under way included."""
        return self._run(statements.executions(id), connection)

    def wait(self, id: int, timeout: float | timedelta | None = None) -> Task:
        """Wait until a task has ended (completed, cancelled, failed or dead_letter) and return it.

        It looks after 10 ms first, then ever more seldom, up to twice a second. Raises `WaitTimeout` after `timeout`
        seconds (None: never), `TaskNotFound`.
        """
        schedule = WaitSchedule(id, timeout)
        while not (task := self.get(id)).finished:
            time.sleep(schedule.next_pause(task.state))
        return task

    def cancel(self, id: int, *, connection: AnyConnection | None = None) -> str:
        """Cancel a task and return its state: "cancelled" if it waited, "running" if it was asked to stop, or the state
        in which it had ended before. Raises `TaskNotFound`.
        """
        return self._run(statements.cancel(id), connection)

    def retry(
        self,
        id: int,
        payload: PayloadLike | None = None,
        *,
        queue: str | None = None,
        priority: PriorityLike | None = None,
        run_at: datetime | None = None,
        connection: AnyConnection | None = None,
    ) -> str:
        """Make a task that has ended pending again, with its failures forgotten, and return its state.

        What is given replaces what the task had. Raises `WrongState` if it has not ended, `UniqueConflict` if a live
        task has taken its unique key, `TaskNotFound`.
        """
        options = retry_options(id, payload, self.settings, queue=queue, priority=priority, run_at=run_at)
        return self._run(statements.retry(id, options), connection)

    def _run(self, operation: statements.Operation[Answer], connection: AnyConnection | None) -> Answer:
        if connection is not None:
            return execute(connection, operation)
        with errors_translated(), self._connections().connection() as own:
            return execute(own, operation)

    def _connections(self) -> ConnectionPool[Any]:
        pool = self._pool
        if pool is not None and self._process_id == os.getpid():
            return pool
        with self._pool_lock:
            if self._pool is None or self._process_id != os.getpid():  # a fork shares no connections with its parent
                self._pool = open_pool(self.settings.required_dsn(), self._pool_size, self._prepare_threshold)
                self._process_id = os.getpid()
            return self._pool
