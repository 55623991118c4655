"""What a statement makes of a row that another transaction changes while it waits for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from taskflow.store import tasks
from tests.store.support import Connection, claim, insert, row, worker

Meanwhile = Callable[[str, tuple[Any, ...], Callable[[Connection], Any]], Any]


@pytest.fixture
def meanwhile(dsn: str, connection: Connection, until: Callable[[Callable[[], object]], None]) -> Meanwhile:
    """Execute `change`, begin `statement`, and commit the change when the statement waits for it; its answer."""

    def run(change: str, parameters: tuple[Any, ...], statement: Callable[[Connection], Any]) -> Any:
        with (
            psycopg.connect(dsn) as first,
            psycopg.connect(dsn, autocommit=True) as second,
            ThreadPoolExecutor(1) as pool,
        ):
            first.execute(change, parameters)
            answer = pool.submit(statement, second)
            waits = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
            until(lambda: connection.execute(waits, (second.info.backend_pid,)).fetchone() == (True,))
            first.commit()
            return answer.result(timeout=20)

    return run


def test_a_release_sees_a_cancel_that_was_under_way(connection: Connection, meanwhile: Meanwhile) -> None:
    (task_id,) = insert(connection)
    me = worker(connection)
    attempts = [(task.id, task.attempt) for task in claim(connection, me)]
    meanwhile("SELECT taskflow.cancel(%s)", (task_id,), lambda other: tasks.release(other, me, attempts))
    assert row(connection, task_id, "state") == ("cancelled",)


def test_replacing_a_task_that_is_just_being_cancelled_makes_a_new_one(
    connection: Connection, meanwhile: Meanwhile
) -> None:
    (old,) = insert(connection, unique_key="k")
    replace = """SELECT id, created, state FROM taskflow.enqueue('noop', '{"n": 2}', unique_key => 'k',
                     options => '{"on_conflict": "replace"}')"""
    new, created, state = meanwhile(
        "SELECT taskflow.cancel(%s)", (old,), lambda other: other.execute(replace).fetchone()
    )
    assert (created, state, row(connection, new, "payload")) == (True, "pending", ({"n": 2},))
    assert row(connection, old, "state") == ("cancelled",)
