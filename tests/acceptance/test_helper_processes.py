"""Handlers that start processes: these end when they are told to, and are no copies of the worker."""

from __future__ import annotations

import os
import signal

import pytest

from tests.acceptance.ledger import enqueue, settle, value


@pytest.mark.parametrize("kind", ["ends_helpers", "ends_helpers_apart"], ids=["thread", "process"])
def test_sigterm_ends_what_a_handler_has_started(connection, dsn, start_worker, wait_until, kind) -> None:
    start_worker(dsn, "--concurrency", "1")
    [task] = enqueue(connection, kind)
    wait_until(lambda: value(connection, "finished_at", task))
    assert value(connection, "result", task) == {"executed": -15, "forked": True, "pool": [2.0, 3.0]}


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
