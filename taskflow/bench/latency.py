"""`taskflow bench latency`: how soon an idle worker starts a lone task, and how late one that was due in the future.

The handler itself reads the clock, which on one machine is the producer's and the server's.
"""

from __future__ import annotations

import contextlib
import random
import time
from datetime import UTC, datetime, timedelta

from taskflow.bench import tasks as load
from taskflow.bench.report import Figure, Goal, Report
from taskflow.bench.rounds import percentile
from taskflow.bench.server import Server
from taskflow.bench.tasks import Connection, Span
from taskflow.bench.workers import Workers, running_workers, wait_until
from taskflow.store.connection import connect

P50_GOAL, P99_GOAL = Goal(at_most=4.0), Goal(at_most=20.0)
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.12  # seconds between two lone tasks
LEAD_SECONDS = 3.0  # from storing future tasks to the first of them
INSERT = "INSERT INTO taskflow.tasks (type) VALUES ('bench.stamp') RETURNING id"


def run(server: Server, *, tasks: int = 500) -> Report:
    """Give an idle worker `tasks` lone tasks at random moments, then as many that are due at random moments."""
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(server.database())
        connection = stack.enter_context(connect(dsn, name="bench"))
        workers = stack.enter_context(running_workers(dsn))
        warm_up = load.copy_tasks(connection, ["{}"] * 10, "bench.stamp")
        _wait(connection, warm_up, workers)
        sent, committed, started = _lone_tasks(connection, tasks, workers)
        late = _future_tasks(connection, tasks, workers)
    pickup = [(start - at) * 1000 for start, at in zip(started, committed, strict=True)]
    whole = [(start - at) * 1000 for start, at in zip(started, sent, strict=True)]
    figures = [
        _figure("pickup p50, commit acknowledged → handler", pickup, 50, P50_GOAL),
        _figure("pickup p99, commit acknowledged → handler", pickup, 99, P99_GOAL),
        _figure("INSERT sent → handler p50", whole, 50),
        _figure("INSERT sent → handler p99", whole, 99),
        _figure("due in the future, late by p50", late, 50),
        _figure("due in the future, late by p99", late, 99, P99_GOAL),
        Figure("due in the future, earliest", min(late), "ms"),
    ]
    return server.report("latency", figures, tasks=tasks)


def _figure(name: str, values: list[float], percent: float, goal: Goal | None = None) -> Figure:
    return Figure(name, percentile(values, percent), "ms", goal, samples={"product": values} if percent == 99 else {})


def _lone_tasks(connection: Connection, count: int, workers: Workers) -> tuple[list[float], list[float], list[float]]:
    """When each INSERT was sent, when its commit was acknowledged, and when the handler began."""
    sent, committed, ids = [], [], []
    for _ in range(count):
        time.sleep(random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE))
        sent.append(time.time())
        row = connection.execute(INSERT, prepare=True).fetchone()
        committed.append(time.time())
        ids.append(row[0] if row else 0)
    span = Span(ids[0], ids[-1])
    _wait(connection, span, workers)
    return sent, committed, load.results(connection, span)


def _future_tasks(connection: Connection, count: int, workers: Workers) -> list[float]:
    """By how many milliseconds each of these began after its time."""
    due, moments = datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS), []
    for _ in range(count):
        due += timedelta(seconds=random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE))
        moments.append(due)
    with connection.cursor().copy("COPY taskflow.tasks (type, run_at) FROM STDIN") as copy:
        for moment in moments:
            copy.write_row(("bench.stamp", moment))
    row = connection.execute("SELECT min(id), max(id) FROM taskflow.tasks_live").fetchone()
    span = Span(*row) if row else Span(0, 0)
    _wait(connection, span, workers, seconds=LEAD_SECONDS + count * LONGEST_PAUSE)
    started = load.results(connection, span)
    return [(start - moment.timestamp()) * 1000 for start, moment in zip(started, moments, strict=True)]


def _wait(connection: Connection, span: Span, workers: Workers, seconds: float = 0.0) -> None:
    wait_until(
        lambda: load.is_all_finished(connection, span), "the tasks' end", workers, seconds=60 + seconds, every=0.2
    )
