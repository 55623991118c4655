"""How work is ended from outside: shutdown, cancellation, timeouts; and a day that nobody has made."""

from __future__ import annotations

import signal

import pytest

from tests.acceptance.ledger import SOON, assert_in_order, enqueue, outcomes, settle, states, value

PREFETCH = {"TASKFLOW_PREFETCH_SECONDS": "10"}


def test_a_worker_told_to_stop_finishes_what_runs_and_gives_back_the_rest_uncharged(
    connection, dsn, gate, start_worker, wait_until
) -> None:
    worker = start_worker(dsn, "--concurrency", "2", env=PREFETCH)
    warm = enqueue(connection, "noop", count=20)  # only who knows how long tasks take prefetches them
    wait_until(lambda: settle(connection, warm))
    with connection.transaction():
        running = enqueue(connection, "blocking", gate.payload, 2, priority=3)
        waiting = enqueue(connection, "noop", count=100)
    wait_until(lambda: len(gate.arrivals()) == 2)
    wait_until(lambda: states(connection, waiting).get("running", 0) > 0, what="others are claimed behind them")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: states(connection, waiting) == {"pending": 100})
    worker.signal(signal.SIGTERM)
    worker.signal(signal.SIGINT)
    assert states(connection, running) == {"running": 2}
    gate.open()
    assert worker.wait() == 0, worker.logs()

    assert settle(connection, running)
    assert outcomes(connection) == {"succeeded": 22}
    assert connection.execute("SELECT sum(failures), sum(losses) FROM taskflow.tasks").fetchone() == (0, 0)
    assert connection.execute("SELECT count(*) FROM taskflow.workers").fetchone() == (0,)
    start_worker(dsn)
    wait_until(lambda: settle(connection, waiting))
    assert_in_order(connection, released=True)


def test_what_has_not_ended_when_the_time_to_drain_is_up_is_recorded_as_lost_and_not_charged(
    connection, dsn, gate, start_worker, wait_until
) -> None:
    worker = start_worker(dsn, "--drain-timeout", "0.3")
    held = enqueue(connection, "blocking", gate.payload, max_attempts=1)
    held += enqueue(connection, "async_wait", gate.payload, max_attempts=1)
    held += enqueue(connection, "spin_apart", {**gate.payload, "seconds": 60}, max_attempts=1)
    wait_until(lambda: len(gate.arrivals()) == 3 and len(worker.children()) == 1)
    assert worker.stop(timeout=15) == 0, worker.logs()
    assert states(connection, held) == {"pending": 3}
    assert outcomes(connection) == {"lost": 3}
    assert connection.execute("SELECT sum(failures), sum(losses) FROM taskflow.tasks").fetchone() == (0, 0)
    gate.open()
    connection.execute("UPDATE taskflow.tasks SET payload = payload || '{\"seconds\": 0}'")
    start_worker(dsn)
    wait_until(lambda: settle(connection, held))
    assert_in_order(connection)


@pytest.mark.parametrize(("timeout", "state"), [(60, "pending"), (0.3, "dead_letter")], ids=["running", "timed out"])
def test_a_worker_ends_in_time_though_a_handler_waits_in_a_thread_of_its_own(
    connection, dsn, gate, start_worker, wait_until, timeout, state
) -> None:
    worker = start_worker(dsn, "--drain-timeout", "0.3")
    held = enqueue(connection, "in_a_thread", gate.payload, timeout=timeout, max_attempts=1)
    wait_until(lambda: len(gate.arrivals()) == 1 and (timeout > 1 or states(connection, held) == {state: 1}))
    assert worker.stop(timeout=15) == 0, worker.logs()
    assert states(connection, held) == {state: 1}


def test_a_worker_ends_in_time_though_the_database_hangs(connection, dsn, start_worker, wait_until) -> None:
    worker = start_worker(dsn, "--drain-timeout", "1", "--no-leader")
    [task] = enqueue(connection, "slow", {"seconds": 0.2})
    with connection.transaction():
        connection.execute("LOCK TABLE taskflow.executions IN ACCESS EXCLUSIVE MODE")
        wait_until(lambda: value(connection, "state", task) == "running")
        assert worker.stop(timeout=12) == 0, worker.logs()
    assert value(connection, "state", task) in ("running", "completed"), "either it was written or the rescuer finds it"


@pytest.mark.parametrize("kind", ["until_cancelled", "async_wait", "spin_apart"], ids=["thread", "async", "process"])
def test_a_running_task_can_be_cancelled(connection, dsn, gate, start_worker, wait_until, kind) -> None:
    worker = start_worker(dsn, "--concurrency", "1")
    [task] = enqueue(connection, kind, {**gate.payload, "seconds": 60})
    wait_until(gate.arrivals)
    assert connection.execute("SELECT taskflow.cancel(%s)", (task,)).fetchone() == ("running",)
    wait_until(lambda: value(connection, "state", task) == "cancelled")
    if kind != "spin_apart":
        assert gate.cancellations() == [(task, 1)]
    else:
        wait_until(lambda: not worker.children(), what="its process is killed")
    assert outcomes(connection) == {"cancelled": 1}
    [later] = enqueue(connection, "noop")
    wait_until(lambda: settle(connection, [later]))
    assert_in_order(connection)


def test_handlers_of_each_kind_that_overrun_their_timeout_free_their_slot_and_bring_no_late_result(
    connection, dsn, gate, start_worker, wait_until
) -> None:
    worker = start_worker(dsn, "--concurrency", "1")
    warm = enqueue(connection, "spin_apart", {"seconds": 0})  # a process takes its time to start
    wait_until(lambda: settle(connection, warm))
    kinds = {
        "blocking": "its thread cannot be killed",
        "async_wait": "and was cancelled",
        "spin_apart": "its process was killed",
    }
    for type_, words in kinds.items():
        [task] = enqueue(connection, type_, {**gate.payload, "seconds": 60}, timeout=0.3, max_attempts=1)
        wait_until(lambda task=task: value(connection, "state", task) == "dead_letter")
        assert words in value(connection, "error", task)
        assert outcomes(connection, [task]) == {"timed_out": 1}
    later = enqueue(connection, "noop", count=5)
    wait_until(lambda: settle(connection, later))
    [late] = [task for task, _ in gate.arrivals() if value(connection, "type", task) == "blocking"]
    gate.open()
    wait_until(lambda: gate.departures() == [(late, 1)])
    [last] = enqueue(connection, "noop")
    wait_until(lambda: settle(connection, [last]))
    assert value(connection, "state", late) == "dead_letter"
    assert value(connection, "result", late) is None
    assert_in_order(connection)
    assert worker.stop() == 0, worker.logs()


def test_threads_that_hang_for_ever_do_not_use_up_the_slots(connection, dsn, gate, start_worker, wait_until) -> None:
    start_worker(dsn, "--concurrency", "3")
    for _ in range(3):
        [hanging] = enqueue(connection, "blocking", gate.payload, timeout=0.1, max_attempts=1)
        wait_until(lambda task=hanging: value(connection, "state", task) == "dead_letter")
    three = enqueue(connection, "blocking", gate.payload, 3)
    wait_until(lambda: set(three) <= {task for task, _ in gate.arrivals()}, what="three run at once")
    gate.open()
    wait_until(lambda: settle(connection, three))


def test_a_coroutine_that_ignores_its_cancellation_times_out_all_the_same(
    connection, dsn, gate, start_worker, wait_until
) -> None:
    worker = start_worker(dsn, "--concurrency", "1")
    [deaf] = enqueue(connection, "deaf", gate.payload, timeout=0.1, max_attempts=1)
    wait_until(lambda: value(connection, "state", deaf) == "dead_letter")
    assert "must not swallow CancelledError" in value(connection, "error", deaf)
    two = enqueue(connection, "async_wait", gate.payload, 2)
    wait_until(lambda: states(connection, two).get("running"), what="its slot is free")
    gate.open()
    wait_until(lambda: gate.departures() == [(deaf, 1)])
    wait_until(lambda: settle(connection, two))
    assert value(connection, "state", deaf) == "dead_letter"
    assert_in_order(connection)
    assert worker.stop() == 0, worker.logs()


def test_a_handler_that_gives_up_on_something_cancelled_has_failed_and_is_tried_again(
    connection, dsn, start_worker, wait_until
) -> None:
    start_worker(dsn)
    [task] = enqueue(connection, "gives_up", max_attempts=2, retry_delay=0)
    wait_until(lambda: value(connection, "state", task) == "dead_letter")
    assert outcomes(connection) == {"failed": 2}
    assert "CancelledError" in value(connection, "error", task)


def test_a_completion_that_finds_no_day_makes_it(connection, dsn, gate, start_worker, wait_until) -> None:
    worker = start_worker(dsn, "--no-leader", env=SOON)
    held = enqueue(connection, "blocking", gate.payload, 2)
    wait_until(lambda: len(gate.arrivals()) == 2)
    days = "SELECT relid::text FROM pg_partition_tree(%s) WHERE isleaf"
    for parent in ("tasks_completed", "tasks_ended", "executions"):
        for (day,) in connection.execute(days, (f"taskflow.{parent}",)).fetchall():
            connection.execute(f"DROP TABLE {day}")
    gate.open()
    wait_until(lambda: settle(connection, held))
    assert_in_order(connection)
    assert "day_was_missing" in worker.logs()
    assert worker.stop() == 0, worker.logs()
