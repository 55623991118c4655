"""The daily partitions: making, detaching and dropping them, and keeping what must outlive a dropped day.

What may wait for others is bounded by a lock_timeout of its transaction. Only DETACH ... CONCURRENTLY cannot run inside
one: it holds no lock while it waits, and has a statement_timeout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.errors import CheckViolation

from taskflow.store.resources import query

DAYS_AHEAD = 31
ATTACH_LOCK_TIMEOUT = "2s"
# A waiting FINALIZE or DROP keeps others from the parent's next ATTACH and from the day itself: better to come again.
REMOVE_LOCK_TIMEOUT = "200ms"


@dataclass(frozen=True, slots=True)
class Day:
    """One daily table: its name and parent without the schema, the UTC day, and where it stands in its removal."""

    name: str
    parent: str
    date: date
    attached: bool
    detach_pending: bool
    owned: bool

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier("taskflow", self.name)

    @property
    def parent_table(self) -> sql.Identifier:
        return sql.Identifier("taskflow", self.parent)


def ensure_days(connection: psycopg.Connection[Any], days: int) -> int:
    """Make the partitions from yesterday to `days` ahead. Returns how many were missing."""
    with _lock_timeout(connection, ATTACH_LOCK_TIMEOUT):
        row = connection.execute("SELECT taskflow.ensure_days(%s)", (days,)).fetchone()
    return int(row[0]) if row else 0


def is_missing_day(error: BaseException) -> bool:
    """Whether this is "no partition of relation found for row": the leader has not made that day."""
    return isinstance(error, CheckViolation) and error.diag.constraint_name is None


def database_time(connection: psycopg.Connection[Any]) -> datetime:
    """Now, by the database's clock, in UTC."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now.astimezone(UTC)


def list_days(connection: psycopg.Connection[Any]) -> list[Day]:
    """Every daily table, oldest first, those included that an interrupted removal has left detached."""
    found = []
    for name, parent, day, attached, detach_pending, owned in connection.execute(query("day_partitions")):
        try:
            when = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date()
        except ValueError:  # somebody's table that only looks like a day
            continue
        found.append(Day(name, parent, when, attached, detach_pending, owned))
    return sorted(found, key=lambda item: (item.date, item.name))


def detach(connection: psycopg.Connection[Any], day: Day, seconds: float) -> None:
    """Detach without locking anybody out; waits for every transaction that has used the parent, up to `seconds`.

    Raises psycopg.errors.QueryCanceled when that takes longer: the detach is then pending, to be finalized later.
    """
    with _statement_timeout(connection, seconds):
        connection.execute(
            sql.SQL("ALTER TABLE {} DETACH PARTITION {} CONCURRENTLY").format(day.parent_table, day.table),
            prepare=False,
        )


def finalize(connection: psycopg.Connection[Any], day: Day) -> None:
    """Complete a pending detach. Raises psycopg.errors.LockNotAvailable while a transaction still uses the day."""
    with _lock_timeout(connection, REMOVE_LOCK_TIMEOUT):
        connection.execute(
            sql.SQL("ALTER TABLE {} DETACH PARTITION {} FINALIZE").format(day.parent_table, day.table), prepare=False
        )


def drop(connection: psycopg.Connection[Any], day: Day) -> None:
    """Drop a detached day. Raises psycopg.errors.LockNotAvailable while somebody reads it."""
    with _lock_timeout(connection, REMOVE_LOCK_TIMEOUT):
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(day.table), prepare=False)


def keep_executions(connection: psycopg.Connection[Any], day: Day) -> None:
    """Move the executions of `day` whose tasks still exist to executions_kept, in batches."""
    after: int | None = 0
    while after is not None:
        row = connection.execute("SELECT taskflow.keep_executions(%s, %s)", (day.name, after)).fetchone()
        after = row[0] if row else None


def forget_executions(connection: psycopg.Connection[Any]) -> None:
    """Remove from executions_kept what belongs to tasks that are gone, in batches."""
    after: int | None = 0
    while after is not None:
        row = connection.execute("SELECT taskflow.forget_executions(%s)", (after,)).fetchone()
        after = row[0] if row else None


@contextmanager
def _lock_timeout(connection: psycopg.Connection[Any], value: str) -> Iterator[None]:
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (value,))
        yield


@contextmanager
def _statement_timeout(connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
    """For the one statement that cannot run in a transaction, and so neither with a setting of its transaction.

    Not behind a pooler in transaction mode, where the setting would stay with a connection of others: there DETACH
    waits for as long as it takes, or until this process ends and cancels it.
    """
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    if row is None or row[0] != connection.info.backend_pid:
        yield
        return
    connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{round(seconds * 1000)}ms",))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("RESET statement_timeout")
