"""`taskflow bench history`: a drain beside millions of finished tasks, against one beside none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from psycopg import sql

from taskflow.bench.drains import drain
from taskflow.bench.report import Goal, Report
from taskflow.bench.rounds import in_turn, ratio
from taskflow.bench.server import Server
from taskflow.bench.tasks import Connection
from taskflow.store.connection import connect

GOAL = Goal(at_least=0.95)
DAYS = 5

# Into the table of completed tasks itself: the statement trigger on `tasks` would keep all rows of one INSERT at hand.
ADD_TASKS = """
    INSERT INTO taskflow.tasks_completed (
        id, type, payload, state, attempt, worker_id,
        created_at, run_at, claimed_at, started_at, finished_at, updated_at)
    OVERRIDING SYSTEM VALUE
    SELECT nextval('taskflow.tasks_id_seq'), 'bench.noop', jsonb_build_object('n', n), 'completed', 1, 1,
           at, at, at, at, at, at
    FROM generate_series(1, %(count)s) n, LATERAL (SELECT %(day)s + n * interval '20 hours' / %(count)s AS at) moment
"""
ADD_EXECUTIONS = """
    INSERT INTO taskflow.executions (task_id, attempt, outcome, worker_id, queue, type, started_at, finished_at)
    SELECT id, 1, 'succeeded', 1, queue, type, started_at, finished_at FROM taskflow.tasks_completed
    WHERE finished_at >= %(day)s AND finished_at < %(day)s + interval '1 day'
"""


def run(server: Server, *, tasks: int = 100_000, rounds: int = 3, finished: int = 5_000_000) -> Report:
    """Drain `tasks` no-op tasks with `finished` completed ones and their audit rows beside them, spread over days.

    Both databases are drained in again and again: to drain in a new one takes a twentieth less time by itself.
    """
    with server.database() as bare, server.database() as grown:
        with connect(grown, name="bench") as connection:
            add_history(connection, finished)
        rounds_ = in_turn(lambda: drain(bare, tasks), {"with": lambda: drain(grown, tasks)}, rounds)["with"]
    figure = ratio(
        f"{finished:,} finished tasks", rounds_, lambda it: it.per_second, lambda it: it.per_second, "tasks/s", GOAL
    )
    return server.report("history", [figure], tasks=tasks, rounds=rounds, finished=finished)


def _make_day(connection: Connection, parent: str, day: datetime) -> None:
    """The partition of a day that has passed, where `migrate` has not made it."""
    name = sql.Identifier("taskflow", f"{parent}_{day.astimezone(UTC):%Y%m%d}")
    connection.execute(
        sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF {}{} FOR VALUES FROM ({}) TO ({})").format(
            name,
            sql.Identifier("taskflow", parent),
            sql.SQL(" (PRIMARY KEY (id))" if parent == "tasks_completed" else ""),
            sql.Literal(day.isoformat()),
            sql.Literal((day + timedelta(days=1)).isoformat()),
        )
    )


def add_history(connection: Connection, finished: int) -> None:
    """Completed tasks and their executions, an equal share on each of the last days (UTC)."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for day in (today - timedelta(days=ago) for ago in range(DAYS, 0, -1)):
        for parent in ("tasks_completed", "executions"):
            _make_day(connection, parent, day)
        share = {"day": day, "count": max(1, finished // DAYS)}
        connection.execute(ADD_TASKS, share)
        connection.execute(ADD_EXECUTIONS, share)
    connection.execute("VACUUM ANALYZE taskflow.tasks_completed")
    connection.execute("VACUUM ANALYZE taskflow.executions")
    connection.execute("CHECKPOINT")
