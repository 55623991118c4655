"""What handlers get from `context.connection()` and `transaction()`, and how their progress reaches the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from taskflow.store.connection import connect, connect_async
from taskflow.worker import transaction

if TYPE_CHECKING:
    from taskflow.tasks.context import Context
    from taskflow.worker.attempt import Attempt
    from taskflow.worker.own_completions import OwnCompletions


class HandlerConnections:
    """Opens connections for handlers, in the worker's own database; one a use, closed at its end.

    `progress_reported` is called whenever an attempt has a new progress to be stored. `own_completions` are told of
    the transactions in which handlers complete their tasks.
    """

    def __init__(
        self, dsn: str, progress_reported: Callable[[], None], own_completions: OwnCompletions | None = None
    ) -> None:
        self._dsn = dsn
        self.progress_reported = progress_reported
        self.own_completions = own_completions

    @contextmanager
    def open(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection whose transaction commits when the block ends, and is rolled back when it raises."""
        with connect(self._dsn, name="handler", autocommit=False, prepare_threshold=None) as connection:
            yield connection

    @asynccontextmanager
    async def open_async(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """The same for handlers in the event loop."""
        connection = await connect_async(self._dsn, name="handler", autocommit=False, prepare_threshold=None)
        async with connection:
            yield connection

    def transaction(
        self, attempt: Attempt, context: Context, isolation_level: psycopg.IsolationLevel | None
    ) -> AbstractContextManager[psycopg.Connection[Any]]:
        """A connection in a transaction that completes the attempt's task at its end."""
        return transaction.block(self._dsn, attempt, context, isolation_level)

    def transaction_async(
        self, attempt: Attempt, context: Context, isolation_level: psycopg.IsolationLevel | None
    ) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """The same for handlers in the event loop."""
        return transaction.block_async(self._dsn, attempt, context, isolation_level)
