"""Running the client's statements on a connection, and the pool of its own. `connections.py` is made from this file."""

from __future__ import annotations

import select
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool

from taskflow.client.foreign import (
    below_async_django,
    below_async_sqlalchemy,
    bound,
    commits_each,
    driver_below_async_sqlalchemy,
    is_async_sqlalchemy,
    refuse,
    sqlalchemy_errors_translated,
)
from taskflow.store.client_statements import Operation
from taskflow.store.connection import connect_async, connection_parameters, errors_translated, settle_session_async

if TYPE_CHECKING:
    from taskflow.client.foreign import AnyAsyncConnection

Answer = TypeVar("Answer")
POOL_TIMEOUT_SECONDS = 10.0


async def execute(connection: AnyAsyncConnection, operation: Operation[Answer]) -> Answer:
    """Run a statement on a connection, in whatever transaction it is in; never commits."""
    own = below_async_django(connection)
    if isinstance(own, psycopg.AsyncConnection):
        # A cursor of our own: the connection's factories make what its owner likes.
        cursor = psycopg.AsyncCursor(own, row_factory=tuple_row)
        with errors_translated():
            await cursor.execute(operation.sql, operation.parameters)
            rows = await cursor.fetchall()
        return operation.decode(rows)
    if is_async_sqlalchemy(own):
        with sqlalchemy_errors_translated():
            result = await own.execute(*bound(operation))
            found = [tuple(row) for row in result.all()]
        return operation.decode(found)
    raise refuse(connection)


async def execute_together(connection: AnyAsyncConnection, operations: list[Operation[Answer]]) -> list[Answer]:
    """Run statements, all or none: in the transaction that is open, else in one of their own (autocommit)."""
    connection = below_async_django(connection)
    async with await together(connection, len(operations)):
        return [await execute(connection, operation) for operation in operations]


async def together(connection: AnyAsyncConnection, statements: int) -> AbstractAsyncContextManager[Any]:
    """A transaction for statements on a connection that would commit each by itself; nothing on any other."""
    if statements > 1:
        if isinstance(connection, psycopg.AsyncConnection):
            if commits_each(connection):
                return connection.transaction()
        elif is_async_sqlalchemy(connection) and commits_each(await driver_below_async_sqlalchemy(connection)):
            return _begun(connection)
    return nullcontext()


@asynccontextmanager
async def _begun(connection: Any) -> AsyncIterator[None]:
    """A transaction on a connection of SQLAlchemy that is to commit each statement: its own would do nothing."""

    async def run(sql: str) -> None:
        with sqlalchemy_errors_translated():
            await connection.execute(*bound(Operation(sql, (), len)))

    await run("BEGIN")
    try:
        yield
    except BaseException:
        with suppress(Exception):  # a connection that cannot do this is lost, and the transaction with it
            await run("ROLLBACK")
        raise
    await run("COMMIT")


async def copy(connection: AnyAsyncConnection, statements: Iterable[tuple[str, Iterable[tuple[Any, ...]]]]) -> int:
    """Send rows by COPY, all or none, and count them."""
    driver = await driver_connection(connection)
    count = 0
    with errors_translated():
        async with await together(driver, 2):
            cursor = psycopg.AsyncCursor(driver)
            for statement, rows in statements:
                async with cursor.copy(statement.encode()) as stream:
                    for row in rows:
                        await stream.write_row(row)
                        count += 1
    return count


async def driver_connection(connection: AnyAsyncConnection) -> psycopg.AsyncConnection[Any]:
    """The psycopg connection itself, or the one below SQLAlchemy's or Django's."""
    connection = below_async_django(connection)
    if isinstance(connection, psycopg.AsyncConnection):
        return connection
    if not is_async_sqlalchemy(connection):
        raise refuse(connection)
    # SQLAlchemy must know that its transaction has begun, or it would not commit what went past it.
    await execute(connection, Operation("SELECT 1", (), len))
    return await below_async_sqlalchemy(connection)


async def open_pool(dsn: str, size: int, prepare_threshold: int | None) -> AsyncConnectionPool[Any]:
    """A pool that is open. Raises at once, with the reason, if no connection can be made."""
    # The pool would try for half a minute, and keep the reason for its log.
    await (await connect_async(dsn, name="client")).close()
    pool = AsyncConnectionPool(
        kwargs={**connection_parameters(dsn, "client"), "autocommit": True, "prepare_threshold": prepare_threshold},
        min_size=1,
        max_size=size,
        num_workers=1,
        timeout=POOL_TIMEOUT_SECONDS,
        configure=_configure,
        check=_check,
        name="taskflow client",
        open=False,
    )
    await pool.open(wait=True, timeout=POOL_TIMEOUT_SECONDS)  # or the first request would make it grow to two
    return pool


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    """Prepare nothing behind a pooler: in transaction mode another's statement may have the name of ours."""
    if not await settle_session_async(connection):
        connection.prepare_threshold = None


async def _check(connection: psycopg.AsyncConnection[Any]) -> None:
    """Before a connection is lent: something to read on an idle one means that the server has closed it.

    Asking the server each time would cost a round trip, and a request on a dead one could not simply be repeated.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)
