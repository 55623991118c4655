"""What the rescuer sees of workers, and how it takes their tasks from the dead."""

from __future__ import annotations

from typing import Any

import psycopg

from taskflow.store.connection import repeat_on_conflict
from taskflow.store.resources import query

BATCH = 500
# A row that somebody's open transaction has locked must not stop the leader.
LOCK_TIMEOUT = "1s"


def observe(connection: psycopg.Connection[Any]) -> dict[int, int | None]:
    """Worker id → heartbeat counter; None for an id that holds running tasks and has no row in workers."""
    return dict(connection.execute(query("observe_workers")).fetchall())


def record_claims(connection: psycopg.Connection[Any]) -> int:
    """Record what runs without a claim, and so would not be rescued; how many tasks that concerned.

    Reads every live task.
    """
    row = connection.execute("SELECT taskflow.record_claims()").fetchone()
    return int(row[0]) if row else 0


def rescue(connection: psycopg.Connection[Any], worker_id: int, heartbeat: int | None) -> int:
    """Take one batch of tasks, at most `BATCH`, from a worker whose heartbeat still stands at `heartbeat`.

    Returns how many; fewer than `BATCH` means that this was the last of them, and that the worker's row is gone too
    (or that it lives and nothing was done). Raises psycopg.errors.LockNotAvailable if a row is locked for a second.
    """

    def statement() -> int:
        with connection.transaction():
            connection.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
            row = connection.execute(
                "SELECT taskflow.rescue_tasks(%s, %s, %s)", (worker_id, heartbeat, BATCH)
            ).fetchone()
        return int(row[0]) if row else 0

    return repeat_on_conflict(statement)
