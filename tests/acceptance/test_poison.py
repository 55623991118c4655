"""Payloads and results that do harm: they end as dead letters, with the reason, and take nobody along."""

from __future__ import annotations

import pytest

from tests.acceptance.ledger import SOON, assert_in_order, enqueue, outcomes, settle, states, value

NEIGHBOURS = 150


@pytest.mark.parametrize("members", [1, 2], ids=["one_process", "two_processes"])
def test_a_payload_that_kills_its_process_is_a_dead_letter_and_its_prefetched_neighbours_complete(
    connection, dsn, processes, start_worker, wait_until, members
) -> None:
    def start():
        return start_worker(dsn, "--processes", str(members), "--no-leader", env=SOON)

    processes.start("scheduler", dsn=dsn, env=SOON)
    workers = [start()]
    warm = enqueue(connection, "noop", count=2000)  # the pace must be known before anything is prefetched
    wait_until(lambda: settle(connection, warm))
    ids = connection.execute(
        "INSERT INTO taskflow.tasks (type, max_attempts)"
        " SELECT CASE WHEN n = %(n)s THEN 'kill_self' ELSE 'noop' END, 1 FROM generate_series(0, 2 * %(n)s) n"
        " ORDER BY n RETURNING id, type",
        {"n": NEIGHBOURS},
    ).fetchall()
    [killer] = [task_id for task_id, type_ in ids if type_ == "kill_self"]
    neighbours = [task_id for task_id, type_ in ids if type_ == "noop"]

    def over() -> bool:
        if not workers[-1].running:  # one process alone has nobody who starts it again; with two the supervisor does
            workers.append(start())
        return value(connection, "state", killer) == "dead_letter" and settle(connection, neighbours)

    wait_until(over, timeout=60)
    assert_in_order(connection, released=True)  # those who wait long on probation are given back
    row = connection.execute("SELECT attempt, failures, losses, error FROM taskflow.tasks WHERE id = %s", (killer,))
    attempt, failures, losses, error = row.fetchone()
    assert failures == 1
    assert attempt == losses <= 2, "at most one loss is not charged"
    assert "was lost while it ran the task" in error
    assert outcomes(connection, neighbours)["lost"] >= 10, "neighbours were taken along, or this test shows nothing"
    assert connection.execute("SELECT sum(failures) FROM taskflow.tasks").fetchone()[0] == 1
    assert len(workers) <= 3


@pytest.mark.parametrize("kind", ["blocking", "async_wait"], ids=["thread", "async"])
def test_a_task_that_a_worker_was_lost_with_is_given_its_whole_time_though_its_start_is_slow_to_record(
    connection, dsn, gate, start_worker, wait_until, kind
) -> None:
    gate.open()
    connection.execute(
        """
        CREATE FUNCTION slow_start() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock(42); RETURN new; END $$;
        CREATE TRIGGER slow_start BEFORE UPDATE ON taskflow.tasks_live FOR EACH ROW
            WHEN (new.state = 'running' AND new.started_at IS NOT NULL) EXECUTE FUNCTION slow_start();
        SELECT pg_advisory_lock(42);
        """
    )
    start_worker(dsn)
    [task] = enqueue(connection, kind, gate.payload, losses=1, timeout=0.3, max_attempts=1)
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted"
    wait_until(lambda: connection.execute(waiting).fetchone() == (1,))
    waited = "SELECT clock_timestamp() > claimed_at + interval '1 second' FROM taskflow.tasks WHERE id = %s"
    wait_until(lambda: connection.execute(waited, (task,)).fetchone() == (True,))
    assert gate.arrivals() == [], "it must not begin before that is recorded"
    connection.execute("SELECT pg_advisory_unlock(42)")
    wait_until(lambda: value(connection, "state", task) == "completed")
    assert outcomes(connection) == {"succeeded": 1}


def test_a_result_that_cannot_be_stored_fails_alone_among_200_good_ones(
    connection, dsn, start_worker, wait_until
) -> None:
    worker = start_worker(dsn, "--concurrency", "20")
    wait_until(lambda: "worker_ready" in worker.logs())
    with connection.transaction():
        connection.execute("LOCK TABLE taskflow.executions IN SHARE MODE")  # completions wait: they become one batch
        with connection.transaction():
            good = enqueue(connection, "echo", {"a": "b"}, 100)
            [bad] = enqueue(connection, "bad_result")
            good += enqueue(connection, "echo", {"a": "\\u0000 in letters"}, 99)
    wait_until(lambda: settle(connection, good))
    wait_until(lambda: value(connection, "state", bad) == "dead_letter")
    error = value(connection, "error", bad)
    assert "the result cannot be stored" in error
    assert "\\u0000" in error
    assert value(connection, "attempt", bad) == 1, "to run it again would give the same"
    assert_in_order(connection)
    assert worker.stop() == 0, worker.logs()


def test_a_result_too_large_for_the_database_fails_with_the_size_and_holds_up_nobody(
    connection, dsn, start_worker, wait_until
) -> None:
    start_worker(dsn)
    [large] = enqueue(connection, "large_result", {"mebibytes": 17})
    fits = enqueue(connection, "large_result", {"mebibytes": 15}, 3)
    wait_until(lambda: value(connection, "state", large) == "dead_letter")
    assert "17.0 MiB" in value(connection, "error", large)
    wait_until(lambda: settle(connection, fits))
    assert_in_order(connection)


def test_payloads_that_python_cannot_hold_are_dead_letters_and_stop_nobody(
    connection, dsn, start_worker, wait_until
) -> None:
    reasons = {
        '{"a": 1e400}': "exceeds 64-bit range",
        '{"a": 1e9000}': "number is infinity when parsed as double",
        nested(2000): "depth limit exceeded",
        nested(990): "ecursion",
    }
    worker = start_worker(dsn)
    insert = "INSERT INTO taskflow.tasks (type, payload) SELECT %s, %s FROM generate_series(1, 3) RETURNING id"
    poison = {
        row[0]: reason
        for payload, reason in reasons.items()
        for type_ in ("echo", "echo_apart")
        for row in connection.execute(insert, (type_, payload))
    }
    good = enqueue(connection, "noop", count=20)
    wait_until(lambda: settle(connection, good))
    wait_until(lambda: states(connection, list(poison)) == {"dead_letter": 24})
    for task, reason in poison.items():
        assert reason in value(connection, "error", task)
    assert connection.execute("SELECT max(attempt) FROM taskflow.tasks").fetchone()[0] == 1
    assert_in_order(connection)
    assert worker.stop() == 0, worker.logs()


def test_exceptions_that_are_broken_themselves_are_failures_and_cost_no_slot(
    connection, dsn, start_worker, wait_until
) -> None:
    start_worker(dsn, "--concurrency", "2")
    broken = enqueue(connection, "broken_exception", count=6, max_attempts=1)
    wait_until(lambda: states(connection, broken) == {"dead_letter": 6})
    assert "Forgetful" in value(connection, "error", broken[0])
    good = enqueue(connection, "noop", count=6)
    wait_until(lambda: settle(connection, good))


def nested(depth: int) -> str:
    return '{"a": %s}' % ("[" * depth + "]" * depth)
