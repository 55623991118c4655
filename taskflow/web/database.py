"""The API's connections: a small bounded pool that comes up without a database and recovers from losing it.

Every statement is a transaction of its own (autocommit): one round trip each. A connection that the server has closed
is noticed before it is used, by a look at its socket that costs no round trip.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import psycopg
from psycopg.types.json import set_json_dumps, set_json_loads
from sqlalchemy import Connection, Engine, Executable, Row, create_engine, event, exc

from taskflow.errors import DatabaseUnavailable
from taskflow.settings import Settings
from taskflow.store.connection import connect, settle_session, translate
from taskflow.web.http.encoding import decode_stored, encode

POOL_TIMEOUT_SECONDS = 5.0
STATEMENT_TIMEOUT = "15s"
SET_TIMEOUT = "SELECT set_config('statement_timeout', %s, false)"
READ_ONLY = "25006"


class Database:
    """The database as the resources see it: `fetch` to read, `call` to write."""

    def __init__(self, settings: Settings) -> None:
        self._dsn = settings.database_url
        self._prepare_threshold = 1 if settings.web_prepare else None
        self.engine = self._make_engine(settings.web_connections)
        self._unit: ContextVar[Connection | None] = ContextVar("unit", default=None)

    def fetch(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Sequence[Row[Any]]:
        """Run a statement that only reads; once more on a new connection where the first one was lost.

        Raises `DatabaseUnavailable`, or the error of taskflow that the database's means.
        """
        with _errors_translated():
            try:
                return self._run(statement, parameters)
            except exc.DBAPIError as error:
                if not error.connection_invalidated or self._unit.get() is not None:
                    raise
            return self._run(statement, parameters)

    def call(self, statement: Executable, parameters: Mapping[str, Any]) -> Sequence[Row[Any]]:
        """Run a statement that writes, once: whether it was done is not known when the connection is lost."""
        with _errors_translated():
            return self._run(statement, parameters)

    def call_direct(self, statement: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """`call` for psycopg's own form of a statement: the same connections without what SQLAlchemy makes of a
        statement and its rows."""
        with _errors_translated():
            unit = self._unit.get()
            if unit is not None:
                return _driver(unit).execute(statement, parameters).fetchall()
            pooled = self.engine.raw_connection()
            driver = cast("psycopg.Connection[tuple[Any, ...]]", pooled.driver_connection)
            try:
                return driver.execute(statement, parameters).fetchall()
            except psycopg.Error as error:
                if driver.closed or error.sqlstate == READ_ONLY:
                    pooled.invalidate(error)
                raise
            finally:
                pooled.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection for several statements that are to be done together or not at all."""
        unit = self._unit.get()
        if unit is not None:
            with _errors_translated(), unit.begin_nested():
                yield unit
            return
        with _errors_translated(), self.engine.connect() as connection:
            connection = connection.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                yield connection

    @contextmanager
    def unit(self) -> Iterator[None]:
        """Whatever this thread asks of the database inside the block is one transaction: done at its end, or not at all
        where the block is left by an exception. A savepoint is what `transaction` is inside."""
        with self.transaction() as connection:
            token = self._unit.set(connection)
            try:
                yield
            finally:
                self._unit.reset(token)

    @contextmanager
    def driver_connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the pool as psycopg's own, for the functions of taskflow.store."""
        unit = self._unit.get()
        with _errors_translated():
            if unit is not None:
                yield _driver(unit)
                return
            with self.engine.connect() as connection:
                yield _driver(connection)

    def _run(self, statement: Executable, parameters: Mapping[str, Any] | None) -> Sequence[Row[Any]]:
        unit = self._unit.get()
        if unit is not None:
            return _rows(unit, statement, parameters)
        with self.engine.connect() as connection:
            return _rows(connection, statement, parameters)

    def _make_engine(self, connections: int) -> Engine:
        engine = create_engine(
            "postgresql+psycopg://",
            creator=self._open,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            use_native_hstore=False,
        )
        event.listen(engine, "checkout", _refuse_a_dead_connection)
        event.listen(engine, "handle_error", _drop_a_read_only_server)
        return engine

    def _open(self) -> psycopg.Connection[Any]:
        connection = connect(self._dsn, name="web", prepare_threshold=self._prepare_threshold)
        set_json_dumps(encode, connection)
        set_json_loads(decode_stored, connection)
        if settle_session(connection):
            connection.execute(SET_TIMEOUT, [STATEMENT_TIMEOUT], prepare=False)
        else:
            connection.prepare_threshold = None
        return connection


def _rows(connection: Connection, statement: Executable, parameters: Mapping[str, Any] | None) -> Sequence[Row[Any]]:
    result = connection.execute(statement, parameters)
    return result.all() if result.returns_rows else ()


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver


@contextmanager
def _errors_translated() -> Iterator[None]:
    try:
        yield
    except exc.TimeoutError as error:
        raise DatabaseUnavailable("all connections of the pool are in use") from error
    except exc.DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.QueryCanceled):
            raise DatabaseUnavailable("a statement took longer than the limit") from error
        raise translate(cast(psycopg.Error, error.orig)) from error
    except psycopg.Error as error:
        raise translate(error) from error


def _refuse_a_dead_connection(connection: psycopg.Connection[Any], _record: object, _proxy: object) -> None:
    if is_dead(connection):
        raise exc.DisconnectionError("the server closed the connection while it was idle")


def is_dead(connection: psycopg.Connection[Any]) -> bool:
    """Whether the server has closed this idle connection.

    An idle connection has nothing to read. If it has, that is the end, or a notice that a round trip tells from it.
    """
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return False
    try:
        connection.execute("SELECT 1", prepare=False)
    except psycopg.Error:
        return True
    return False


def _drop_a_read_only_server(context: Any) -> None:
    """After a failover the old primary may still answer: connect anew, to one that can be written to."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True
