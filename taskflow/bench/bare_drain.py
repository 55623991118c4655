"""The baseline of drain: one psycopg connection claims and completes no-op tasks in batches over minimal tables."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import resources
from typing import Any

import psycopg

from taskflow.bench.process_stats import cpu_seconds

BATCH = 200


@dataclass(frozen=True, slots=True)
class BareDrain:
    """What the bare loop reached; `server_cpu_us` is the backend's CPU a task, None where the server is elsewhere."""

    tasks_per_second: float
    server_cpu_us: float | None


def drain_bare(dsn: str, tasks: int, batch: int = BATCH, *, filling: str = "") -> BareDrain:
    """Fill the baseline's tables with `tasks` rows and drain them, by a connection as psycopg makes it.

    Not the product's own connection: that one reads JSON by orjson, and the loop would be a twelfth faster by it than
    anybody's is.

    Only the loop is timed. `filling` is one more member of each payload, with a comma before it. The schema is dropped
    afterwards.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(resources.files(__package__).joinpath("baseline.sql").read_text())
        try:
            with connection.cursor().copy("COPY taskflow_baseline.tasks (type, payload) FROM STDIN") as copy:
                for n in range(tasks):
                    copy.write_row(("noop", f'{{"n": {n}{filling}}}'))
            connection.execute("VACUUM ANALYZE taskflow_baseline.tasks")
            connection.execute("CHECKPOINT")
            return _drain(connection, tasks, batch)
        finally:
            connection.execute("DROP SCHEMA taskflow_baseline CASCADE")


def _drain(connection: psycopg.Connection[Any], tasks: int, batch: int) -> BareDrain:
    backend, done = connection.info.backend_pid, 0
    with connection.cursor(binary=True) as cursor:
        spent, began = cpu_seconds(backend), time.perf_counter()
        while rows := cursor.execute(
            "SELECT * FROM taskflow_baseline.claim(1, 'default', ARRAY['noop'], %s)", (batch,), prepare=True
        ).fetchall():
            ids, attempts = [row[0] for row in rows], [row[1] for row in rows]
            cursor.execute(
                "SELECT taskflow_baseline.complete(%s, %s, %s)", (ids, attempts, [None] * len(rows)), prepare=True
            )
            done += len(rows)
        took, spent_after = time.perf_counter() - began, cpu_seconds(backend)
    if done != tasks:
        raise RuntimeError(f"the baseline drained {done} of {tasks} tasks")
    used = None if spent is None or spent_after is None else (spent_after - spent) / done * 1e6
    return BareDrain(done / took, used)
