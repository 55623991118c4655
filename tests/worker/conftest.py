"""A worker inside the test's own process, with handlers that the test declares."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from taskflow.settings import load
from taskflow.tasks.registry import Registry
from taskflow.worker import Worker

Connection = psycopg.Connection[tuple[Any, ...]]


class Bench:
    """Runs a worker with the handlers in `registry`, and asks the database what came of it."""

    def __init__(self, dsn: str, connection: Connection) -> None:
        self.dsn = dsn
        self.connection = connection
        self.registry = Registry()

    @contextmanager
    def worker(self, **settings: Any) -> Iterator[Worker]:
        """A running worker, drained at the end of the block."""
        flags = {
            "database_url": self.dsn,
            "concurrency": 4,
            "heartbeat_interval": 0.2,
            "drain_timeout": 5.0,
            **settings,
        }
        worker = Worker(load(**flags), self.registry)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        try:
            yield worker
        finally:
            worker.stop()
            thread.join(20)
            assert not thread.is_alive(), "the worker did not end"

    def enqueue(self, type: str, payload: str = "{}", **columns: Any) -> int:
        """Insert a task as a foreign service does."""
        columns = {"type": type, "payload": payload, **columns}
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        row = self.connection.execute(
            f"INSERT INTO taskflow.tasks ({names}) VALUES ({marks}) RETURNING id", tuple(columns.values())
        ).fetchone()
        assert row is not None
        return int(row[0])

    def task(self, task_id: int, *columns: str) -> tuple[Any, ...]:
        """Columns of a task, as people see it."""
        row = self.connection.execute(f"SELECT {', '.join(columns)} FROM taskflow.read_task(%s)", (task_id,)).fetchone()
        assert row is not None
        return tuple(row)

    def wait(self, condition: Callable[[], Any], seconds: float = 15.0) -> Any:
        """Wait until the condition holds and return what it gave."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, "it did not come about in time"
            time.sleep(0.01)  # between two looks, not in place of one
        return value

    def ended(self, task_id: int, *columns: str) -> tuple[Any, ...]:
        """Wait until the task has ended; returns its state and the columns asked for."""
        self.wait(lambda: self.task(task_id, "finished_at")[0] is not None)
        return self.task(task_id, "state", *columns)

    def executions(self, task_id: int) -> list[tuple[Any, ...]]:
        """(attempt, status, error) of each attempt."""
        return self.connection.execute(
            "SELECT attempt, status, error FROM taskflow.task_attempts(%s)", (task_id,)
        ).fetchall()


@pytest.fixture
def bench(dsn: str, connection: Connection) -> Bench:
    """A bench on this test's database."""
    return Bench(dsn, connection)


@pytest.fixture
def effects(bench: Bench) -> Callable[[], list[tuple[int, ...]]]:
    """A table of business writes; calling it reads (task id, attempt) of each."""
    bench.connection.execute(
        "CREATE TABLE effects (task_id bigint, attempt int, UNIQUE (task_id) DEFERRABLE INITIALLY DEFERRED)"
    )
    return lambda: bench.connection.execute("SELECT task_id, attempt FROM effects ORDER BY 1, 2").fetchall()
