"""Run one file of sql/: create or replace what it makes, and remember that."""

from __future__ import annotations

import psycopg
from psycopg.errors import DeadlockDetected, InsufficientPrivilege, InvalidTableDefinition, LockNotAvailable

from taskflow.errors import NotAllowed, TaskflowError
from taskflow.store import objects
from taskflow.store.objects import SqlObject

# Those of a view's row type: the function is gone with the view, or the view cannot go.
FUNCTIONS_OF_A_ROW = """
SELECT p.proname, p.oid::regprocedure::text
FROM pg_catalog.pg_class v
JOIN pg_catalog.pg_type t ON t.typrelid = v.oid
JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray)
JOIN pg_catalog.pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
WHERE v.oid = to_regclass(%s)
"""


def apply(connection: psycopg.Connection, item: SqlObject) -> None:
    """Create or replace one object in the open transaction of `connection`.

    A view whose columns differ cannot be replaced: it is dropped, with the views and functions of ours that cannot be
    without it, and all of them are made anew. Raises NotAllowed or TaskflowError naming the file; errors of locks and
    of the connection as psycopg's.
    """
    if item.kind != "views":
        _run(connection, item)
        return
    try:
        with connection.transaction():
            _run(connection, item)
    except InvalidTableDefinition:
        again = objects.with_dependents(item, objects.load("functions", "views"))
        for one in reversed(again):
            _drop(connection, one, {other.name for other in again})
        for one in again:
            _run(connection, one)


def _run(connection: psycopg.Connection, item: SqlObject) -> None:
    try:
        connection.execute(item.text.encode())
    except (InvalidTableDefinition, LockNotAvailable, DeadlockDetected, psycopg.OperationalError):
        raise
    except InsufficientPrivilege as error:
        raise NotAllowed(f"sql/{item.path}: {error}. Migrate with the login that made the schema.") from error
    except psycopg.Error as error:
        raise TaskflowError(f"sql/{item.path}: {error}") from error
    connection.execute(item.record.encode())


def _drop(connection: psycopg.Connection, item: SqlObject, ours: set[str]) -> None:
    if item.kind != "views":
        return  # goes with the view of its row
    functions = connection.execute(FUNCTIONS_OF_A_ROW, [f"taskflow.{item.name}"]).fetchall()
    for name, signature in functions:
        if name in ours:
            connection.execute(f"DROP FUNCTION {signature}".encode())
    try:
        connection.execute(f"DROP VIEW IF EXISTS taskflow.{item.name}".encode())
    except psycopg.errors.DependentObjectsStillExist as error:
        raise TaskflowError(
            f"The view taskflow.{item.name} gets other columns and must be made anew, but something else depends on it:"
            f" {error.diag.message_detail}. Drop that, migrate, and create it again."
        ) from error
