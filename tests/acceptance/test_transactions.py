"""Workers that are killed in the middle of transactions: what these do is done exactly once."""

from __future__ import annotations

import pytest

from tests.acceptance.ledger import SOON, assert_in_order, enqueue, outcomes, settle, states

KILLS = 2
TASKS = 50
OBJECTS = """
    CREATE TABLE effects (task_id bigint, attempt int);
    CREATE SCHEMA billing;
    CREATE TABLE billing.calls (number int);
    CREATE FUNCTION billing.count_call(number int) RETURNS bigint LANGUAGE sql AS
        $$ INSERT INTO billing.calls VALUES (number); SELECT pg_sleep(0.01); SELECT count(*) FROM billing.calls $$;
"""


@pytest.mark.slow
def test_kills_in_the_middle_leave_every_effect_exactly_once(
    connection, dsn, start_worker, processes, wait_until
) -> None:
    connection.execute(OBJECTS)
    environment = {**SOON, "TASKFLOW_SQL_FUNCTIONS": "billing.count_call"}

    def start():
        return start_worker(dsn, "--concurrency", "6", env=environment)

    booked = enqueue(connection, "book", count=TASKS, retry_delay=0)
    booked += enqueue(connection, "book_async", count=TASKS, retry_delay=0)
    called = [
        enqueue(
            connection, "sql", {"function": "billing.count_call", "args": [number]}, retry_delay=0, max_attempts=20
        )[0]
        for number in range(TASKS)
    ]
    ids = booked + called
    worker = start()
    for kill in range(1, KILLS + 1):
        enough = kill * len(ids) // (KILLS + 2)
        wait_until(lambda enough=enough: states(connection).get("completed", 0) >= enough)
        worker.kill()
        worker = start()
    wait_until(lambda: settle(connection, ids), timeout=60)

    assert connection.execute("SELECT task_id FROM effects ORDER BY 1").fetchall() == [(i,) for i in sorted(booked)]
    numbers = connection.execute("SELECT number FROM billing.calls ORDER BY 1").fetchall()
    assert numbers == [(number,) for number in range(TASKS)]
    assert outcomes(connection).get("lost", 0) >= 1, "no kill hit a task"
    assert_in_order(connection)
    assert not [event for event in worker.events() if event["level"] == "error"], worker.shown_logs()
