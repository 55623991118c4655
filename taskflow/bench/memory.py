"""`taskflow bench memory`: the resident memory of a worker over a long drain; flat, and small."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial

from taskflow.bench.drains import drain
from taskflow.bench.process_stats import resident_bytes
from taskflow.bench.report import Figure, Goal, Report
from taskflow.bench.server import Server
from taskflow.bench.workers import Workers

LIMIT_GOAL, FLAT_GOAL = Goal(at_most=120.0), Goal(at_most=1.1)
SAMPLE_SECONDS = 0.2
MIB = 1024 * 1024


def run(server: Server, *, tasks: int = 1_000_000) -> Report:
    """Drain `tasks` no-op tasks by one worker process and watch its memory."""
    samples: list[float] = []
    with server.database() as dsn:
        drained = drain(dsn, tasks, beside=partial(_sampled, samples))
    figures = [
        Figure(
            "highest resident memory of a worker process", max(samples), "MiB", LIMIT_GOAL, samples={"product": samples}
        ),
        Figure("the end by a tenth into it", samples[-1] / samples[len(samples) // 10], "x", FLAT_GOAL),
        Figure("drained meanwhile", drained.per_second, "tasks/s"),
    ]
    return server.report("memory", figures, tasks=tasks)


@contextlib.contextmanager
def _sampled(samples: list[float], workers: Workers) -> Iterator[None]:
    """Add the memory in MiB of the largest process, several times a second while the block runs."""
    over = threading.Event()

    def sample() -> None:
        while True:
            samples.append(max(resident_bytes(pid) for pid in workers.pids()) / MIB)
            if over.wait(SAMPLE_SECONDS):
                return

    thread = threading.Thread(target=sample, name="bench memory")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
