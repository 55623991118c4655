"""Connections that the caller brings: which kinds there are, and SQLAlchemy's way to run a statement.

SQLAlchemy is asked about only if the program has imported it, and its own API runs the statement, so that any of its
drivers will do and its transaction knows of the work. Below a connection of Django lies one of psycopg, which is used.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import psycopg
from psycopg.pq import TransactionStatus

from taskflow.errors import DatabaseUnavailable
from taskflow.store.client_statements import Operation
from taskflow.store.connection import translate

if TYPE_CHECKING:
    from sqlalchemy import TextClause

    # What `connection=` takes.
    from sqlalchemy.engine import Connection as SqlalchemyConnection
    from sqlalchemy.ext.asyncio import AsyncConnection as SqlalchemyAsyncConnection
    from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session, scoped_session

    class DjangoConnection(Protocol):
        """`django.db.connection`, or one of `django.db.connections`."""

        vendor: str

        def ensure_connection(self) -> None: ...

    AnyConnection = psycopg.Connection[Any] | SqlalchemyConnection | Session | scoped_session[Any] | DjangoConnection
    AnyAsyncConnection = (
        psycopg.AsyncConnection[Any] | SqlalchemyAsyncConnection | AsyncSession | async_scoped_session[Any]
    )

PsycopgConnection = TypeVar("PsycopgConnection", psycopg.Connection[Any], psycopg.AsyncConnection[Any])
_KINDS = (("sqlalchemy.engine", "Connection"), ("sqlalchemy.orm", "Session"), ("sqlalchemy.orm", "scoped_session"))
_ASYNC_KINDS = tuple(
    ("sqlalchemy.ext.asyncio", name) for name in ("AsyncConnection", "AsyncSession", "async_scoped_session")
)
_DJANGO_KINDS = (
    ("django.utils.connection", "ConnectionProxy"),
    ("django.db.backends.base.base", "BaseDatabaseWrapper"),
)


def below_django(connection: Any) -> Any:
    """The psycopg connection below one of Django, which it opens if need be; any other connection as it is.

    Raises `TypeError` if it is not PostgreSQL's, or psycopg 2 lies below it.
    """
    if not _is_one_of(connection, _DJANGO_KINDS):
        return connection
    if connection.vendor != "postgresql":
        raise TypeError(f"the connection of Django is to {connection.vendor}, and tasks are stored in PostgreSQL")
    connection.ensure_connection()
    return _psycopg(connection.connection, psycopg.Connection, "a connection of Django", "psycopg[binary]")


def below_async_django(connection: Any) -> Any:
    """Django's connections are synchronous; any other as it is."""
    if _is_one_of(connection, _DJANGO_KINDS):
        raise TypeError("connections of Django are synchronous: use Client, or `handler.enqueue(...)` in sync_to_async")
    return connection


def is_sqlalchemy(connection: object) -> bool:
    """Whether it is a Connection or a (scoped) Session of SQLAlchemy."""
    return _is_one_of(connection, _KINDS)


def is_async_sqlalchemy(connection: object) -> bool:
    """Whether it is an AsyncConnection or an AsyncSession of SQLAlchemy."""
    return _is_one_of(connection, _ASYNC_KINDS)


def _is_one_of(connection: object, kinds: tuple[tuple[str, str], ...]) -> bool:
    loaded = ((sys.modules.get(module), name) for module, name in kinds)
    return any(module is not None and isinstance(connection, getattr(module, name)) for module, name in loaded)


def refuse(connection: object) -> TypeError:
    """The error for a connection that the client called cannot use."""
    if isinstance(connection, psycopg.AsyncConnection) or is_async_sqlalchemy(connection):
        return TypeError(f"{connection!r} is asynchronous: use AsyncClient, or `await handler.enqueue_async(...)`")
    if isinstance(connection, psycopg.Connection) or is_sqlalchemy(connection):
        return TypeError(f"{connection!r} is synchronous: use Client, or `handler.enqueue(...)`")
    # Not what it is, which may be a URL with a password in it.
    return TypeError(
        "connection must be a psycopg connection, a SQLAlchemy Connection or Session, or Django's, not "
        f"{type(connection).__module__}.{type(connection).__qualname__}; for a URL there is Client(url)"
    )


@functools.lru_cache(maxsize=100)
def _text(sql: str) -> TextClause:
    from sqlalchemy import text

    first, *rest = sql.split("%s")
    return text(first + "".join(f":p{number}{part}" for number, part in enumerate(rest)))


def bound(operation: Operation[Any]) -> tuple[TextClause, dict[str, Any]]:
    """A statement and its parameters as SQLAlchemy takes them."""
    return _text(operation.sql), {f"p{number}": value for number, value in enumerate(operation.parameters)}


@contextmanager
def sqlalchemy_errors_translated() -> Iterator[None]:
    """Errors of the database leave this block as errors of taskflow, SQLAlchemy's as their cause."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable(f"PostgreSQL cannot be reached: {error.orig}") from error
        original = error.orig
        if not isinstance(original, psycopg.Error):
            original = cast(psycopg.Error, _OtherDriversError(original))
        raise translate(original) from error


class _OtherDriversError:
    """An error of psycopg2, whose diagnostics have the same names, as `translate` reads it."""

    def __init__(self, original: Any) -> None:
        self._original = original
        self.sqlstate: str | None = getattr(original, "pgcode", None)
        self.diag: Any = getattr(original, "diag", psycopg.Error().diag)

    def __str__(self) -> str:
        return str(self._original)


def driver_below_sqlalchemy(connection: Any) -> Any:
    """The driver's connection below SQLAlchemy's, whichever driver that is."""
    holder = connection.connection() if callable(connection.connection) else connection  # a session, or a connection
    return holder.connection.driver_connection


async def driver_below_async_sqlalchemy(connection: Any) -> Any:
    """The same for asyncio."""
    holder = connection if hasattr(connection, "get_raw_connection") else await connection.connection()
    return (await holder.get_raw_connection()).driver_connection


def below_sqlalchemy(connection: Any) -> psycopg.Connection[Any]:
    """The driver's connection below SQLAlchemy's, for COPY. Raises `TypeError` if it is not psycopg's."""
    return _psycopg(driver_below_sqlalchemy(connection), psycopg.Connection, *_COPY)


async def below_async_sqlalchemy(connection: Any) -> psycopg.AsyncConnection[Any]:
    """The same for asyncio."""
    return _psycopg(await driver_below_async_sqlalchemy(connection), psycopg.AsyncConnection, *_COPY)


def commits_each(connection: Any) -> bool:
    """Whether a connection of psycopg, 2 or 3, commits each statement by itself, and no transaction is open on it. Of
    other drivers' this is not known: no."""
    if not getattr(connection, "autocommit", False) or not hasattr(connection, "info"):
        return False
    return bool(connection.info.transaction_status == TransactionStatus.IDLE)  # a number, the same in both


_COPY = ("COPY below SQLAlchemy", "postgresql+psycopg://; enqueue_many works with any driver")


def _psycopg(driver_connection: object, kind: type[PsycopgConnection], what: str, how: str) -> PsycopgConnection:
    if not isinstance(driver_connection, kind):
        raise TypeError(f"{what} needs psycopg 3 ({how}), not {type(driver_connection).__module__}")
    return driver_connection
