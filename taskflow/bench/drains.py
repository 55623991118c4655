"""One drain of the product: real workers empty a queue, timed by the database's own record."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from taskflow.bench import tasks
from taskflow.bench.process_stats import family_cpu_seconds
from taskflow.bench.server import postmaster
from taskflow.bench.start_line import start_line
from taskflow.bench.tasks import Connection, Span
from taskflow.bench.workers import Workers, running_workers, wait_until
from taskflow.store.connection import connect

SLOWEST_PER_SECOND = 200  # a drain that is slower than this is given up
WARM_UP_TASKS = 50


@dataclass(frozen=True, slots=True)
class Drain:
    """How a queue was emptied, from the first claim to the last audit row.

    The CPU figures are of the whole time, all processes of the kind; the server's is None where it is elsewhere.
    """

    count: int
    seconds: float
    first_half: int
    first_half_seconds: float
    wal_bytes: int
    worker_cpu_us: float
    server_cpu_us: float | None

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    @property
    def second_half_by_first(self) -> float:
        """The rate of the second half of the tasks by that of the first; 1 if one batch finished them all."""
        if self.first_half == self.count:
            return 1.0
        first = self.first_half / self.first_half_seconds
        return (self.count - self.first_half) / (self.seconds - self.first_half_seconds) / first


def drain(
    dsn: str,
    count: int,
    *,
    processes: int = 1,
    held_snapshot: bool = False,
    filling: str = "",
    prepare: str = "",
    beside: Callable[[Workers], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> Drain:
    """Load `count` no-op tasks by one COPY and let workers drain them.

    held_snapshot: another session keeps a REPEATABLE READ snapshot, taken after the load, until the end.
    prepare: SQL that is executed after the load.
    beside: what goes on beside the drain; begun when the workers are ready.
    """
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(connect(dsn, name="bench"))
        span = tasks.copy_tasks(connection, tasks.numbered(count, filling))
        if prepare:
            connection.execute(prepare)
        tasks.settle(connection)
        if held_snapshot:
            stack.enter_context(snapshot(dsn))
        line = stack.enter_context(start_line(dsn))
        workers = stack.enter_context(running_workers(dsn, processes=processes))
        line.wait_for(processes, workers)
        stack.enter_context(beside(workers))
        return follow(connection, span, workers, line.open)


def drain_with_plans_of_the_empty_table(dsn: str, count: int, *, held_snapshot: bool = False) -> Drain:
    """The same, but the worker has cached all its plans while the table was empty, and nothing is analyzed."""
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(connect(dsn, name="bench"))
        workers = stack.enter_context(running_workers(dsn))
        warm_up = tasks.copy_tasks(connection, tasks.numbered(WARM_UP_TASKS))
        wait_until(lambda: tasks.is_all_finished(connection, warm_up), "the warm-up", workers, seconds=60)
        connection.execute("VACUUM ANALYZE taskflow.tasks_live")
        connection.execute("CHECKPOINT")
        if held_snapshot:
            stack.enter_context(snapshot(dsn))
        line = stack.enter_context(start_line(dsn))
        span = tasks.copy_tasks(line.connection, tasks.numbered(count))
        return follow(connection, span, workers, line.open)


def follow(connection: Connection, span: Span, workers: Workers, start: Callable[[], datetime]) -> Drain:
    """Start the drain, wait for its end, and read the record."""
    root = postmaster(connection)
    server_cpu = family_cpu_seconds(root) if root else 0.0
    worker_cpu, wal = family_cpu_seconds(workers.process.pid), _wal_position(connection)
    started = start()
    limit = 60 + span.count / SLOWEST_PER_SECOND
    wait_until(lambda: tasks.is_last_finished(connection, span), "the last task", workers, seconds=limit, every=0.1)
    wait_until(lambda: tasks.is_all_finished(connection, span), "all tasks", workers, seconds=limit, every=0.1)
    wal, worker_cpu = _wal_position(connection) - wal, family_cpu_seconds(workers.process.pid) - worker_cpu
    server_cpu = family_cpu_seconds(root) - server_cpu if root else 0.0
    record = tasks.read_record(connection, span)
    return Drain(
        span.count,
        (record.finished - started).total_seconds(),
        record.first_half,
        (record.half_finished - started).total_seconds(),
        wal,
        worker_cpu / span.count * 1e6,
        server_cpu / span.count * 1e6 if root else None,
    )


@contextlib.contextmanager
def snapshot(dsn: str) -> Iterator[None]:
    """A session that keeps one snapshot open, as a long report or a backup does."""
    with connect(dsn, name="bench held snapshot", autocommit=False) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT FROM taskflow.tasks_live LIMIT 1")
        yield
        connection.rollback()


def _wal_position(connection: Connection) -> int:
    row = connection.execute("SELECT (pg_current_wal_lsn() - '0/0')::bigint").fetchone()
    return int(row[0]) if row else 0
