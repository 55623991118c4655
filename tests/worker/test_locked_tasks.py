"""Somebody's open transaction has locked a task that a worker runs."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from taskflow import Context
from taskflow.store import tasks
from taskflow.tasks.registry import task
from tests.store import support
from tests.worker.conftest import Bench, Connection


def test_a_locked_task_holds_up_neither_the_heartbeat_nor_the_other_tasks(bench: Bench) -> None:
    locked, ends = threading.Event(), threading.Event()

    @task("held", registry=bench.registry)
    def held(payload: dict[str, Any], context: Context) -> None:
        with psycopg.connect(bench.dsn) as connection:
            connection.execute("SELECT taskflow.cancel(%s)", (context.task_id,))  # and no commit
            locked.set()
            ends.wait(20)
            connection.rollback()

    @task("quick", registry=bench.registry)
    def quick(payload: dict[str, Any]) -> None: ...

    def heartbeat() -> int:
        row = bench.connection.execute("SELECT heartbeat FROM taskflow.workers").fetchone()
        assert row is not None
        return int(row[0])

    with bench.worker():
        first = bench.enqueue("held")
        assert locked.wait(20)
        before = heartbeat()
        bench.wait(lambda: heartbeat() > before + 3)
        assert bench.ended(bench.enqueue("quick")) == ("completed",)
        ends.set()
        assert bench.ended(first) == ("completed",)


def test_an_end_that_cannot_be_written_yet_waits_alone(bench: Bench) -> None:
    begun, ends = threading.Event(), threading.Event()

    @task("held", registry=bench.registry)
    def held(payload: dict[str, Any]) -> None:
        begun.set()
        ends.wait(20)

    @task("quick", registry=bench.registry)
    def quick(payload: dict[str, Any]) -> None: ...

    with bench.worker():
        first = bench.enqueue("held")
        assert begun.wait(20)
        with psycopg.connect(bench.dsn) as other:
            other.execute("SELECT FROM taskflow.tasks_live WHERE id = %s FOR UPDATE", (first,))
            ends.set()
            for _ in range(3):
                assert bench.ended(bench.enqueue("quick")) == ("completed",)
            assert bench.task(first, "state") == ("running",)
        assert bench.ended(first) == ("completed",)
    assert bench.executions(first) == [(1, "succeeded", None)]


def test_a_worker_whose_row_an_operator_has_locked_goes_on(bench: Bench) -> None:
    @task("quick", registry=bench.registry)
    def quick(payload: dict[str, Any]) -> None: ...

    with bench.worker():
        bench.ended(bench.enqueue("quick"))
        with psycopg.connect(bench.dsn) as operator:
            operator.execute("UPDATE taskflow.workers SET state = 'paused'")
            assert bench.ended(bench.enqueue("quick")) == ("completed",)
            operator.rollback()


def test_a_locked_task_is_not_given_back_but_the_others_are(connection: Connection, dsn: str) -> None:
    ids = support.insert(connection, 3)
    me = support.worker(connection)
    attempts = [(claimed.id, claimed.attempt) for claimed in support.claim(connection, me)]
    with psycopg.connect(dsn) as other:
        other.execute("SELECT FROM taskflow.tasks_live WHERE id = %s FOR UPDATE", (ids[1],))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            tasks.release(connection, me, attempts)
    assert [support.row(connection, task_id, "state") for task_id in ids] == [("pending",), ("running",), ("pending",)]


def test_the_locked_ones_among_some_tasks_are_told(connection: Connection, dsn: str) -> None:
    ids = support.insert(connection, 3)
    with psycopg.connect(dsn) as other:
        other.execute("SELECT FROM taskflow.tasks_live WHERE id = %s FOR UPDATE", (ids[1],))
        assert tasks.locked(connection, [*ids, ids[-1] + 1]) == {ids[1]}
    assert tasks.locked(connection, ids) == set()
