"""The per-minute statistics of finished attempts."""

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
