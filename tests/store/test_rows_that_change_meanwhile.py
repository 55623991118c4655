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
