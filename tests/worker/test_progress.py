"""The last progress of an attempt is there when it has ended, however short before it came and however it ended."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg.errors import LockNotAvailable

from taskflow import Cancel, Context, Retry, Snooze
from taskflow.store import events, tasks
from taskflow.tasks.registry import task
from tests.worker.conftest import Bench

APART = """
from taskflow import Context, task

@task("plain", isolation="process")
def plain(payload: dict, context: Context) -> None:
    context.progress(100, "end")

@task("in_transaction", isolation="process")
def in_transaction(payload: dict, context: Context) -> None:
    context.progress(100, "end")
    with context.transaction():
        pass
"""


@pytest.mark.parametrize(
    ("raised", "state"),
    [
        (None, "completed"),
        (ValueError("no"), "dead_letter"),
        (Cancel("no"), "cancelled"),
        (Snooze(600, ""), "scheduled"),
    ],
)
@pytest.mark.parametrize("earlier", [None, "begun"])
def test_of_a_thread(bench: Bench, raised: Exception | None, state: str, earlier: str | None) -> None:
    @task("report", registry=bench.registry, max_attempts=1)
    def report(payload: dict[str, Any], context: Context) -> str:
        if earlier is not None:
            context.progress(10, earlier)
            bench.wait(lambda: bench.task(context.task_id, "progress_message") == (earlier,))
        context.progress(50, "half of it")
        context.progress(100)
        if raised is not None:
            raise raised
        return "done"

    task_id = bench.enqueue("report")
    with bench.worker():
        bench.wait(lambda: bench.executions(task_id))
    assert bench.task(task_id, "state", "progress", "progress_message") == (state, 100, None)


def test_of_a_coroutine_that_overruns_its_timeout(bench: Bench) -> None:
    @task("report", registry=bench.registry, max_attempts=1, timeout=0.2)
    async def report(payload: dict[str, Any], context: Context) -> None:
        context.progress(100, "end")
        await asyncio.sleep(20)

    task_id = bench.enqueue("report")
    with bench.worker():
        assert bench.ended(task_id, "progress", "progress_message") == ("dead_letter", 100, "end")


def test_of_a_handler_that_commits_its_task_but_not_what_it_says_afterwards(bench: Bench) -> None:
    @task("report", registry=bench.registry)
    def report(payload: dict[str, Any], context: Context) -> None:
        context.progress(90, "nearly")
        with context.transaction():
            context.progress(100, "end")
        context.progress(1, "late")

    @task("report_async", registry=bench.registry)
    async def report_async(payload: dict[str, Any], context: Context) -> None:
        async with context.transaction_async():
            context.progress(100, "end")

    ids = [bench.enqueue("report"), bench.enqueue("report_async")]
    with bench.worker():
        for task_id in ids:
            assert bench.ended(task_id, "progress", "progress_message") == ("completed", 100, "end")
    for task_id in ids:
        assert bench.task(task_id, "progress") == (100,)


@pytest.mark.parametrize("type", ["plain", "in_transaction"])
def test_of_a_process(bench: Bench, type: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "reports_apart.py").write_text(APART)

    @task(type, isolation="process", registry=bench.registry)
    def declared(payload: dict[str, Any]) -> None: ...

    task_id = bench.enqueue(type)
    with bench.worker(imports=("reports_apart",)):
        assert bench.ended(task_id, "progress", "progress_message") == ("completed", 100, "end")


def test_it_is_told_once_and_before_the_end(bench: Bench) -> None:
    @task("report", registry=bench.registry)
    def report(payload: dict[str, Any], context: Context) -> None:
        context.progress(10, "begun")
        bench.wait(lambda: bench.task(context.task_id, "progress") == (10,))
        if payload.get("again"):
            context.progress(100, "end")

    @task("book", registry=bench.registry)
    def book(payload: dict[str, Any], context: Context) -> None:
        with context.transaction():
            context.progress(100, "end")

    events.listen(bench.connection, uuid4(), ["task.completed", "task.progress"], 60.0)
    with bench.worker() as worker:
        bench.wait(lambda: worker._completer.events.wanted)
        ids = [bench.enqueue("report", '{"again": true}'), bench.enqueue("report"), bench.enqueue("book")]
        for task_id in ids:
            bench.ended(task_id)
    rows = bench.connection.execute("SELECT body FROM taskflow.event_batches ORDER BY id").fetchall()
    told: dict[int, list[Any]] = {task_id: [] for task_id in ids}
    for event in (event for (body,) in rows for event in json.loads(body)["events"]):
        told[int(event["data"]["task_id"])].append(event["data"].get("progress", event["type"]))
    assert list(told.values()) == [[10, 100, "task.completed"], [10, "task.completed"], [100, "task.completed"]]


def test_it_outlives_a_row_that_somebody_has_locked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report during the attempt is not stored then; the end is, and has it."""
    report_progress = tasks.report_progress
    locked, refused, end = threading.Event(), threading.Event(), threading.Event()

    def watched(*args: Any) -> None:
        try:
            report_progress(*args)
        except LockNotAvailable:
            refused.set()
            raise

    @task("report", registry=bench.registry)
    def report(payload: dict[str, Any], context: Context) -> None:
        locked.wait(20)
        context.progress(100, "end")
        end.wait(20)

    monkeypatch.setattr(tasks, "report_progress", watched)
    with bench.worker(poll_interval=0.1):
        task_id = bench.enqueue("report")
        bench.wait(lambda: bench.task(task_id, "state") == ("running",))
        with bench.connection.transaction():
            bench.connection.execute("SELECT FROM taskflow.tasks_live WHERE id = %s FOR UPDATE", (task_id,))
            locked.set()
            assert refused.wait(20)
        assert bench.task(task_id, "state", "progress") == ("running", None)
        end.set()
        assert bench.ended(task_id, "progress", "progress_message") == ("completed", 100, "end")


@pytest.mark.parametrize("limit", ["NULL", "5"])
def test_of_an_earlier_attempt_is_forgotten_when_the_next_begins(bench: Bench, limit: str) -> None:
    end = threading.Event()

    @task("again", registry=bench.registry)
    def again(payload: dict[str, Any], context: Context) -> None:
        if context.attempt == 1:
            context.progress(80, "nearly")
            raise Retry(after=0.5)
        end.wait(10.0)

    bench.connection.execute(f"INSERT INTO taskflow.queues (name, max_workers) VALUES ('q', {limit})")
    with bench.worker(poll_interval=0.1):
        task_id = bench.enqueue("again", queue="q")
        shown = "state", "attempt", "progress", "progress_message"
        bench.wait(lambda: bench.task(task_id, *shown) == ("retrying", 1, 80, "nearly"))
        bench.wait(lambda: bench.task(task_id, *shown[:2]) == ("running", 2))
        assert bench.task(task_id, *shown) == ("running", 2, None, None)
        end.set()
        assert bench.ended(task_id) == ("completed",)
