"""taskflow.schema says exactly what a migrated database has, so that no query of the API names what is not there."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from taskflow.schema import metadata

COLUMNS = """
SELECT a.attname, format_type(coalesce(nullif(t.typbasetype, 0), a.atttypid), NULL),
       a.attnotnull, coalesce(a.attnum = ANY (i.indkey::int[]), false)
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = format('taskflow.%%I', %s::text)::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
# Tables of other tools (alembic), and the leaves that have the shape of their parent.
NOT_DECLARED = {"alembic_version", "sql_objects", "tasks_completed", "tasks_ended"}
# Their primary key is that of the leaves, or is none that PostgreSQL could check.
KEYS_FOR_READERS_ONLY = {"tasks", "executions"}


def written_as_in_sql(table: Table) -> list[tuple[str, str]]:
    dialect = postgresql.dialect()
    return [(column.name, _lower(column.type.compile(dialect=dialect))) for column in table.columns]


def _lower(type_: str) -> str:
    return type_.lower()


@pytest.mark.parametrize("table", metadata.tables.values(), ids=lambda table: table.name)
def test_every_column_is_the_one_of_the_migrated_database(table: Table, connection: psycopg.Connection) -> None:
    rows = connection.execute(COLUMNS, [table.name]).fetchall()

    assert written_as_in_sql(table) == [(name, type_) for name, type_, _, _ in rows]
    if not table.info.get("is_view"):
        assert {c.name for c in table.columns if not c.nullable} == {name for name, _, not_null, _ in rows if not_null}
    if not table.info.get("is_view") and table.name not in KEYS_FOR_READERS_ONLY:
        assert {c.name for c in table.primary_key} == {name for name, _, _, in_key in rows if in_key}


def test_no_table_or_view_of_the_database_is_left_out(connection: psycopg.Connection) -> None:
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'taskflow'::regnamespace AND relkind IN ('r', 'p', 'v')"
        " AND relname !~ '_[0-9]{8}$'"
    ).fetchall()

    assert {name for (name,) in found} - NOT_DECLARED == {table.name for table in metadata.tables.values()}
