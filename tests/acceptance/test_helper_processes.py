"""Handlers that start processes: these end when they are told to, and are no copies of the worker."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.acceptance.ledger import assert_in_order, enqueue, settle, value

PREFETCH = {"TASKFLOW_PREFETCH_SECONDS": "10"}


@pytest.mark.parametrize("kind", ["ends_helpers", "ends_helpers_apart"], ids=["thread", "process"])
def test_sigterm_ends_what_a_handler_has_started(connection, dsn, start_worker, wait_until, kind) -> None:
    start_worker(dsn, "--concurrency", "1")
    [task] = enqueue(connection, kind)
    wait_until(lambda: value(connection, "finished_at", task))
    ended = [value(connection, column, task) for column in ("result", "error")]
    assert ended == [{"executed": -15, "forked": True, "pool": [2.0, 3.0]}, None]


def test_signals_to_all_processes_at_once_leave_a_handler_its_time_to_end(
    connection, dsn, gate, start_worker, wait_until
) -> None:
    worker = start_worker(dsn)
    [task] = enqueue(connection, "blocking_apart", gate.payload, max_attempts=1)
    wait_until(gate.arrivals)
    for number in (signal.SIGTERM, signal.SIGINT):
        for process in (worker.pid, *worker.children()):
            os.kill(process, number)
    wait_until(lambda: "worker_draining" in worker.logs())
    gate.open()
    assert worker.wait() == 0, worker.logs()
    assert settle(connection, [task])


@pytest.mark.parametrize("kind", ["forks", "forks_async", "forks_apart"], ids=["thread", "async", "process"])
def test_a_fork_of_a_handler_ends_where_the_handler_does_as_a_program_would(
    connection, dsn, start_worker, wait_until, kind
) -> None:
    worker = start_worker(dsn, "--concurrency", "1")
    [task] = enqueue(connection, kind)
    wait_until(lambda: value(connection, "finished_at", task))
    assert (value(connection, "result", task), value(connection, "progress", task)) == ([0, 0, 3, 1, 1], None)
    assert all(text in worker.logs() for text in ("it says why\n", "ValueError: it has raised\n"))


def test_a_fork_of_a_handler_runs_nothing_of_what_its_worker_holds_ready(
    connection, dsn, gate, tmp_path, start_worker, wait_until
) -> None:
    worker = start_worker(dsn, "--concurrency", "1", env=PREFETCH)
    warm = enqueue(connection, "noop", count=20)
    wait_until(lambda: settle(connection, warm))
    file = tmp_path / "ran"
    with connection.transaction():
        [forking] = enqueue(connection, "forks_on", gate.payload, priority=3)
        [held] = enqueue(connection, "blocking", gate.payload, priority=2)
        waiting = enqueue(connection, "record", {"file": str(file)}, count=100)
    wait_until(gate.arrivals)
    gate.open()
    wait_until(lambda: settle(connection, [forking, held, *waiting]))
    wait_until(lambda: gone(value(connection, "result", forking)))
    assert sorted(file.read_text().splitlines()) == sorted(f"{task} 1" for task in waiting)
    assert_in_order(connection)
    assert worker.stop() == 0, worker.logs()


def test_a_fork_of_a_handler_in_a_process_takes_no_task_and_answers_for_none(
    connection, dsn, gate, start_worker, wait_until
) -> None:
    start_worker(dsn, "--concurrency", "1")
    [forking] = enqueue(connection, "forks_on_apart", gate.payload)
    wait_until(lambda: settle(connection, [forking]))
    gate.open()
    numbers = [enqueue(connection, "echo_apart", {"number": number})[0] for number in range(100)]
    wait_until(lambda: settle(connection, numbers))
    assert [value(connection, "result", task)["number"] for task in numbers] == list(range(100))
    wait_until(lambda: gone(value(connection, "result", forking)))


def test_a_process_that_speaks_of_another_attempt_is_used_for_none(connection, dsn, start_worker, wait_until) -> None:
    start_worker(dsn, "--concurrency", "1")
    [confused], [next_] = enqueue(connection, "confused_apart"), enqueue(connection, "echo_apart", {"number": 1})
    wait_until(lambda: settle(connection, [next_]))
    assert "it spoke of attempt 7 of task 0" in value(connection, "error", confused)
    assert value(connection, "result", next_) == {"number": 1}


@pytest.mark.parametrize("way", ["forked", "executed", "unseen"])
def test_a_process_with_a_helper_is_cancelled_its_death_is_noticed_and_the_helper_goes_with_it(
    connection, dsn, gate, start_worker, wait_until, way, tmp_path
) -> None:
    payload = {**gate.payload, "way": way, "file": str(tmp_path / "helpers")}

    def helpers_end() -> bool:
        helpers = [int(pid) for pid in (tmp_path / "helpers").read_text().split()]
        assert helpers
        return all(gone(pid) for pid in helpers)

    start_worker(dsn, "--concurrency", "1")
    [dies] = enqueue(connection, "helped_apart", payload | {"dies": True})
    wait_until(lambda: value(connection, "state", dies) == "dead_letter")
    assert value(connection, "error", dies) == "the handler's process was killed by SIGKILL"
    wait_until(helpers_end)
    [waits] = enqueue(connection, "helped_apart", payload | {"dies": False})
    wait_until(gate.arrivals)
    connection.execute("SELECT taskflow.cancel(%s)", (waits,))
    wait_until(lambda: value(connection, "state", waits) == "cancelled")
    wait_until(helpers_end)


def gone(pid: int) -> bool:
    """Whether it has ended; its parent may not have asked."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
