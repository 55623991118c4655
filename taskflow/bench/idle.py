"""`taskflow bench idle`: what workers cost that have nothing to do, in CPU and in statements.

Three cases: one worker to the queue; two of them, of which one has the bell; and one beside a producer whose
transaction stays open, so that the worker must poll.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from taskflow.bench import tasks as load
from taskflow.bench.process_stats import family_cpu_seconds
from taskflow.bench.report import Figure, Goal, Report
from taskflow.bench.server import Server
from taskflow.bench.statements import counted_statements
from taskflow.bench.workers import Workers, running_workers, wait_until
from taskflow.store.connection import connect

CPU_GOAL, QUIET_GOAL, OTHERWISE_GOAL = Goal(at_most=1.0), Goal(at_most=3.0), Goal(at_most=20.0)
CONCURRENCY, NAP_SECONDS = 10, 1.0
SETTLE_SECONDS = 3.0  # until a worker that just ran something is as idle as it gets


def run(server: Server, *, seconds: float = 20.0) -> Report:
    """Watch idle workers for `seconds` in each case."""
    figures = [
        *_watch(server, "one worker", 1, seconds, QUIET_GOAL),
        *_watch(server, "two workers of one queue", 2, seconds, OTHERWISE_GOAL),
        *_watch(server, "beside an open producer", 1, seconds, OTHERWISE_GOAL, open_producer=True),
    ]
    return server.report("idle", figures, seconds=seconds)


def _watch(
    server: Server, name: str, count: int, seconds: float, goal: Goal, *, open_producer: bool = False
) -> list[Figure]:
    """CPU and statements of each of `count` workers of one queue."""
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(server.database())
        statements = stack.enter_context(counted_statements(server, dsn))
        connection = stack.enter_context(connect(dsn, name="bench"))
        workers = [stack.enter_context(running_workers(dsn, concurrency=CONCURRENCY)) for _ in range(count)]
        span = load.copy_tasks(connection, [f'{{"seconds": {NAP_SECONDS}}}'] * CONCURRENCY * count, "bench.nap")
        if open_producer:  # begun while the worker is busy: nobody sleeps, so this insert notifies nobody
            wait_until(lambda: load.running(connection) == CONCURRENCY, "busy slots", *workers, seconds=60, every=0.01)
            producer = stack.enter_context(connect(dsn, name="bench producer", autocommit=False))
            producer.execute("INSERT INTO taskflow.tasks (type) VALUES ('bench.noop')")
        wait_until(lambda: load.is_all_finished(connection, span), "the warm-up", *workers, seconds=60)
        time.sleep(min(SETTLE_SECONDS, seconds))
        cpu, sent = _rates(workers, statements, seconds)
    figures = [Figure(f"{name}: statements", sent / count, "a second", goal)]
    cpu_goal = None if open_producer else CPU_GOAL
    return [Figure(f"{name}: CPU", cpu / count * 100, "% of a core", cpu_goal), *figures]


def _rates(workers: list[Workers], statements: Callable[[], int], seconds: float) -> tuple[float, float]:
    """CPU seconds and statements a second, of all workers together."""

    def used() -> float:
        return sum(family_cpu_seconds(worker.process.pid) for worker in workers)

    began, cpu, sent = time.monotonic(), used(), statements()
    time.sleep(seconds)
    took, cpu, sent = time.monotonic() - began, used() - cpu, statements() - sent
    for worker in workers:
        worker.must_run()
    return cpu / took, sent / took
