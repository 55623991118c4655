"""`taskflow bench memory`: the resident memory of a worker over a long drain; flat, and small."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from taskflow.bench import tasks as load
from taskflow.bench.drains import follow
from taskflow.bench.process_stats import resident_bytes
from taskflow.bench.report import Figure, Goal, Report
from taskflow.bench.server import Server
from taskflow.bench.start_line import start_line
from taskflow.bench.workers import Workers, running_workers
from taskflow.store.connection import connect

LIMIT_GOAL, FLAT_GOAL = Goal(at_most=120.0), Goal(at_most=1.1)
SAMPLE_SECONDS = 0.2
MIB = 1024 * 1024


def run(server: Server, *, tasks: int = 1_000_000) -> Report:
    """Drain `tasks` no-op tasks by one worker process and watch its memory."""
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(server.database())
        connection = stack.enter_context(connect(dsn, name="bench"))
        span = load.copy_tasks(connection, load.numbered(tasks))
        load.settle(connection)
        line = stack.enter_context(start_line(dsn))
        workers = stack.enter_context(running_workers(dsn))
        line.wait_for(1, workers)
        with _sampled(workers) as samples:
            drained = follow(connection, span, workers, line.open)
    figures = [
        Figure(
            "highest resident memory of a worker process", max(samples), "MiB", LIMIT_GOAL, samples={"product": samples}
        ),
        Figure("the end by a tenth into it", samples[-1] / samples[len(samples) // 10], "x", FLAT_GOAL),
        Figure("drained meanwhile", drained.per_second, "tasks/s"),
    ]
    return server.report("memory", figures, tasks=tasks)


@contextlib.contextmanager
def _sampled(workers: Workers) -> Iterator[Sequence[float]]:
    """The memory in MiB of the largest process, several times a second while the block runs."""
    samples: list[float] = []
    over = threading.Event()

    def sample() -> None:
        while True:
            samples.append(max(resident_bytes(pid) for pid in workers.pids()) / MIB)
            if over.wait(SAMPLE_SECONDS):
                return

    thread = threading.Thread(target=sample, name="bench memory")
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()
