"""Two transactions of callers that lock each other's tasks: one of them is told soon, and the other goes on."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest
from psycopg import sql

from tests.store.support import Connection, insert


@pytest.mark.parametrize("function", ["cancel", "lock_task"])
def test_a_deadlock_between_two_transactions_is_told_to_one_of_them(
    dsn: str, connection: Connection, function: str
) -> None:
    ids = insert(connection, 2)
    call = sql.SQL("SELECT {}(%s)").format(sql.Identifier("taskflow", function))
    both_hold_one = Barrier(2)

    def run(first: int, second: int) -> str:
        with psycopg.connect(dsn) as mine:
            mine.execute(call, [first])
            both_hold_one.wait(10)
            try:
                mine.execute(call, [second])
            except psycopg.errors.DeadlockDetected:
                mine.rollback()
                return "told"
        return "done"

    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(run, ids, reversed(ids)))
    assert sorted(ends) == ["done", "told"]
    assert time.monotonic() - began < 20  # the server looks for deadlocks after a second; it was a hundred times that
