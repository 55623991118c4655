"""What the database says about tasks and attempts, for the tests that break things: nothing gone, nothing twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

Connection = psycopg.Connection[Any]

# A worker is given up two seconds after its last heartbeat, not thirty.
SOON = {"TASKFLOW_HEARTBEAT_INTERVAL": "0.3", "TASKFLOW_HEARTBEAT_TIMEOUT": "2"}
LIMIT_SECONDS = 2.0


def enqueue(
    connection: Connection, type: str, payload: dict[str, Any] | None = None, count: int = 1, **columns: Any
) -> list[int]:
    """Insert `count` tasks of a type in one statement, as any producer may; returns their ids."""
    names = ["type", "payload", *columns]
    values = [type, Jsonb(payload or {}), *columns.values()]
    placeholders = ", ".join(["%s"] * len(names))
    rows = connection.execute(
        f"INSERT INTO taskflow.tasks ({', '.join(names)})"
        f" SELECT {placeholders} FROM generate_series(1, %s) RETURNING id",
        [*values, count],
    )
    return [row[0] for row in rows]


def states(connection: Connection, ids: list[int] | None = None) -> dict[str, int]:
    """How many tasks are in which state, of these or of all."""
    rows = connection.execute(
        "SELECT state::text, count(*) FROM taskflow.tasks"
        " WHERE %(ids)s::bigint[] IS NULL OR id = ANY (%(ids)s) GROUP BY 1",
        {"ids": ids},
    )
    return dict(rows.fetchall())


def outcomes(connection: Connection, ids: list[int] | None = None) -> dict[str, int]:
    """How many attempts ended how, of these tasks or of all."""
    rows = connection.execute(
        "SELECT outcome::text, count(*) FROM taskflow.executions"
        " WHERE %(ids)s::bigint[] IS NULL OR task_id = ANY (%(ids)s) GROUP BY 1",
        {"ids": ids},
    )
    return dict(rows.fetchall())


def value(connection: Connection, column: str, task_id: int) -> Any:
    """A column of a task, wherever its row is; None if it is nowhere."""
    row = connection.execute(f"SELECT {column} FROM taskflow.tasks WHERE id = %s", (task_id,)).fetchone()
    return None if row is None else row[0]


def settle(connection: Connection, ids: list[int]) -> bool:
    """Whether all of these are completed."""
    return states(connection, ids) == {"completed": len(ids)}


def assert_in_order(connection: Connection, *, released: bool = False) -> None:
    """Every task is in one row, every attempt has ended once; and each number up to the last has its audit row, unless
    attempts were `released`, which uses numbers up without a trace."""
    twice = connection.execute("SELECT id FROM taskflow.tasks GROUP BY id HAVING count(*) > 1").fetchall()
    assert not twice, f"tasks in two rows: {twice}"
    twice = connection.execute(
        "SELECT task_id, attempt FROM taskflow.executions GROUP BY 1, 2 HAVING count(*) > 1"
    ).fetchall()
    assert not twice, f"attempts that ended twice: {twice}"
    wrong = connection.execute(
        """
        SELECT t.id, t.state::text, t.attempt, array_agg(e.attempt || ' ' || e.outcome::text ORDER BY e.attempt)
        FROM taskflow.tasks t LEFT JOIN taskflow.executions e ON e.task_id = t.id
        GROUP BY t.id, t.state, t.attempt
        HAVING (NOT %s AND count(e) <> t.attempt - (t.state = 'running')::integer)
            OR count(*) FILTER (WHERE e.outcome = 'succeeded') <> (t.state = 'completed')::integer
            OR coalesce(max(e.attempt), 0) > t.attempt
            OR t.state = 'completed' AND NOT bool_or(e.attempt = t.attempt AND e.outcome = 'succeeded')
        """,
        (released,),
    ).fetchall()
    assert not wrong, f"tasks whose audit does not fit them: {wrong[:10]}"
    lost = connection.execute(
        "SELECT worker_id, id FROM taskflow.tasks WHERE state = 'running'"
        " EXCEPT SELECT worker_id, unnest(task_ids) FROM taskflow.claims"
    ).fetchall()
    assert not lost, f"tasks that run and that no rescuer would find: {lost[:10]}"
    wrong = connection.execute(
        "SELECT id, state::text, key_state::text FROM taskflow.tasks WHERE key_state IS DISTINCT FROM"
        " CASE WHEN concurrency_key IS NOT NULL AND state IN ('running', 'blocked') THEN state END"
    ).fetchall()
    assert not wrong, f"tasks that are counted wrongly for their key: {wrong[:10]}"


def runs(file: Path) -> Counter[tuple[int, int]]:
    """How often the handler `record` ran for which (task id, attempt)."""
    return Counter((int(task_id), int(attempt)) for task_id, attempt in map(str.split, file.read_text().splitlines()))


def assert_ran_once(file: Path) -> None:
    """No attempt was run twice, whatever happened to the connections of whoever ran it."""
    twice = {attempt: times for attempt, times in runs(file).items() if times > 1}
    assert not twice, f"attempts that were run twice: {twice}"
