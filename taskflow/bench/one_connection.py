"""The product's own statements driven as the bare loop drives its: one connection, batch after batch."""

from __future__ import annotations

import time

from taskflow.bench import tasks as load
from taskflow.bench.bare_drain import BATCH, BareDrain
from taskflow.bench.process_stats import cpu_seconds
from taskflow.bench.tasks import Connection
from taskflow.store import tasks as store
from taskflow.store import workers
from taskflow.store.arrays import texts
from taskflow.store.connection import connect

QUEUE, TYPE, LEVELS, NORMAL = "default", "bench.noop", 4, 1


def claim_and_complete(dsn: str, tasks: int, batch: int = BATCH) -> BareDrain:
    """Claim and complete `tasks` no-op tasks in batches, with the frontier as a worker keeps it."""
    with connect(dsn, name="bench") as connection:
        load.copy_tasks(connection, load.numbered(tasks), TYPE)
        load.settle(connection)
        return _drain(connection, tasks, batch)


def _drain(connection: Connection, tasks: int, batch: int) -> BareDrain:
    worker = workers.register(
        connection, hostname="bench", pid=0, queues=[QUEUE], types=[TYPE], concurrency=1, version="bench"
    )
    types, frontier = texts([TYPE]), [store.BOTTOM] * LEVELS
    backend, done = connection.info.backend_pid, 0
    spent, began = cpu_seconds(backend), time.perf_counter()
    while claimed := store.claim(connection, worker, [QUEUE], types, batch, frontier):
        last = max(claimed, key=lambda task: (task.run_at, task.id))
        frontier[NORMAL] = (last.run_at.isoformat(), last.id)
        succeeded = [(task.id, task.attempt, 0.0, "succeeded", None, None) for task in claimed]
        if refused := store.complete(connection, worker, succeeded).ended:
            raise RuntimeError(f"completions were refused: {refused[:3]}")
        done += len(claimed)
    took, spent_after = time.perf_counter() - began, cpu_seconds(backend)
    if done != tasks:
        raise RuntimeError(f"{done} of {tasks} tasks were completed")
    return BareDrain(done / took, None if spent is None or spent_after is None else (spent_after - spent) / done * 1e6)
