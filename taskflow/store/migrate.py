"""Bring a database to the schema of this version: tables, roles, functions and views with their grants, triggers, days.

Everything can be repeated: what is done already is not done again, and two runs at once are safe. Nothing waits long
for a lock, since all others would wait behind it: every step is a transaction of its own that soon gives up and tries
again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.errors import InsufficientPrivilege

from taskflow.errors import NotAllowed, SchemaMismatch
from taskflow.store import compatibility, grants, objects, partitions, tables
from taskflow.store.compatibility import is_current, schema_problem
from taskflow.store.connection import connect, errors_translated
from taskflow.store.migration_lock import alone
from taskflow.store.migration_steps import SETTINGS, STEPS, Changes, MigrateReport, Run
from taskflow.store.roles import ROLES

__all__ = ["Changes", "MigrateReport", "as_sql", "is_current", "migrate", "pending", "schema_problem"]

PATIENCE_SECONDS = 60.0


def migrate(dsn: str, *, patience_seconds: float = PATIENCE_SECONDS) -> MigrateReport:
    """Bring the database at `dsn` to the schema of this version and say what was done.

    `patience_seconds` bounds how long each step tries to get its locks beside other transactions. Waits for another
    migration of the same database. Raises DatabaseUnavailable, SchemaMismatch (a server that cannot hold the schema, or
    a schema too new), NotAllowed, or TaskflowError with the file that was wrong or the lock that was not to be had.
    """
    with _connected(dsn) as connection, _connected(dsn) as guard, alone(guard) as check_alone:
        run = Run(dsn, connection, patience_seconds)
        if newer := _newer(connection):
            run.report.notes.append(newer)
            return run.report
        for step in STEPS:
            check_alone()
            step(run)
        return run.report


def pending(dsn: str) -> Changes:
    """What `migrate` would do with the database at `dsn`; changes nothing. Raises what `migrate` raises."""
    with _connected(dsn) as connection:
        return pending_in(connection)


def pending_in(connection: psycopg.Connection) -> Changes:
    """`pending`, of the database of a connection."""
    if _newer(connection):
        return Changes()
    roles = grants.missing_roles(connection) if grants.may_create_roles(connection) else []
    return Changes(
        tables=tables.pending(compatibility.revision(connection)),
        roles=roles,
        objects=[item.path for item in objects.pending(connection, "functions", "views")],
        grants=sorted({*roles, *(right.role for right in grants.problems(connection))}),
        triggers=[item.path for item in objects.pending(connection, "triggers")],
    )


def as_sql() -> str:
    """All SQL that `migrate` would run on an empty database, as a script for psql."""
    files = [
        f"-- sql/{item.path}\n{item.text.rstrip()}\n{item.record}\n" for item in objects.load("functions", "views")
    ]
    transactions = [
        [SETTINGS, *files, grants.REVOKE_FROM_PUBLIC, *map(grants.grant_sql, ROLES)],
        *([SETTINGS, item.text.rstrip(), item.record] for item in objects.load("triggers")),
    ]
    return "\n\n".join(
        [
            "-- For an empty database, encoding UTF8, PostgreSQL 15 or newer: psql -v ON_ERROR_STOP=1 -f this-file",
            tables.as_sql().strip(),
            grants.create_roles_sql(),
            *("\n".join(["BEGIN;", *statements, "COMMIT;"]) for statements in transactions),
            f"SELECT taskflow.ensure_days({partitions.DAYS_AHEAD});\n",
        ]
    )


@contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection that works through a pooler too, to a server fit for the schema; errors leave as taskflow's."""
    try:
        with errors_translated(), connect(dsn, name="migrate", prepare_threshold=None) as connection:
            _check_server(connection)
            yield connection
    except NotAllowed as error:
        if isinstance(error.__cause__, InsufficientPrivilege):
            raise NotAllowed(
                f"{error.__cause__.diag.message_primary}: migrate with the login that made the schema taskflow, or, the"
                " first time, with one that may create a schema in this database."
            ) from error.__cause__
        raise


def _check_server(connection: psycopg.Connection) -> None:
    version = connection.info.server_version
    if version < 150000:
        raise SchemaMismatch(
            f"taskflow needs PostgreSQL 15 or newer, and this server is {version // 10000}. Upgrade it."
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise SchemaMismatch(
            f"The database {connection.info.dbname} has the encoding {encoding}, and payloads need UTF8."
            " Create it with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0."
        )


def _newer(connection: psycopg.Connection) -> str | None:
    """A sentence if a newer version has migrated this database: the older one has nothing to do there."""
    newer = compatibility.newer_revision(connection)
    if newer is None:
        return None
    if problem := compatibility.incompatibility(connection):
        raise SchemaMismatch(problem)
    return f"The database is at revision {newer}, newer than this version of taskflow; it serves this one too."
