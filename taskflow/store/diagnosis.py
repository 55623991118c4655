"""Reads for `taskflow doctor`: each bounded in time, writing nothing, fit for a database of any size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from taskflow.store import compatibility, objects, resources
from taskflow.store.resources import query

STATEMENT_TIMEOUT, LOCK_TIMEOUT = "5s", "1s"
# Whatever the statistics say, no table is read from end to end; whatever the login's settings, definitions look alike.
SETTINGS = """
SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true), set_config('jit', 'off', true),
       set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('search_path', 'pg_catalog, pg_temp', true), set_config('quote_all_identifiers', 'off', true),
       set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO', true)
"""
INDEX = re.compile(r"INDEX (\w+) ON ")
OF_CONSTRAINTS = ("tasks_live_pkey", "tasks_dead_pkey")


@contextmanager
def bounded(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """A transaction for some looks, each of which ends soon, one way or the other."""
    with connection.transaction():
        connection.execute(SETTINGS, (STATEMENT_TIMEOUT, LOCK_TIMEOUT))
        yield


def look(connection: psycopg.Connection[Any], name: str, **parameters: Any) -> list[Any]:
    """The rows of `sql/queries/<name>.sql` as named tuples; to be called inside `bounded`. Raises psycopg's errors."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(query(name), parameters).fetchall()


def has_schema(connection: psycopg.Connection[Any]) -> bool:
    """Whether `taskflow migrate` has ever been here, and this login may look."""
    row = connection.execute(
        "SELECT coalesce(has_schema_privilege(n.oid, 'USAGE'), false) FROM (SELECT) AS one_row"
        " LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'taskflow'"
    ).fetchone()
    return bool(row and row[0]) and compatibility.revision(connection) is not None


@cache
def wanted_indexes() -> dict[str, str]:
    """The indexes that the migrations of this version make, and do not drop again: name → definition, as
    `pg_get_indexdef` gives it inside `bounded`."""
    return {INDEX.findall(statement)[0]: statement for statement in resources.index_statements()}


def altered_functions(connection: psycopg.Connection[Any]) -> list[str]:
    """The functions that are recorded as applied and have another body in the database, or are not there any more."""
    hashes = objects.applied(connection)
    bodies: dict[str, set[str]] = {}
    for row in look(connection, "function_bodies"):
        bodies.setdefault(row.name, set()).add(row.body)
    altered = []
    for item in objects.load("functions"):
        body, known = body_of(item.text), bodies.get(item.name)
        if hashes.get(item.path) == item.hash and (known is None or (body is not None and body not in known)):
            altered.append(item.name)
    return sorted(altered)


def body_of(text: str) -> str | None:
    """The body of the function that a file makes, as the catalog keeps it; None for one that is an expression."""
    found = objects.BODY.search(text, text.index("CREATE "))  # what its comment quotes is no body
    if found is None:
        return None
    quote = f"${found[1]}$"
    return found[0].removeprefix(quote).removesuffix(quote)
