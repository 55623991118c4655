"""`taskflow bench slots`: a thousand slots on one database, and how many connections that takes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from taskflow.bench import tasks as load
from taskflow.bench.drains import follow
from taskflow.bench.report import Figure, Goal, Report
from taskflow.bench.server import Server
from taskflow.bench.start_line import start_line
from taskflow.bench.workers import running_workers
from taskflow.store.connection import connect

LEADER_CONNECTIONS = 3  # its own, one for the partitions, one that listens for changed schedules
SAMPLE_SECONDS = 0.1
CONNECTIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'taskflow %%'
      AND application_name NOT LIKE 'taskflow bench%%'
"""


def run(server: Server, *, processes: int = 50, concurrency: int = 20, rounds: int = 3, seconds: float = 2.0) -> Report:
    """Fill all slots `rounds` times over with tasks that sleep `seconds`: first threads, then coroutines."""
    slots = processes * concurrency
    figures = [
        *_naps(
            server,
            f"{processes} processes of {concurrency} threads",
            "bench.nap",
            processes,
            concurrency,
            rounds,
            seconds,
        ),
        *_naps(server, f"one process, {slots} coroutines", "bench.async_nap", 1, slots, rounds, seconds),
    ]
    return server.report("slots", figures, processes=processes, concurrency=concurrency, rounds=rounds, seconds=seconds)


def _naps(
    server: Server, name: str, type_: str, processes: int, concurrency: int, rounds: int, seconds: float
) -> list[Figure]:
    slots = processes * concurrency
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(server.database())
        connection = stack.enter_context(connect(dsn, name="bench"))
        span = load.copy_tasks(connection, [f'{{"seconds": {seconds}}}'] * (slots * rounds), type_)
        load.settle(connection)
        line = stack.enter_context(start_line(dsn))
        workers = stack.enter_context(running_workers(dsn, processes=processes, concurrency=concurrency))
        line.wait_for(processes, workers)
        with _connections(dsn) as connections:
            drained = follow(connection, span, workers, line.open)
        together = most_at_once(load.results(connection, span))
    return [
        Figure(f"{name}: running at once", together, "tasks", Goal(at_least=slots)),
        Figure(
            f"{name}: connections",
            max(connections),
            "",
            Goal(at_most=2 * processes + LEADER_CONNECTIONS),
            samples={"product": connections},
        ),
        Figure(f"{name}: time by the least possible", drained.seconds / (rounds * seconds), "x"),
    ]


def most_at_once(naps: list[tuple[float, float]]) -> int:
    """The largest number of intervals (begin, end) that have a moment in common."""
    changes = sorted([(begin, 1) for begin, _ in naps] + [(end, -1) for _, end in naps])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


@contextlib.contextmanager
def _connections(dsn: str) -> Iterator[list[float]]:
    """How many connections the workers have, several times a second while the block runs."""
    samples: list[float] = []
    over = threading.Event()

    def sample() -> None:
        with connect(dsn, name="bench observer") as connection:
            while True:
                row = connection.execute(CONNECTIONS).fetchone()
                samples.append(row[0] if row else 0)
                if over.wait(SAMPLE_SECONDS):
                    return

    thread = threading.Thread(target=sample, name="bench connections")
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()
