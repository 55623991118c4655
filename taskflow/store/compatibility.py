"""Whether the schema in the database serves this version of the program; cheap enough for every start and every probe.

The database may be newer: functions are only added and keep their signatures, so that yesterday's programs survive a
deploy. A migration that ends this says so in `taskflow.oldest_revision()`. What is never served is a program newer than
its database: it would call what is not there.
"""

from __future__ import annotations

import psycopg

from taskflow.store import resources

# From the catalogs, since naming a table in a schema that one may not use is an error, and no answer.
REACHABLE = """
SELECT n.oid IS NOT NULL,
       n.oid IS NOT NULL AND has_schema_privilege(n.oid, 'USAGE'),
       EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'alembic_version'),
       EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'sql_objects'),
       current_user, current_database()
FROM (SELECT) AS one_row LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = 'taskflow'
"""


def schema_problem(connection: psycopg.Connection) -> str | None:
    """Why this program cannot work with the schema in the database, and the way out, in a sentence; None if it can."""
    row = connection.execute(REACHABLE).fetchone()
    if row is None:  # pragma: no cover - the query gives one row
        return None
    exists, usable, has_version, has_objects, user, database = row
    if exists and not usable:
        return (
            f"The login {user} may not use the schema taskflow in the database {database}. An administrator can grant"
            f" it a role: GRANT taskflow_worker TO {user} (or _producer, _reader, _operator)."
        )
    if not (exists and has_version and has_objects):
        return (
            f"The database {database} has no taskflow schema yet. Run `taskflow migrate` with a login that may make it."
        )
    return _difference(connection, str(database))


def is_current(connection: psycopg.Connection) -> bool:
    """Whether this program can work with the database as it is now."""
    return schema_problem(connection) is None


def revision(connection: psycopg.Connection) -> str | None:
    """The revision of the tables in the database; None before the first migration."""
    found = connection.execute("SELECT to_regclass('taskflow.alembic_version') IS NOT NULL").fetchone()
    if not found or not found[0]:
        return None
    row = connection.execute("SELECT version_num FROM taskflow.alembic_version").fetchone()
    return str(row[0]) if row else None


def newer_revision(connection: psycopg.Connection) -> str | None:
    """The database's revision if this program does not know it, None otherwise."""
    found = revision(connection)
    return found if found is not None and found not in resources.revisions() else None


def incompatibility(connection: psycopg.Connection) -> str | None:
    """A sentence if a newer database has marked this program as too old, None otherwise."""
    row = connection.execute("SELECT taskflow.oldest_revision()").fetchone()
    head = resources.revisions()[-1]
    if row is None or head >= row[0]:
        return None
    return (
        f"This program is too old for its database: it knows the schema up to revision {head}, and the database needs"
        f" programs that know {row[0]}. Install a newer taskflow-pg."
    )


def _difference(connection: psycopg.Connection, database: str) -> str | None:
    found = revision(connection)
    way_out = "Run `taskflow migrate` before starting this version."
    if found is None:
        return f"The database {database} has an unfinished taskflow schema. {way_out}"
    *older, head = resources.revisions()
    if found in older:
        return (
            f"The schema in the database {database} is older (revision {found}) than this program ({head}). {way_out}"
        )
    paths = [path for path in resources.sql_paths() if path.startswith(("functions/", "views/"))]
    missing = connection.execute(
        "SELECT path FROM unnest(%s::text[]) AS path EXCEPT SELECT path FROM taskflow.sql_objects ORDER BY 1 LIMIT 1",
        [paths],
    ).fetchone()
    if missing:
        return f"The schema in the database {database} is older than this program: it lacks sql/{missing[0]}. {way_out}"
    return incompatibility(connection)
