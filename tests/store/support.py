"""Small things that the tests of the hot path's statements share."""

from __future__ import annotations

from typing import Any

import psycopg

from taskflow.store import tasks, workers
from taskflow.store.arrays import texts
from taskflow.store.tasks import BOTTOM, Ended, LimitedClaim
from taskflow.tasks.task import ClaimedTask

Connection = psycopg.Connection[tuple[Any, ...]]


def worker(connection: Connection) -> int:
    """Register a worker and return its id."""
    return workers.register(
        connection, hostname="here", pid=1, queues=None, types=["noop"], concurrency=10, version="0"
    )


def insert(connection: Connection, count: int = 1, **columns: Any) -> list[int]:
    """Insert tasks as a foreign service does; returns their ids."""
    columns = {"type": "noop", **columns}
    statement = (
        f"INSERT INTO taskflow.tasks ({', '.join(columns)}) SELECT {', '.join(['%s'] * len(columns))} "
        "FROM generate_series(1, %s) RETURNING id"
    )
    return [row[0] for row in connection.execute(statement, (*columns.values(), count))]


def claim(
    connection: Connection,
    worker_id: int,
    wanted: int = 10,
    queues: tuple[str, ...] = ("default",),
    types: tuple[str, ...] = ("noop",),
    frontier: list[tuple[str, int]] | None = None,
) -> list[ClaimedTask]:
    """Claim from the bottom, unless a frontier is given; sorted as a worker sorts."""
    bounds = frontier or [BOTTOM] * (4 * len(queues))
    claimed = tasks.claim(connection, worker_id, queues, texts(types), wanted, bounds)
    return sorted(claimed, key=lambda task: (-task.priority, task.run_at, task.id))


def complete(
    connection: Connection,
    worker_id: int,
    claimed: list[ClaimedTask],
    outcome: str = "succeeded",
    result: str | None = None,
    details: str | None = None,
) -> list[Ended]:
    """End all of them alike."""
    rows = [(task.id, task.attempt, 0.25, outcome, result, details) for task in claimed]
    return tasks.complete(connection, worker_id, rows).ended


def rows(connection: psycopg.Connection[Any], query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """What a query gives."""
    return connection.execute(query.encode(), parameters).fetchall()


def row(connection: Connection, task_id: int, *columns: str) -> tuple[Any, ...]:
    """Columns of a task, as people see it."""
    found = connection.execute(f"SELECT {', '.join(columns)} FROM taskflow.task_list WHERE id = %s", (task_id,))
    (only,) = found.fetchall()
    return tuple(only)


def attempts(connection: Connection, task_id: int) -> list[tuple[int, str]]:
    """(attempt, status) of every attempt of a task, in order."""
    rows = connection.execute("SELECT attempt, status FROM taskflow.task_attempts(%s)", (task_id,))
    return [(number, status) for number, status in rows]


def limit(connection: Connection, **settings: Any) -> None:
    """Set these columns of the queue "default"."""
    assignments = ", ".join(f"{name} = %s" for name in settings)
    connection.execute(f"UPDATE taskflow.queues SET {assignments} WHERE name = 'default'", list(settings.values()))


def claim_limited(
    connection: Connection,
    worker_id: int,
    wanted: int = 10,
    *,
    free: int | None = None,
    types: tuple[str, ...] = ("noop",),
    floor: int = 0,
) -> LimitedClaim:
    return tasks.claim_limited(
        connection,
        worker_id,
        "default",
        texts(types),
        free=wanted if free is None else free,
        wanted=wanted,
        frontier=[BOTTOM] * 4,
        floor=floor,
    )
