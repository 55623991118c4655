"""Bring a database to the schema of this version: tables, functions and views, triggers, days, grants.

Everything can be repeated: what is done already is not done again, and two runs at once are safe. Nothing waits long
for a lock, since all others would wait behind it: every step is a transaction of its own that soon gives up and tries
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg.errors import DeadlockDetected, InsufficientPrivilege, InvalidTableDefinition, LockNotAvailable

from taskflow.errors import DatabaseUnavailable, NotAllowed, SchemaMismatch, TaskflowError
from taskflow.store import compatibility, objects
from taskflow.store.compatibility import is_current, schema_problem
from taskflow.store.migration_lock import LOCK_TIMEOUT, alone, patiently
from taskflow.store.objects import SqlObject

__all__ = ["MigrateReport", "Pending", "as_sql", "is_current", "migrate", "pending", "schema_problem"]

PATIENCE_SECONDS = 60.0
DAYS_AHEAD = 31

# Names in the files are looked up where they belong, whatever the login's search_path is.
SETTINGS = f"""
SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';
SET LOCAL statement_timeout = 0;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL check_function_bodies = off;
"""
# In the transaction that makes them, so that nobody can call a new function in between.
REVOKE = "REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA taskflow FROM PUBLIC;"
MAKE_DAYS = f"SELECT taskflow.ensure_days({DAYS_AHEAD})"


@dataclass(frozen=True, slots=True)
class Pending:
    """What `migrate` would do: revisions of the tables and paths below sql/."""

    tables: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tables or self.objects or self.triggers)


@dataclass(slots=True)
class MigrateReport:
    """What a run of `migrate` did, and `notes`: a sentence for each thing that somebody should know."""

    tables: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    triggers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.tables or self.objects or self.triggers)


def migrate(dsn: str, *, patience_seconds: float = PATIENCE_SECONDS) -> MigrateReport:
    """Bring the database at `dsn` to the schema of this version and say what was done.

    `patience_seconds` bounds how long each step tries to get its locks beside other transactions. Waits for another
    migration of the same database. Raises DatabaseUnavailable, SchemaMismatch (a server that cannot hold the schema, or
    a schema too new), NotAllowed, or TaskflowError with the file that was wrong or the lock that was not to be had.
    """
    with _connected(dsn) as connection, _connected(dsn) as guard:
        _check_server(connection)
        with alone(guard) as check_alone:
            report = MigrateReport()
            if newer := _newer(connection):
                report.notes.append(newer)
                return report
            _migrate_tables(dsn, connection, report, patience_seconds)
            check_alone()
            _migrate_objects(connection, report, patience_seconds)
            check_alone()
            _migrate_triggers(connection, report, patience_seconds)
            connection.execute(MAKE_DAYS)
            return report


def pending(dsn: str) -> Pending:
    """What `migrate` would do with the database at `dsn`; changes nothing."""
    with _connected(dsn) as connection:
        _check_server(connection)
        return Pending() if _newer(connection) else _pending(connection)


def as_sql() -> str:
    """All SQL that `migrate` would run on an empty database, as a script for psql."""
    from taskflow.store import tables

    transactions = [
        [SETTINGS, *(f"{item.text}\n{item.record}\n" for item in objects.load("functions", "views")), REVOKE],
        *([SETTINGS, item.text, item.record] for item in objects.load("triggers")),
    ]
    script = [tables.as_sql()]
    script += ["\n".join(["BEGIN;", *statements, "COMMIT;"]) for statements in transactions]
    return "\n\n".join([*script, f"{MAKE_DAYS};"]) + "\n"


def _pending(connection: psycopg.Connection) -> Pending:
    from taskflow.store import tables

    return Pending(
        tables=tuple(tables.pending(compatibility.revision(connection))),
        objects=tuple(item.path for item in objects.pending(connection, "functions", "views")),
        triggers=tuple(item.path for item in objects.pending(connection, "triggers")),
    )


def _check_server(connection: psycopg.Connection) -> None:
    version = connection.info.server_version
    if version < 150000:
        raise SchemaMismatch(
            f"taskflow needs PostgreSQL 15 or newer, and this server is {version // 10000}. Upgrade it."
        )
    encoding = _value(connection, "SHOW server_encoding")
    if encoding != "UTF8":
        raise SchemaMismatch(
            f"The database {connection.info.dbname} has the encoding {encoding}, and payloads need UTF8."
            " Create it with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )
    if _value(connection, "SHOW transaction_read_only") == "on":
        raise DatabaseUnavailable("The database is read-only: a standby, or default_transaction_read_only is on.")


def _newer(connection: psycopg.Connection) -> str | None:
    """A sentence if a newer version has migrated this database: the older one has nothing to do there."""
    newer = compatibility.newer_revision(connection)
    if newer is None:
        return None
    if problem := compatibility.incompatibility(connection):
        raise SchemaMismatch(problem)
    return f"The database is at revision {newer}, newer than this version of taskflow; it serves this one too."


def _migrate_tables(dsn: str, connection: psycopg.Connection, report: MigrateReport, patience: float) -> None:
    from taskflow.store import tables

    for revision in tables.pending(compatibility.revision(connection)):
        patiently(
            lambda revision=revision: tables.upgrade(  # type: ignore[misc]
                lambda: psycopg.connect(dsn, prepare_threshold=None), revision, lock_timeout=LOCK_TIMEOUT
            ),
            what=f"The migration {revision}",
            connection=connection,
            patience_seconds=patience,
        )
        report.tables.append(revision)


def _migrate_objects(connection: psycopg.Connection, report: MigrateReport, patience: float) -> None:
    def apply() -> list[str]:
        with connection.transaction():
            connection.execute(SETTINGS.encode())
            todo = objects.pending(connection, "functions", "views")
            for item in todo:
                _make(connection, item)
            if todo:
                connection.execute(REVOKE)
            return [item.path for item in todo]

    report.objects += patiently(
        apply, what="Replacing functions and views", connection=connection, patience_seconds=patience
    )


def _migrate_triggers(connection: psycopg.Connection, report: MigrateReport, patience: float) -> None:
    for item in objects.pending(connection, "triggers"):

        def apply(item: SqlObject = item) -> None:
            with connection.transaction():
                connection.execute(SETTINGS.encode())
                _execute(connection, item)

        patiently(apply, what=f"The trigger {item.name}", connection=connection, patience_seconds=patience)
        report.triggers.append(item.path)


def _make(connection: psycopg.Connection, item: SqlObject) -> None:
    """Create or replace one object. A view whose columns differ is dropped first, with the views that read it."""
    try:
        with connection.transaction():
            _execute(connection, item)
    except InvalidTableDefinition:
        if item.kind != "views":
            raise
        again = objects.views_upon(item, objects.load("views"))
        for view in reversed(again):
            connection.execute(f"DROP VIEW IF EXISTS taskflow.{view.name}".encode())
        for view in again:
            _execute(connection, view)


def _execute(connection: psycopg.Connection, item: SqlObject) -> None:
    try:
        connection.execute(item.text.encode())
    except (LockNotAvailable, DeadlockDetected, InvalidTableDefinition, psycopg.OperationalError):
        raise
    except InsufficientPrivilege as error:
        raise NotAllowed(f"sql/{item.path}: {error}. Migrate with the login that made the schema.") from error
    except psycopg.Error as error:
        raise TaskflowError(f"sql/{item.path}: {error}") from error
    connection.execute(item.record.encode())


@contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    try:
        with psycopg.connect(
            dsn, autocommit=True, prepare_threshold=None, application_name="taskflow migrate"
        ) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise DatabaseUnavailable(f"PostgreSQL cannot be reached or closed the connection: {error}") from error


def _value(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None
