"""Operators pause a worker, and it obeys within a second, whatever reaches it of their hints."""

from __future__ import annotations

import time
from typing import Any

import pytest

from taskflow.tasks.registry import task
from taskflow.worker.listener import Listener, concerns
from taskflow.worker.worker import Worker
from tests.worker.conftest import Bench

NO_HEARTBEAT = {"heartbeat_interval": 60.0, "heartbeat_timeout": 300.0}
SOON_SECONDS = 2.0  # twice what is promised: the machine is not ours alone


def paused_after(bench: Bench, worker: Worker) -> float:
    """Pause the worker; returns how many seconds later it knows."""
    bench.connection.execute("SELECT taskflow.set_worker_state(id, 'paused') FROM taskflow.workers")
    began = time.monotonic()
    bench.wait(lambda: worker.wanted_state == "paused")
    return time.monotonic() - began


def works(bench: Bench) -> bool:
    task_id = bench.enqueue("t")
    return bench.ended(task_id)[0] == "completed"


@pytest.fixture
def bench_with_type(bench: Bench) -> Bench:
    @task("t", registry=bench.registry)
    def handle(payload: dict[str, object]) -> None:
        pass

    return bench


def test_a_worker_that_no_notification_reaches_asks_by_itself(
    bench_with_type: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listener, "hears", lambda *_: False)
    monkeypatch.setattr(Listener, "_receive", lambda *_: None)

    with bench_with_type.worker(**NO_HEARTBEAT) as worker:
        assert works(bench_with_type)
        assert paused_after(bench_with_type, worker) < SOON_SECONDS


def test_a_worker_that_is_flooded_and_does_not_listen_asks_by_itself(bench_with_type: Bench) -> None:
    with bench_with_type.worker(**NO_HEARTBEAT) as worker:
        assert works(bench_with_type)
        listener: Listener = worker._claimer._listener
        bench_with_type.connection.execute(
            "SELECT pg_notify('taskflow_wake', 'x' || n) FROM generate_series(1, 20000) n"
        )
        bench_with_type.wait(lambda: listener.deaf)
        assert paused_after(bench_with_type, worker) < SOON_SECONDS


def test_only_hints_for_this_worker_or_for_nobody_in_particular_are_followed() -> None:
    assert concerns('{"worker": 7}', [7, 5])
    assert not concerns('{"worker": 8}', [7, 5])
    for hint in ('{"cancel": 42}', "", "x", "[]", "7", '{"worker": [7', "[" * 5000, "9" * 7000):
        assert concerns(hint, [7])


def test_a_paused_worker_claims_nothing_until_it_is_resumed(bench: Bench) -> None:
    @task("noop", registry=bench.registry)
    def noop(payload: dict[str, Any]) -> None: ...

    first = bench.enqueue("noop")
    with bench.worker() as worker:
        bench.ended(first)
        bench.connection.execute("UPDATE taskflow.workers SET state = 'paused'")
        bench.wait(lambda: worker.wanted_state == "paused")
        second = bench.enqueue("noop")
        bench.connection.execute("UPDATE taskflow.workers SET state = 'running' WHERE heartbeat >= 0")
        assert bench.task(second, "attempt") == (0,)
        assert bench.ended(second)[0] == "completed"


def test_a_paused_worker_that_loses_its_connection_stays_paused(bench: Bench) -> None:
    @task("noop", registry=bench.registry)
    def noop(payload: dict[str, Any]) -> None: ...

    with bench.worker() as worker:
        bench.ended(bench.enqueue("noop"))
        bench.connection.execute("UPDATE taskflow.workers SET state = 'paused'")
        bench.wait(lambda: worker.wanted_state == "paused")
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'taskflow claimer'"
        bench.connection.execute(f"{cut} AND datname = current_database()")
        new = "SELECT state FROM taskflow.workers WHERE heartbeat > 0 AND id > 1"
        assert bench.wait(lambda: bench.connection.execute(new).fetchone()) == ("paused",)
