"""What the database keeps for taskflow, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import psycopg

from taskflow.store import leases, queue_retention
from taskflow.store.queue_retention import Kept
from taskflow.store.resources import query


@dataclass(frozen=True, slots=True)
class Table:
    """A table of tasks or executions, its daily partitions taken together. `rows` and `dead_rows` are estimates of the
    server's statistics, `bytes` is exact; `leaving`: the removal of a day has begun and waits for somebody."""

    name: str
    days: int
    first_day: date | None
    last_day: date | None
    rows: int
    dead_rows: int
    bytes: int
    vacuumed_at: datetime | None
    leaving: bool
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Upkeep:
    """`today` is that of the database, in UTC; days are made a month ahead. `owner_wanted`: whoever leads may not drop
    the days that have expired."""

    today: date
    tables: list[Table]
    kept: list[Kept]
    owner_wanted: bool = False

    @property
    def days_ahead(self) -> int:
        """For how many days from today there are tables; -1: not even for today."""
        last = [table.last_day for table in self.tables if table.last_day is not None]
        return max(-1, (min(last) - self.today).days) if last else -1


def look(connection: psycopg.Connection[Any]) -> Upkeep:
    """How things stand. Reads no table of tasks but by an index."""
    oldest = dict(connection.execute(query("oldest_rows")).fetchall())
    tables = [Table(*(*row, oldest.get(row[0]))) for row in connection.execute(query("table_sizes"))]
    row = connection.execute("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date").fetchone()
    assert row is not None
    owner_wanted = leases.owner_wanted(connection) is not None
    return Upkeep(row[0], tables, queue_retention.kept(connection), owner_wanted)
