"""Thousands of tasks cancelled, retried, deleted and rescued while workers drain them and an old snapshot is held."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from taskflow.store import rescue as rescue_store
from tests.acceptance.ledger import enqueue, states

pytestmark = [pytest.mark.timeout(240)]

TASKS = 4000
LIVE = "SELECT count(*) FROM taskflow.tasks WHERE state IN ('pending', 'retrying', 'running', 'blocked')"
# Given up though it lives, and its rows locked by a statement that takes longer than it waits: it tries again.
UNDERSTANDABLE = {"worker_given_up_by_rescuer", "start_not_recorded"}
LONGEST_WAIT_SECONDS = 1.5  # a statement that has to wait for another's would take as long as that is held


@contextmanager
def held_snapshot(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    """A transaction that has read everything and stays open: what dies meanwhile cannot be removed."""
    with psycopg.connect(dsn) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM taskflow.tasks")
        yield connection


class Crowd:
    """Threads that each repeat something on a connection of their own, in READ COMMITTED and without any retry."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(10)
        self._runs: list[Future[None]] = []
        self._missing: list[int] = []

    def add(
        self,
        do: Callable[[psycopg.Connection[Any], random.Random], int],
        wanted: int,
        *,
        pause_seconds: float = 0.0,
    ) -> None:
        """Repeat what tells how many rows it has changed, until the end; at least until they are `wanted`."""
        self._missing.append(wanted)
        self._runs.append(self._pool.submit(self._repeat, do, len(self._runs), pause_seconds))

    def _repeat(self, do: Callable[..., int], number: int, pause_seconds: float) -> None:
        choice = random.Random(number)
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._ended.wait(pause_seconds):
                self._missing[number] -= do(connection, choice)

    def has_done_enough(self) -> bool:
        """Also when one has got an error, which `end` raises."""
        return max(self._missing) <= 0 or any(run.done() for run in self._runs)

    def end(self) -> None:
        """End all. Raises what any of them got for an error."""
        self._ended.set()
        self._pool.shutdown()
        for run in self._runs:
            run.result()


def test_thousands_cancelled_retried_deleted_and_rescued_under_draining_workers_are_no_error_to_anybody(
    dsn, connection, start_worker, wait_until
) -> None:
    ids = enqueue(connection, "slow", {"seconds": 0.004}, TASKS)
    first, last = ids[0], ids[-1]
    deleted: list[int] = []

    def some(choice: random.Random) -> int:
        """Any of them; every third time one of a few, over which they are bound to meet."""
        return choice.randint(first, last if choice.random() < 0.67 else first + 10)

    def cancel(own: psycopg.Connection[Any], choice: random.Random) -> int:
        state = own.execute("SELECT taskflow.cancel(%s)", (some(choice),)).fetchone()[0]
        return int(state in ("cancelled", "running"))

    def cancel_many(own: psycopg.Connection[Any], choice: random.Random) -> int:
        chosen = [some(choice) for _ in range(50)]
        return own.execute("SELECT count(taskflow.cancel(id)) FROM unnest(%s::bigint[]) id", (chosen,)).fetchone()[0]

    def retry(own: psycopg.Connection[Any], choice: random.Random) -> int:
        try:
            return int(own.execute("SELECT taskflow.retry_task(%s)", (some(choice) | 1,)).fetchone()[0] is not None)
        except psycopg.Error as error:
            if error.sqlstate != "TF409":  # "only a task that has ended can be retried": so it is said, not an error
                raise
            return 0

    def delete(own: psycopg.Connection[Any], choice: random.Random) -> int:
        """What has ended and nobody retries: a row that is being moved would be an error to a plain statement."""
        low = some(choice)
        deleted.append(
            own.execute(
                "DELETE FROM taskflow.tasks"
                " WHERE id BETWEEN %s AND %s AND id %% 2 = 0 AND state IN ('completed', 'cancelled')",
                (low, low + 20),
            ).rowcount
        )
        return deleted[-1]

    def rescue(own: psycopg.Connection[Any], choice: random.Random) -> int:
        """Give up a worker that lives: it must find out by itself, and what it finishes afterwards is refused."""
        row = own.execute("SELECT id, heartbeat FROM taskflow.workers ORDER BY random() LIMIT 1").fetchone()
        if row is None:
            return 0
        return rescue_store.rescue(own, *row)

    with held_snapshot(dsn):
        env = {"TASKFLOW_HEARTBEAT_INTERVAL": "0.3"}
        workers = [start_worker(dsn, "--concurrency", "8", "--no-leader", env=env) for _ in range(2)]
        wait_until(lambda: states(connection).get("completed", 0) > 50)
        crowd = Crowd(dsn)
        crowd.add(cancel, 150)
        crowd.add(cancel_many, 1000, pause_seconds=0.03)
        crowd.add(retry, 750)
        crowd.add(retry, 750)
        crowd.add(delete, 750, pause_seconds=0.02)
        crowd.add(rescue, 30, pause_seconds=0.3)
        try:
            wait_until(crowd.has_done_enough, timeout=60, what="everybody has done enough")
        finally:
            crowd.end()
        wait_until(lambda: connection.execute(LIVE).fetchone() == (0,), timeout=60)
        for worker in workers:
            assert worker.stop() == 0

    assert sum(states(connection).values()) == TASKS - sum(deleted)
    assert_each_in_one_row_with_its_audit(connection)
    check_workers_logs(connection, workers)


def assert_each_in_one_row_with_its_audit(connection) -> None:
    """Also of tasks that operators have retried: those succeed several times. A number may be missing: of an attempt
    that waited behind others with a loss and was given back."""
    twice = connection.execute("SELECT id FROM taskflow.tasks GROUP BY id HAVING count(*) > 1").fetchall()
    assert not twice, f"tasks in two rows: {twice}"
    wrong = connection.execute(
        """
        SELECT t.id, t.state::text, t.attempt, array_agg(e.attempt || ' ' || e.outcome::text ORDER BY e.attempt)
        FROM taskflow.tasks t LEFT JOIN taskflow.executions e ON e.task_id = t.id
        GROUP BY t.id, t.state, t.attempt
        HAVING count(e) <> count(DISTINCT e.attempt) OR max(e.attempt) > t.attempt
            OR t.state = 'completed' AND NOT bool_or(e.attempt = t.attempt AND e.outcome = 'succeeded')
        """
    ).fetchall()
    assert not wrong, f"tasks whose audit does not fit them: {wrong[:10]}"


def check_workers_logs(connection, workers) -> None:
    """No errors; and of every completion that was refused, somebody else had ended the attempt before."""
    outcomes = {
        (task_id, attempt): outcome
        for task_id, attempt, outcome in connection.execute(
            "SELECT task_id, attempt, outcome::text FROM taskflow.executions"
        )
    }
    for worker in workers:
        for event in worker.events():
            assert event["level"] != "error", event
            if event["event"] == "completion_refused":
                assert outcomes.get((event["task_id"], event["attempt"])) == "lost", event
            elif event["level"] == "warning":
                assert event["event"] in UNDERSTANDABLE, event


def test_plain_statements_of_operators_and_of_a_draining_worker_wait_for_nobody_long(
    dsn, connection, start_worker, wait_until
) -> None:
    """One transaction cancels half of everything and stays open; the rest is drained meanwhile."""
    ids = enqueue(connection, "noop", {}, 2000)
    with psycopg.connect(dsn) as slow, held_snapshot(dsn):
        slow.execute("SELECT count(taskflow.cancel(id)) FROM unnest(%s::bigint[]) id", (ids[::2],))
        start_worker(dsn, "--no-leader")
        wait_until(lambda: states(connection, ids[1::2]) == {"completed": 1000})
        slow.commit()
        assert states(connection) == {"completed": 1000, "cancelled": 1000}


# Retention with a reader's transaction open


def make_expired_day(connection) -> str:
    """Completed tasks of ten days ago, in the partition that was made then."""
    day = (datetime.now(UTC) - timedelta(days=10)).date()
    name = f"tasks_completed_{day:%Y%m%d}"
    connection.execute(
        f"CREATE TABLE taskflow.{name} (LIKE taskflow.tasks_completed INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
        f" INCLUDING STORAGE INCLUDING COMPRESSION, PRIMARY KEY (id));"
        f"ALTER TABLE taskflow.tasks_completed ATTACH PARTITION taskflow.{name}"
        f" FOR VALUES FROM ('{day} 00:00:00+00') TO ('{day + timedelta(days=1)} 00:00:00+00');"
        f"INSERT INTO taskflow.tasks (type, state, finished_at)"
        f" SELECT 'noop', 'completed', '{day} 12:00:00+00' FROM generate_series(1, 1000)"
    )
    return f"taskflow.{name}"


def test_retention_waits_for_a_readers_transaction_nobody_else_does_and_it_goes_on_by_itself(
    dsn, connection, processes, start_worker, wait_until
) -> None:
    expired = make_expired_day(connection)
    worker = start_worker(dsn, "--no-leader")
    wait_until(lambda: "worker_ready" in worker.logs())
    removal = (
        "SELECT wait_event FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%DETACH%'"
        " AND application_name LIKE 'taskflow %' AND wait_event_type = 'Lock'"
    )
    longest = dict.fromkeys(("insert", "read", "complete"), 0.0)
    ids: list[int] = []

    def timed(name: str, do: Callable[[], object]) -> None:
        began = time.monotonic()
        do()
        longest[name] = max(longest[name], time.monotonic() - began)

    def completed(task_id: int) -> bool:
        return connection.execute("SELECT state FROM taskflow.task_status(%s)", (task_id,)).fetchone() == ("completed",)

    with held_snapshot(dsn) as reader:
        scheduler = processes.start("scheduler", dsn=dsn)
        wait_until(lambda: connection.execute(removal).fetchone() is not None)
        for _ in range(30):
            timed("insert", lambda: ids.extend(enqueue(connection, "noop")))
            timed("complete", lambda: wait_until(lambda: completed(ids[-1])))
            timed("read", lambda: connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone())
        assert connection.execute(removal).fetchone() is not None, "it has not waited"
        assert reader.execute(f"SELECT count(*) FROM {expired}").fetchone() == (1000,)

    wait_until(lambda: connection.execute("SELECT to_regclass(%s)", (expired,)).fetchone() == (None,), timeout=60)
    assert max(longest.values()) < LONGEST_WAIT_SECONDS, longest
    wait_until(lambda: any(event["event"] == "day_dropped" for event in scheduler.events()))
    assert [event for event in scheduler.events() if event["level"] in ("warning", "error")] == []
    assert scheduler.stop() == 0
