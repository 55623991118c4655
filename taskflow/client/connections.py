# Made from async_connections.py by ops/generate-client: change that file.
"""Running the client's statements on a connection, and the pool of its own."""

from __future__ import annotations

import select
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool

from taskflow.client.foreign import (
    below_django,
    below_sqlalchemy,
    bound,
    commits_each,
    driver_below_sqlalchemy,
    is_sqlalchemy,
    refuse,
    sqlalchemy_errors_translated,
)
from taskflow.store.client_statements import Operation
from taskflow.store.connection import connect, connection_parameters, errors_translated, settle_session

if TYPE_CHECKING:
    from taskflow.client.foreign import AnyConnection

Answer = TypeVar("Answer")
POOL_TIMEOUT_SECONDS = 10.0


def execute(connection: AnyConnection, operation: Operation[Answer]) -> Answer:
    """Run a statement on a connection, in whatever transaction it is in; never commits."""
    own = below_django(connection)
    if isinstance(own, psycopg.Connection):
        # A cursor of our own: the connection's factories make what its owner likes.
        cursor = psycopg.Cursor(own, row_factory=tuple_row)
        with errors_translated():
            cursor.execute(operation.sql, operation.parameters)
            rows = cursor.fetchall()
        return operation.decode(rows)
    if is_sqlalchemy(own):
        with sqlalchemy_errors_translated():
            result = own.execute(*bound(operation))
            found = [tuple(row) for row in result.all()]
        return operation.decode(found)
    raise refuse(connection)


def execute_together(connection: AnyConnection, operations: list[Operation[Answer]]) -> list[Answer]:
    """Run statements, all or none: in the transaction that is open, else in one of their own (autocommit)."""
    connection = below_django(connection)
    with together(connection, len(operations)):
        return [execute(connection, operation) for operation in operations]


def together(connection: AnyConnection, statements: int) -> AbstractContextManager[Any]:
    """A transaction for statements on a connection that would commit each by itself; nothing on any other."""
    if statements > 1:
        if isinstance(connection, psycopg.Connection):
            if commits_each(connection):
                return connection.transaction()
        elif is_sqlalchemy(connection) and commits_each(driver_below_sqlalchemy(connection)):
            return _begun(connection)
    return nullcontext()


@contextmanager
def _begun(connection: Any) -> Iterator[None]:
    """A transaction on a connection of SQLAlchemy that is to commit each statement: its own would do nothing."""

    def run(sql: str) -> None:
        with sqlalchemy_errors_translated():
            connection.execute(*bound(Operation(sql, (), len)))

    run("BEGIN")
    try:
        yield
    except BaseException:
        with suppress(Exception):  # a connection that cannot do this is lost, and the transaction with it
            run("ROLLBACK")
        raise
    run("COMMIT")


def copy(connection: AnyConnection, statements: Iterable[tuple[str, Iterable[tuple[Any, ...]]]]) -> int:
    """Send rows by COPY, all or none, and count them."""
    driver = driver_connection(connection)
    count = 0
    with errors_translated(), together(driver, 2):
        cursor = psycopg.Cursor(driver)
        for statement, rows in statements:
            with cursor.copy(statement.encode()) as stream:
                for row in rows:
                    stream.write_row(row)
                    count += 1
    return count


def driver_connection(connection: AnyConnection) -> psycopg.Connection[Any]:
    """The psycopg connection itself, or the one below SQLAlchemy's or Django's."""
    connection = below_django(connection)
    if isinstance(connection, psycopg.Connection):
        return connection
    if not is_sqlalchemy(connection):
        raise refuse(connection)
    # SQLAlchemy must know that its transaction has begun, or it would not commit what went past it.
    execute(connection, Operation("SELECT 1", (), len))
    return below_sqlalchemy(connection)


def open_pool(dsn: str, size: int, prepare_threshold: int | None) -> ConnectionPool[Any]:
    """A pool that is open. Raises at once, with the reason, if no connection can be made."""
    # The pool would try for half a minute, and keep the reason for its log.
    connect(dsn, name="client").close()
    pool = ConnectionPool(
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
    pool.open(wait=True, timeout=POOL_TIMEOUT_SECONDS)  # or the first request would make it grow to two
    return pool


def _configure(connection: psycopg.Connection[Any]) -> None:
    """Prepare nothing behind a pooler: in transaction mode another's statement may have the name of ours."""
    if not settle_session(connection):
        connection.prepare_threshold = None


def _check(connection: psycopg.Connection[Any]) -> None:
    """Before a connection is lent: something to read on an idle one means that the server has closed it.

    Asking the server each time would cost a round trip, and a request on a dead one could not simply be repeated.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        ConnectionPool.check_connection(connection)
