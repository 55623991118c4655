"""A start line for workers: all of them ready, none of them off, and the database's clock when they were let go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg

from taskflow.bench.workers import START_SECONDS, Workers, wait_until
from taskflow.store.connection import connect

WAITING = """
    SELECT count(DISTINCT l.pid)
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE NOT l.granted AND (l.relation = 'taskflow.tasks_live'::regclass OR l.locktype = 'advisory')
      AND (a.query LIKE '%%claim_tasks%%' OR a.query LIKE '%%claim_limited%%')
"""


class StartLine:
    """Holds a lock that lets everybody read tasks and nobody claim: the first claim of each worker waits at it.

    So the start of the processes is not measured, and two of them start together.
    """

    def __init__(self, connection: psycopg.Connection[Any], observer: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._observer = observer

    def wait_for(self, processes: int, workers: Workers) -> None:
        """Wait until that many worker processes stand at the line."""
        wait_until(
            lambda: self._waiting() >= processes,
            "the workers' first claims",
            workers,
            seconds=START_SECONDS + processes,
        )

    def open(self) -> datetime:
        """Let them go; the database's time just before."""
        row = self.connection.execute("SELECT clock_timestamp()").fetchone()
        self.connection.commit()
        if row is None:
            raise RuntimeError("the database told no time")
        now: datetime = row[0]
        return now

    def _waiting(self) -> int:
        row = self._observer.execute(WAITING).fetchone()
        return int(row[0]) if row else 0


@contextlib.contextmanager
def start_line(dsn: str) -> Iterator[StartLine]:
    """Draw the line; what the block does on `connection` before `open` is one transaction with the lock."""
    with (
        connect(dsn, name="bench start line", autocommit=False) as holder,
        connect(dsn, name="bench observer") as observer,
    ):
        holder.execute("LOCK TABLE taskflow.tasks_live IN SHARE ROW EXCLUSIVE MODE")
        try:
            yield StartLine(holder, observer)
        finally:
            holder.rollback()
