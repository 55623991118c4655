"""Texts and logs of handlers: whatever they say is stored, and what they have said stays however they end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from taskflow import Cancel, Context, DeadLetter, Retry, Snooze
from taskflow.tasks.registry import registry, task
from tests.worker.conftest import Bench

ROOT = Path(__file__).parents[2]
TASKS = "tests.acceptance.tasks_for_tests"
ODD = "nul \x00 and caf\udce9"
STORED = "nul \ufffd and caf?"


def logs(bench: Bench, task_id: int) -> list[list[dict[str, Any]]]:
    """The logs of each attempt."""
    rows = bench.connection.execute(
        "SELECT logs FROM taskflow.executions WHERE task_id = %s ORDER BY attempt", (task_id,)
    ).fetchall()
    return [row[0] for row in rows]


@pytest.mark.parametrize("error", [ValueError, Retry, DeadLetter, Cancel, lambda text: Snooze(0, text)])
def test_an_odd_error_is_stored_and_the_logs_beside_it_are_what_they_were(
    bench: Bench, error: Callable[[str], Exception]
) -> None:
    @task("odd", registry=bench.registry, max_attempts=1)
    def odd(payload: dict[str, Any], context: Context) -> None:
        context.log("entry", x=1)
        if context.attempt == 1:
            raise error(ODD)

    @task("good", registry=bench.registry)
    def good(payload: dict[str, Any]) -> str:
        return "fine"

    task_id = bench.enqueue("odd")
    others = [bench.enqueue("good") for _ in range(20)]
    with capture_logs() as told, bench.worker():
        bench.ended(task_id)
        for other in others:
            assert bench.ended(other, "result", "attempt") == ("completed", "fine", 1)
    assert STORED in bench.executions(task_id)[0][2]
    assert [[(entry["message"], entry["x"]) for entry in of_one] for of_one in logs(bench, task_id)] == [
        [("entry", 1)]
    ] * len(bench.executions(task_id))
    assert not [entry for entry in told if entry["log_level"] == "critical" or entry["event"] == "completer_failed"]


def test_an_odd_progress_is_stored(bench: Bench) -> None:
    release = threading.Event()

    @task("odd", registry=bench.registry)
    def odd(payload: dict[str, Any], context: Context) -> None:
        context.progress(10, ODD)
        release.wait(20)

    task_id = bench.enqueue("odd")
    with bench.worker():
        bench.wait(lambda: bench.task(task_id, "progress_message") == (STORED,))
        release.set()
        assert bench.ended(task_id, "attempt") == ("completed", 1)


def test_a_delay_out_of_range_is_an_error_that_names_it(bench: Bench) -> None:
    @task("far", registry=bench.registry, max_attempts=1)
    def far(payload: dict[str, Any]) -> None:
        raise Retry("later", after=1e12)

    task_id = bench.enqueue("far")
    with bench.worker():
        state, error = bench.ended(task_id, "error")
    assert state == "dead_letter"
    assert error.startswith("ValueError: after must be a number of seconds")


def test_what_a_rule_of_the_users_own_refuses_is_said_without_the_row(bench: Bench) -> None:
    @task("secret", registry=bench.registry)
    def secret(payload: dict[str, Any]) -> str:
        return payload["token"]

    bench.connection.execute(
        "ALTER TABLE taskflow.tasks ADD CONSTRAINT no_tokens CHECK (result IS DISTINCT FROM '\"xyzzy\"')"
    )
    refused = bench.enqueue("secret", '{"token": "xyzzy"}')
    good = [bench.enqueue("secret", '{"token": "plain"}') for _ in range(20)]
    with bench.worker():
        state, error = bench.ended(refused, "error")
        assert all(bench.ended(task_id, "result") == ("completed", "plain") for task_id in good)
    assert state == "dead_letter"
    assert "no_tokens" in error
    assert "xyzzy" not in error


@pytest.mark.parametrize("kind", ["thread", "async", "deaf"])
def test_the_logs_of_an_attempt_that_timed_out_are_there(
    bench: Bench, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.worker.async_slots.GRACE_SECONDS", 0.2)
    release = threading.Event()
    options: dict[str, Any] = {"registry": bench.registry, "timeout": 1.0, "max_attempts": 1}

    @task("thread", **options)
    def in_thread(payload: dict[str, Any], context: Context) -> None:
        context.log("begun")
        release.wait(20)
        context.log("too late")

    @task("async", **options)
    async def in_loop(payload: dict[str, Any], context: Context) -> None:
        context.log("begun")
        await asyncio.Event().wait()

    @task("deaf", **options)
    async def deaf(payload: dict[str, Any], context: Context) -> None:
        context.log("begun")
        while not release.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue

    task_id = bench.enqueue(kind)
    with bench.worker():
        assert bench.ended(task_id) == ("dead_letter",)
        release.set()
    assert [status for _, status, _ in bench.executions(task_id)] == ["timed_out"]
    assert [[entry["message"] for entry in of_one] for of_one in logs(bench, task_id)] == [["begun"]]


@pytest.fixture
def apart(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The bench knows the handlers that run in processes; what a worker of it needs for that."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where the child finds them too
    __import__(TASKS)
    for name in ("logs_apart", "threads_apart", "spin_apart"):
        handler = registry.get(name)
        assert handler is not None
        bench.registry.add(handler)
    return {"imports": (TASKS,), "concurrency": 1}


@pytest.mark.parametrize(
    ("then", "status", "more"),
    [("wait", "timed_out", 0), ("die", "failed", 0), ("return", "succeeded", 0), ("return", "succeeded", 1_004)],
)
def test_the_logs_of_a_process_are_there_however_it_ended(
    bench: Bench, apart: dict[str, Any], then: str, status: str, more: int
) -> None:
    first = bench.enqueue("spin_apart", '{"seconds": 0}')
    with bench.worker(**apart):
        bench.ended(first)  # its process is there now, and runs the next one too
        payload = f'{{"then": "{then}", "more": {more}}}'
        task_id = bench.enqueue("logs_apart", payload, timeout=2 if then == "wait" else 60)
        bench.ended(task_id)
    assert [told for _, told, _ in bench.executions(task_id)] == [status]
    ((first, *rest),) = logs(bench, task_id)
    assert (first["message"], first["where"]) == ("begun", "apart")
    assert len(rest) == min(more, 1_000)
    if more:
        assert rest[-1]["message"].startswith("5 more entries were dropped")


def test_threads_of_a_handler_talk_at_once_and_not_into_the_next_attempt(bench: Bench, apart: dict[str, Any]) -> None:
    first = bench.enqueue("threads_apart")
    after = bench.enqueue("spin_apart", '{"seconds": 0.5}')
    with bench.worker(**apart):
        assert bench.ended(first, "error") == ("completed", None)
        assert bench.ended(after, "progress") == ("completed", None)
    ((entries),) = logs(bench, first)
    assert sorted(entry["thread"] for entry in entries) == list(range(12))
    assert logs(bench, after) in ([None], [[]])
