"""The decorator `task` that users know: a handler that can also enqueue itself."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, Unpack, cast, overload

from taskflow.client.async_connections import execute as execute_async
from taskflow.client.client import Client
from taskflow.client.requests import check_size
from taskflow.store import client_statements as statements
from taskflow.tasks.handler import Handler
from taskflow.tasks.new_task import Enqueued, EnqueueOptions, NewTask
from taskflow.tasks.registry import DecoratorOptions, decorate

if TYPE_CHECKING:
    from taskflow.client.foreign import AnyAsyncConnection, AnyConnection

PayloadT = TypeVar("PayloadT")
P = ParamSpec("P")
R = TypeVar("R")


@lru_cache(maxsize=1)
def default_client() -> Client:
    """The client of handlers that enqueue themselves: made from the environment at the first use, shared by all."""
    client = Client()
    atexit.register(client.close)
    return client


class TaskHandler(Handler[PayloadT, P, R]):
    """A handler with `enqueue`: over the default client (DATABASE_URL), or in the caller's transaction by `connection`.

    For another database there is ``Client(dsn).enqueue(handler, payload)``.
    """

    def enqueue(
        self,
        payload: PayloadT | Mapping[str, Any] | None = None,
        *,
        connection: AnyConnection | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> Enqueued:
        """Create a task for this handler; see `Client.enqueue`. Raises `InvalidPayload` if the payload does not fit."""
        return default_client().enqueue(self, cast(Any, payload), connection=connection, **options)

    def enqueue_many(
        self,
        payloads: Iterable[PayloadT | Mapping[str, Any]],
        *,
        connection: AnyConnection | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> list[Enqueued]:
        """Create a task for every payload, all or none, each with the same options; see `Client.enqueue_many`."""
        return default_client().enqueue_many(
            (self.new(payload, **options) for payload in payloads), connection=connection
        )

    async def enqueue_async(
        self,
        payload: PayloadT | Mapping[str, Any] | None = None,
        *,
        connection: AnyAsyncConnection | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> Enqueued:
        """`enqueue` for asyncio. Without a `connection` a thread does it over the default client's pool, which so need
        not belong to an event loop.
        """
        task = self.new(payload, **options)
        if connection is None:
            return await asyncio.to_thread(default_client().enqueue_new, task)
        check_size(task, default_client().settings)
        return await execute_async(connection, statements.enqueue(task))

    def new(self, payload: PayloadT | Mapping[str, Any] | None = None, **options: Unpack[EnqueueOptions]) -> NewTask:
        """A task for this handler that is checked but not stored yet: for `Client.enqueue_many` and `Client.copy`."""
        return NewTask(self, payload, **options)


@overload
def task(name: Callable[Concatenate[PayloadT, P], R], /) -> TaskHandler[PayloadT, P, R]: ...
@overload
def task(
    name: str | None = None, **options: Unpack[DecoratorOptions]
) -> Callable[[Callable[Concatenate[PayloadT, P], R]], TaskHandler[PayloadT, P, R]]: ...
def task(name: Any = None, **options: Any) -> Any:
    """Declare the handler of a task type: ``@task``, ``@task("email")``, ``@task("email", queue="mail", timeout=60)``.

    The function takes ``(payload)`` or ``(payload, context)``, may be `async`, and stays callable as it was. The type
    is its name unless given. Options: `queue`, `priority`, `max_attempts`, `timeout` (seconds), `retry` ("fixed",
    "linear", "exponential" or a `RetryPolicy`), `isolation` ("thread" or "process"), `registry`; for a task that
    recurs `cron` with `timezone`, or `interval` (seconds), and `missed`, `overlap`, `jitter`. Raises
    `RegistrationError`.
    """
    return decorate(TaskHandler, name, cast(DecoratorOptions, options))
