"""What handlers get from `context.connection()`, and how their progress reaches the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg

from taskflow.store.connection import connect, connect_async


class HandlerConnections:
    """Opens connections for handlers, in the worker's own database; one a use, closed at its end.

    `progress_reported` is called whenever an attempt has a new progress to be stored.
    """

    def __init__(self, dsn: str, progress_reported: Callable[[], None]) -> None:
        self._dsn = dsn
        self.progress_reported = progress_reported

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
