"""The per-minute statistics: of finished attempts, and of tasks that have ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg

from taskflow.store.connection import repeat_on_conflict
from taskflow.store.resources import query


def rolled_up_until(connection: psycopg.Connection[Any]) -> tuple[datetime, datetime | None]:
    """The current minute by the database's clock, and the last minute that has statistics (None: none has)."""
    row = connection.execute(query("rolled_up_until")).fetchone()
    assert row is not None
    return row[0], row[1]


def roll_up(connection: psycopg.Connection[Any], start: datetime, end: datetime) -> int:
    """Count the minutes from `start` up to, not including, `end` anew. Returns how many rows of task_stats changed."""

    def statement() -> int:
        row = connection.execute("SELECT taskflow.roll_up_minutes(%s, %s)", (start, end)).fetchone()
        return int(row[0]) if row else 0

    return repeat_on_conflict(statement)


def add_to_totals(connection: psycopg.Connection[Any], until: datetime) -> None:
    """Add the minutes before `until`, which will not be counted again, to the totals."""
    repeat_on_conflict(lambda: connection.execute("SELECT taskflow.add_to_totals(%s)", (until,)))


def count_created(connection: psycopg.Connection[Any]) -> bool:
    """Add tasks that were created to the totals; whether there are more."""

    def statement() -> bool:
        row = connection.execute("SELECT taskflow.count_created()").fetchone()
        return row is not None and bool(row[0])

    return repeat_on_conflict(statement)


def endings_counted_until(connection: psycopg.Connection[Any]) -> tuple[datetime, datetime | None]:
    """The current minute by the database's clock, and that up to which endings have been counted (None: there are no
    days of ended tasks)."""
    row = connection.execute(query("endings_counted_until")).fetchone()
    assert row is not None
    return row[0], row[1]


def count_endings(connection: psycopg.Connection[Any], start: datetime, end: datetime) -> int:
    """Count the tasks that ended in the minutes from `start` up to, not including, `end` anew. Returns how many rows of
    task_ends changed."""

    def statement() -> int:
        row = connection.execute("SELECT taskflow.roll_up_endings(%s, %s)", (start, end)).fetchone()
        return int(row[0]) if row else 0

    return repeat_on_conflict(statement)


def count_forgotten_day(connection: psycopg.Connection[Any]) -> bool:
    """Count a day of ended tasks of which nothing has been counted; whether there was one."""

    def statement() -> bool:
        row = connection.execute("SELECT taskflow.count_forgotten_day()").fetchone()
        return row is not None and row[0] is not None

    return repeat_on_conflict(statement)


def fold_endings(connection: psycopg.Connection[Any]) -> None:
    """Put the counts of past days together, and drop those of days that are gone."""
    repeat_on_conflict(lambda: connection.execute("SELECT taskflow.fold_endings()"))
