"""Giving back and leaving: what has not started runs elsewhere, what ends with the worker is charged to nobody."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from taskflow.store import workers
from taskflow.tasks.registry import task
from taskflow.worker import Worker
from taskflow.worker.slots import Slots
from tests.worker.conftest import Bench


def test_draining_finishes_what_runs_and_gives_back_the_rest(bench: Bench) -> None:
    began, release = threading.Event(), threading.Event()

    @task("block", registry=bench.registry)
    def block(payload: dict[str, Any]) -> None:
        began.set()
        release.wait(20)

    first = bench.enqueue("block")
    with bench.worker(concurrency=1) as worker:
        assert began.wait(10)
        later = bench.enqueue("block")
        worker.stop()
        bench.wait(lambda: not worker._claimer.alive)
        release.set()
    assert bench.task(first, "state") == ("completed",)
    assert bench.task(later, "state", "failures") == ("pending", 0)
    assert bench.connection.execute("SELECT count(*) FROM taskflow.workers").fetchone() == (0,)


def test_what_outlasts_the_drain_is_given_back_uncharged(bench: Bench) -> None:
    began, release = threading.Event(), threading.Event()

    @task("block", registry=bench.registry, max_attempts=1)
    def block(payload: dict[str, Any]) -> None:
        began.set()
        release.wait(20)

    task_id = bench.enqueue("block")
    with bench.worker(drain_timeout=0.1):
        assert began.wait(10)
    assert bench.task(task_id, "state", "failures", "losses") == ("pending", 0, 0)
    assert [status for _, status, _ in bench.executions(task_id)] == ["lost"]
    release.set()


def test_what_comes_after_a_long_handler_is_not_given_back_before_its_thread_has_taken_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task("long", registry=bench.registry)
    def long(payload: dict[str, Any]) -> None:
        threading.Event().wait(1.1)  # longer than after which others are held to be stuck behind it

    @task("next", registry=bench.registry)
    def next_(payload: dict[str, Any]) -> None: ...

    give = Slots.give

    with bench.worker(concurrency=1, prefetch_seconds=0) as worker:

        def give_and_linger(slots: Slots) -> None:  # on a busy machine, and the claimer is woken for something else
            give(slots)
            threading.Event().wait(0.1)
            worker._claimer.wake()
            threading.Event().wait(0.1)

        monkeypatch.setattr(Slots, "give", give_and_linger)
        first = bench.enqueue("long")
        bench.wait(lambda: bench.task(first, "state") == ("running",))
        then = bench.enqueue("next")
        assert bench.ended(then, "attempt") == ("completed", 1)


def test_a_worker_that_has_left_the_list_does_not_take_itself_for_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    deregister = workers.deregister
    worker: Worker | None = None

    def deregister_and_beat(connection: Any, worker_id: int) -> None:
        deregister(connection, worker_id)
        assert worker is not None
        worker._completer.ask(worker._heartbeat.beat)  # it may be due at just this moment

    monkeypatch.setattr(workers, "deregister", deregister_and_beat)
    with capture_logs() as logs, bench.worker() as running:
        worker = running
        bench.wait(lambda: bench.connection.execute("SELECT FROM taskflow.workers").fetchone() is not None)
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == []
    assert bench.connection.execute("SELECT count(*) FROM taskflow.workers").fetchone() == (0,)
