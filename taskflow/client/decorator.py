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
    """What `task` makes of a function: callable as the function was, and with `enqueue`.

    Its tasks go to the database of the default client (DATABASE_URL), or into the caller's transaction by `connection`.
    For another database there is ``Client(dsn).enqueue(handler, payload)``. What it was declared with:

    - `type`: the task type.
    - `queue`: where what is enqueued with the handler goes.
    - `priority`: 0 to 3, of what is enqueued with it.
    - `max_attempts`: after how many failures it is given up. None: as the worker's settings or the queue say.
    - `timeout`: how many seconds an attempt may run. None: as the queue says.
    - `retry`: how long it waits after a failure. None: as the queue says.
    - `isolation`: whether it runs in a thread or in a process.
    """

    def enqueue(
        self,
        payload: PayloadT | Mapping[str, Any] | None = None,
        *,
        connection: AnyConnection | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> Enqueued:
        """Create a task for this handler, over the default client or in the transaction of `connection`.

        The same as `Client.enqueue` with the handler as its type: all its options can be given, and it raises the same,
        `InvalidPayload` if the payload does not fit the handler's model. `SettingsError` where DATABASE_URL is needed
        and not set.
        """
        return default_client().enqueue(self, cast(Any, payload), connection=connection, **options)

    def enqueue_many(
        self,
        payloads: Iterable[PayloadT | Mapping[str, Any]],
        *,
        connection: AnyConnection | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> list[Enqueued]:
        """Create a task for every payload, all or none, each with the same options: those of `Client.enqueue`.

        Returns and raises what `Client.enqueue_many` does.
        """
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
        """`enqueue` for asyncio, with the same options.

        `connection` is one of asyncio, see `AsyncClient`. Without it a thread does the work over the default client's
        pool, which so need not belong to an event loop.
        """
        task = self.new(payload, **options)
        if connection is None:
            return await asyncio.to_thread(default_client().enqueue_new, task)
        check_size(task, default_client().settings)
        return await execute_async(connection, statements.enqueue(task))

    def new(self, payload: PayloadT | Mapping[str, Any] | None = None, **options: Unpack[EnqueueOptions]) -> NewTask:
        """A task for this handler that is checked but not stored yet: for `Client.enqueue_new`, `enqueue_many`, `copy`.

        Options are those of `Client.enqueue`. Raises `InvalidTask`, `InvalidPayload`.
        """
        return NewTask(self, payload, **options)


@overload
def task(name: Callable[Concatenate[PayloadT, P], R], /) -> TaskHandler[PayloadT, P, R]: ...
@overload
def task(
    name: str | None = None, **options: Unpack[DecoratorOptions]
) -> Callable[[Callable[Concatenate[PayloadT, P], R]], TaskHandler[PayloadT, P, R]]: ...
def task(name: Any = None, **options: Any) -> Any:
    """Declare the handler of a task type: ``@task``, ``@task("email")``, ``@task("email", queue="mail", timeout=60)``.

    The function takes ``(payload)`` or ``(payload, context)``, may be `async`, and stays callable as it was. The
    payload is annotated as a `dict`, a pydantic model, a dataclass or a `TypedDict`, and `dict` without an annotation;
    the second parameter gets the `Context`. What the function returns is stored as the task's result: JSON of at most
    16 MiB, NaN and infinity as null. What it raises is a failure, unless it is one of the outcomes `Retry`, `Snooze`,
    `Cancel`, `DeadLetter`.

    - `name`: the task type, 1 to 200 characters: what tasks are enqueued by, from any language. Default: the function's
      name.

    Options; of those that may be None, that is the default:

    - `queue`: where its tasks go, 1 to 100 letters, digits or any of `. - _ :`. Default "default". Like `priority` it
      holds for what is enqueued with the handler, `handler.enqueue()` or `client.enqueue(handler)`, and for its
      schedule; not for tasks that are created by the type's name.
    - `priority`: which tasks of the queue come first: 0 to 3, a `Priority` or its name in lower case. Default "normal".
    - `max_attempts`: 1 to 1,000: with the last one failed, the task is a dead letter. None: as TASKFLOW_MAX_ATTEMPTS of
      the worker or the queue says, else 5.
    - `timeout`: how long an attempt may run: seconds or a `timedelta`, more than 0, at most 30 days. None: as the queue
      says, else 300 seconds.
    - `retry`: how long to wait after a failure: a `RetryPolicy` or the name of its strategy. None: as the queue says,
      else exponential, from 1 to 600 seconds.
    - `isolation`: "thread", the default, or "process": a process that is killed when the time is up. A thread cannot
      be. Not for `async` functions, which run in the event loop.
    - `registry`: where the handler is registered. Default: `taskflow.registry`, which workers run.

    Options for a task that recurs, with an empty payload; the schedule has the name of the type:

    - `cron`: five fields or an @word, such as "0 7 * * 1-5" or "@daily". Either this or `interval`.
    - `interval`: seconds or a `timedelta` from one fire time to the next, more than 0, at most a hundred years.
    - `timezone`: whose clocks `cron` goes by, an IANA name such as "Europe/Berlin". None: "UTC".
    - `missed`: what is made up for after an outage: "skip" (nothing), "once" (one task for all) or "all" (the newest
      100). None: "once".
    - `overlap`: "skip" leaves a fire time out while a task of the schedule has not ended, "allow" does not. None:
      "allow".
    - `jitter`: each task is due up to so much later, at random: seconds or a `timedelta`, at most 30 days. None: 0.

    Raises `RegistrationError` for an option that does not exist or cannot have its value, for a function that cannot be
    a handler, and if another function has the type already.
    """
    return decorate(TaskHandler, name, cast(DecoratorOptions, options))
