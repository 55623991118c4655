"""The client for asyncio. `client.py` is made from this file by ops/generate-client."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from taskflow.client.async_connections import copy, execute, execute_together, open_pool
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
    from psycopg_pool import AsyncConnectionPool

    from taskflow.client.foreign import AnyAsyncConnection
    from taskflow.tasks.execution import Execution
    from taskflow.tasks.handler import AnyHandler, PriorityLike
    from taskflow.tasks.payload import PayloadLike
    from taskflow.tasks.task import Task

Answer = TypeVar("Answer")


class AsyncClient:
    """Enqueues tasks and looks after them, over a pool of connections that is opened when first needed.

    Use it as a context manager, or call `close()`. It may be shared by everything in one process.

    - `dsn`: a PostgreSQL URL or connection string. None: what DATABASE_URL or `taskflow.toml` says.
    - `pool_size`: the most connections it opens, at least 1.
    - `max_payload_bytes`: the longest payload it accepts, as JSON, 1 to 1,048,576 bytes. None: what
      TASKFLOW_MAX_PAYLOAD_BYTES says, else 256 KiB.
    - `prepare_threshold`: how often a statement is run on a connection before it is prepared. None: never, as a pooler
      in transaction mode may need. Behind a pooler that is recognised nothing is prepared in any case.

    Wherever a `connection` is taken it may be a psycopg connection, a SQLAlchemy connection or session, or Django's,
    where it is synchronous: the work is then done in the caller's transaction, and commits or vanishes with it.
    Anything else is a `TypeError`. None: a connection of the client's own, which commits at once.

    Raises `SettingsError` where a setting is wrong, or none says which database. What asks the database raises
    `DatabaseUnavailable`, `NotAllowed` where the login lacks a role, `SchemaMismatch` before `taskflow migrate`, and
    any other error of the database as a `TaskflowError`.
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
        self._pool: AsyncConnectionPool[Any] | None = None
        self._pool_lock = asyncio.Lock()
        self._process_id = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client's own connections; the next call opens new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and self._process_id == os.getpid():
            await pool.close()

    async def enqueue(
        self,
        type: str | AnyHandler,
        payload: PayloadLike | None = None,
        *,
        connection: AnyAsyncConnection | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> Enqueued:
        """Create a task. Returns its id, whether it was created (not if its unique key was taken), and its state.

        - `type`: the name of a type, 1 to 200 characters, which need not be known here; or a handler: its model checks
          the payload, and its options hold where none are given.
        - `payload`: a mapping, a pydantic model or a dataclass instance, at most `max_payload_bytes` of the client as
          JSON. None: `{}`.
        - `connection`: whose transaction the task is created in. None: one of its own.

        Options; None, or left out, is the default:

        - `queue`: 1 to 100 letters, digits or any of `. - _ :`. Default: the handler's; of a type by name "default".
        - `priority`: 0 to 3, a `Priority` or its name in lower case. Default: the handler's; of a type by name
          "normal".
        - `run_at`: not before this time: a `datetime` with a zone, 2000 to 2200. Default: now.
        - `delay`: the same from now on, by the database's clock, in place of `run_at`: seconds or a `timedelta`, 0 to a
          hundred years.
        - `unique_key`: 1 to 500 characters; no two tasks of a type that have not ended have the same. Default: none.
        - `on_conflict`: what to do if the `unique_key` is taken: "skip" answers with the task there is, "error" raises
          `UniqueConflict`, "replace" gives that task the new payload, priority and time if it waits, and is like "skip"
          while it runs. Default "skip".
        - `unique_for`: the `unique_key` stays taken for so long from now, also when the task has ended: seconds or a
          `timedelta`, 0 to a hundred years. Default: no longer than the task lives.
        - `max_attempts`: 1 to 1,000. Default: as the type, else the queue says, else 5.
        - `timeout`: how long an attempt may run: seconds or a `timedelta`, more than 0, at most 30 days. Default: as
          the type, else the queue says, else 300 seconds.
        - `retry`: a `RetryPolicy`, such as ``RetryPolicy("fixed", delay_seconds=30)``, or the name of its strategy.
          Default: as the type, else the queue says, else exponential, from 1 to 600 seconds. (SQL and REST take
          `retry_strategy`, `retry_delay` and `max_retry_delay` in its place.)
        - `concurrency_key`: 1 to 500 characters; tasks of a queue with the same one run one at a time, in order, or as
          many at once as the `key_limit` of the queue says. Default: none.
        - `metadata`: a mapping that is stored beside the payload and that handlers can read, at most 1 MiB as JSON.
          Default: empty.
        - `tags`: at most 20 texts, 20 KB in all, to find tasks by. Default: none.

        Raises `InvalidTask` for an option that does not exist or cannot have its value, `InvalidPayload` for a payload
        that does not fit the handler's model, `UniqueConflict` with on_conflict="error", `NotAllowed` with "replace" of
        a task that another login has created, `QueueFull` where as many wait as the `max_depth` of the queue allows.
        """
        return await self.enqueue_new(NewTask(type, payload, **options), connection=connection)

    async def enqueue_new(self, task: NewTask, *, connection: AnyAsyncConnection | None = None) -> Enqueued:
        """`enqueue` for a task that has been made and checked before. Raises the same."""
        check_size(task, self.settings)
        return await self._run(statements.enqueue(task), connection)

    async def enqueue_many(
        self,
        tasks: Iterable[NewTask | Mapping[str, Any]],
        *,
        connection: AnyAsyncConnection | None = None,
    ) -> list[Enqueued]:
        """Create many tasks, all or none, a thousand a round trip. Returns what became of each, in the order given.

        - `tasks`: each a `NewTask` or a mapping with what `enqueue` takes: "type", "payload", and the names of options.
          There may be any number; they are held in memory.
        - `connection`: whose transaction they are created in; on one in autocommit they get a transaction of their own.

        Raises what `enqueue` does; the message of an `InvalidTask` that is found before anything is sent says which
        task it is, counted from 0.
        """
        many = many_tasks(tasks, self.settings)
        if connection is not None:
            return many.in_order(await execute_together(connection, many.operations))
        with errors_translated():
            async with (await self._connections()).connection() as own:
                return many.in_order(await execute_together(own, many.operations))

    async def copy(
        self,
        tasks: Iterable[NewTask | Mapping[str, Any]],
        *,
        connection: AnyAsyncConnection | None = None,
    ) -> int:
        """Create very many tasks, all or none, by COPY, and return their number: the fastest way, which tells no ids.

        - `tasks`: as for `enqueue_many`, without `delay`, `on_conflict` and `unique_for`. It may be a generator: its
          tasks are sent as it yields, and not held in memory.
        - `connection`: as for `enqueue_many`.

        Raises what `enqueue_many` does, and `InvalidTask` for these three options, or if a `unique_key` is taken.
        """
        chunks = statements.copy(as_new_tasks(tasks, self.settings))
        if connection is not None:
            return await copy(connection, chunks)
        with errors_translated():
            async with (await self._connections()).connection() as own:
                return await copy(own, chunks)

    async def get(self, id: int, *, connection: AnyAsyncConnection | None = None) -> Task:
        """The task as it is now.

        Raises `TaskNotFound`, also if retention has removed it; `NotAllowed` if the login has not the role
        `taskflow_reader`.
        """
        return await self._run(statements.get(id), connection)

    async def executions(self, id: int, *, connection: AnyAsyncConnection | None = None) -> list[Execution]:
        """The attempts of a task in order, the one under way included; none if there is no such task.

        Raises `NotAllowed` if the login has not the role `taskflow_reader`.
        """
        return await self._run(statements.executions(id), connection)

    async def wait(self, id: int, timeout: float | timedelta | None = None) -> Task:
        """Wait until a task has ended (completed, cancelled, failed or dead_letter) and return it.

        It looks after 10 ms first, then ever more seldom, down to twice a second. `timeout` is in seconds or a
        `timedelta`; None waits for ever.

        Raises `WaitTimeout` when the time is up, and what `get` raises. A task that fails raises nothing: look at its
        `state`.
        """
        schedule = WaitSchedule(id, timeout)
        while not (task := await self.get(id)).finished:
            await asyncio.sleep(schedule.next_pause(task.state))
        return task

    async def cancel(self, id: int, *, connection: AnyAsyncConnection | None = None) -> str:
        """Cancel a task and return its state: "cancelled" if it waited, "running" if it was asked to stop, or the state
        in which it had ended before.

        Raises `TaskNotFound`, also for a task that the login may not cancel: a producer cancels what it has created.
        """
        return await self._run(statements.cancel(id), connection)

    async def retry(
        self,
        id: int,
        payload: PayloadLike | None = None,
        *,
        queue: str | None = None,
        priority: PriorityLike | None = None,
        run_at: datetime | None = None,
        connection: AnyAsyncConnection | None = None,
    ) -> str:
        """Make a task that has ended pending again, with its failures forgotten, and return its state.

        What is given replaces what the task had; limits are those of `enqueue`. The payload is not checked against a
        model here. `run_at` None: now.

        Raises `WrongState` if it has not ended, `UniqueConflict` if a live task has taken its unique key,
        `TaskNotFound`, `InvalidTask`, and `NotAllowed` if the login has not the role `taskflow_operator`.
        """
        options = retry_options(id, payload, self.settings, queue=queue, priority=priority, run_at=run_at)
        return await self._run(statements.retry(id, options), connection)

    async def _run(self, operation: statements.Operation[Answer], connection: AnyAsyncConnection | None) -> Answer:
        if connection is not None:
            return await execute(connection, operation)
        with errors_translated():
            async with (await self._connections()).connection() as own:
                return await execute(own, operation)

    async def _connections(self) -> AsyncConnectionPool[Any]:
        pool = self._pool
        if pool is not None and self._process_id == os.getpid():
            return pool
        async with self._pool_lock:
            if self._pool is None or self._process_id != os.getpid():  # a fork shares no connections with its parent
                self._pool = await open_pool(self.settings.required_dsn(), self._pool_size, self._prepare_threshold)
                self._process_id = os.getpid()
            return self._pool
