"""Where an export's rows come from: one SELECT, in a read-only transaction of the database to export from.

The server makes most of the output itself (COPY), and COPY takes its query as text. So the query is checked first, by
itself: DECLARE CURSOR takes nothing but one SELECT (or VALUES, or TABLE) that writes nothing. What is such a statement
has balanced parentheses and no comment left open, and is the same one between those of ``COPY (…)``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from taskflow import Context, DeadLetter
from taskflow.handlers._export_parameters import bound
from taskflow.settings import Settings

# A transaction ends the attempt, or passes: a standby that replays, a server that is shut down, a timeout, no memory.
MAY_PASS = frozenset({"08", "40", "53", "55", "57", "58", "HV", "XX"})
CURSOR = "taskflow_export"


class ExportFailed(Exception):
    """The database could not be read now; retried by the task's policy."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the result; `oid` is its type's in pg_type."""

    name: str
    oid: int


@dataclass(frozen=True, slots=True)
class Source:
    """A checked query on an open connection. `expected_rows` is the planner's guess."""

    connection: psycopg.Connection[Any]
    query: str
    columns: tuple[Column, ...]
    expected_rows: int

    def selecting(self, expressions: list[sql.Composable]) -> sql.Composed:
        """The query's rows with other expressions of its columns; those are called `c1`, `c2`, … in there."""
        names = sql.SQL(", ").join(column_name(number) for number in range(1, len(self.columns) + 1))
        return sql.SQL("SELECT {} FROM (\n{}\n) AS q ({})").format(
            sql.SQL(", ").join(expressions), sql.SQL(self.query), names
        )


def column_name(number: int) -> sql.Identifier:
    """What the column of this number, from 1, is called in `Source.selecting`."""
    return sql.Identifier(f"c{number}")


def named_query(name: str, settings: Settings) -> str:
    """The text of a named export. Raises `DeadLetter` if there is none of this name."""
    if not settings.exports:
        raise DeadLetter(
            "TASKFLOW_EXPORTS is not set: name the directory that has the exports as .sql files, and retry"
        )
    directory = Path(settings.exports)
    try:
        return (directory / f"{name}.sql").read_text("utf-8")
    except FileNotFoundError:
        known = ", ".join(sorted(path.stem for path in directory.glob("*.sql"))) or "none"
        raise DeadLetter(f"there is no export {name!r} in TASKFLOW_EXPORTS; there are: {known}") from None
    except UnicodeDecodeError:
        raise DeadLetter(f"the export {name!r} is not UTF-8") from None


@contextlib.contextmanager
def source(query: str, params: Mapping[str, Any], context: Context, settings: Settings) -> Iterator[Source]:
    """The query with its parameters, checked and ready, until the end of the block.

    Raises `DeadLetter` for what is wrong with it, also while it is read within the block, `ExportFailed` for what may
    pass.
    """
    try:
        with _connection(context, settings) as connection:
            _limit(connection, context, settings)
            text = bound(query.strip().rstrip(";"), params)
            columns = _checked(connection, text)
            yield Source(connection, text, columns, _expected_rows(connection, text))
            connection.rollback()
    except psycopg.Error as error:
        raise _translated(error) from error


@contextlib.contextmanager
def _connection(context: Context, settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    if not settings.export_database_url:
        with context.connection() as connection:
            yield connection
        return
    try:
        connection = psycopg.connect(
            settings.export_database_url, connect_timeout=10, prepare_threshold=None, application_name="taskflow export"
        )
    except psycopg.ProgrammingError:  # its message repeats the string, and with it the password
        raise DeadLetter("TASKFLOW_EXPORT_DATABASE_URL is not a PostgreSQL connection string") from None
    with connection:
        yield connection


def _limit(connection: psycopg.Connection[Any], context: Context, settings: Settings) -> None:
    """Begin a transaction that cannot write, has no more time than the attempt, and ends when this process does."""
    connection.read_only = True
    limits = {"timezone": "UTC", "datestyle": "ISO", "intervalstyle": "iso_8601", "bytea_output": "hex"}
    if context.deadline is not None:
        remaining_ms = (context.deadline - datetime.now(UTC)).total_seconds() * 1000
        limits["statement_timeout"] = str(max(1, int(remaining_ms)))
    for name, value in limits.items():
        connection.execute("SELECT set_config(%s, %s, true)", (name, value))
    connection.execute("SET LOCAL client_encoding = 'UTF8'")
    # Not on every system: there the server notices only when it next has something to send.
    with contextlib.suppress(psycopg.DataError, psycopg.ProgrammingError), connection.transaction():
        connection.execute("SELECT set_config('client_connection_check_interval', '500ms', true)")
    if settings.export_role:
        try:
            connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(settings.export_role)))
        except (psycopg.DataError, psycopg.ProgrammingError) as error:
            raise DeadLetter(f"the role of TASKFLOW_EXPORT_ROLE cannot be taken: {_message(error)}") from error


def _checked(connection: psycopg.Connection[Any], text: str) -> tuple[Column, ...]:
    with psycopg.RawServerCursor(connection, CURSOR) as cursor:
        try:
            cursor.execute(text)
        except (psycopg.errors.SyntaxError, psycopg.errors.FeatureNotSupported) as error:
            raise DeadLetter(f"the query must be one SELECT that writes nothing: {_message(error)}") from error
        return tuple(Column(column.name, column.type_code) for column in cursor.description or ())


def _expected_rows(connection: psycopg.Connection[Any], text: str) -> int:
    row = connection.execute(f"EXPLAIN (FORMAT JSON) {text}").fetchone()
    return int(row[0][0]["Plan"]["Plan Rows"]) if row else 0


def _translated(error: psycopg.Error) -> Exception:
    state = error.sqlstate
    if state is None or state[:2] in MAY_PASS:
        return ExportFailed(f"the database could not be read: {_message(error)}")
    return DeadLetter(f"the query failed: {_message(error)}")


def _message(error: psycopg.Error) -> str:
    """What the server says, in one line."""
    diag = error.diag
    parts = [diag.message_primary or " ".join(str(error).split())]
    parts += [
        f"{word}: {text}" for word, text in (("detail", diag.message_detail), ("hint", diag.message_hint)) if text
    ]
    return "; ".join(parts) + (f" ({error.sqlstate})" if error.sqlstate else "")
