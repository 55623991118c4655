"""What follows the commit of `context.transaction()`: keys, places of a queue, metrics and events."""

from __future__ import annotations

import json
import threading
from typing import Any
from uuid import uuid4

from taskflow import Context
from taskflow.store import events
from taskflow.worker.metrics import WorkerMetrics
from tests.worker.blocks import declare, nothing
from tests.worker.conftest import Bench


def test_a_key_is_given_back_with_the_commit_not_with_the_handlers_end(bench: Bench, effects: Any) -> None:
    free = threading.Event()

    def after(context: Context) -> None:
        free.wait(20)

    declare(bench, nothing, after)
    ids = [bench.enqueue("book", concurrency_key="account-7") for _ in range(3)]
    told: list[int] = []
    with bench.worker() as worker:
        keys_released = worker._completer.keys_released
        worker._completer.keys_released = lambda: told.append(len(effects())) or keys_released()
        bench.wait(lambda: len(effects()) == 3)
        free.set()
    assert len(told) == 2, "the worker looks for the next one after each commit but the last"
    assert effects() == [(task_id, 1) for task_id in ids]
    overlaps = bench.connection.execute(
        "SELECT count(*) FROM taskflow.executions a JOIN taskflow.executions b ON a.task_id < b.task_id"
        " AND a.finished_at > b.started_at"
    ).fetchone()
    assert overlaps == (0,)


def test_a_queue_with_max_workers_goes_on_after_each_commit(bench: Bench, effects: Any) -> None:
    declare(bench, nothing)
    bench.connection.execute("INSERT INTO taskflow.queues (name, max_workers) VALUES ('narrow', 1)")
    told: list[frozenset[str]] = []
    with bench.worker(poll_interval=30.0) as worker:
        room_made = worker._completer.room_made
        worker._completer.room_made = lambda queues: told.append(queues) or room_made(queues)
        bench.wait(lambda: worker._completer.limited_queues)
        ids = [bench.enqueue("book", queue="narrow") for _ in range(10)]
        for task_id in ids:
            assert bench.ended(task_id) == ("completed",)
    assert effects() == [(task_id, 1) for task_id in ids]
    assert told == [frozenset({"narrow"})] * 10, "each commit makes room, at once"


def test_everything_else_goes_on_as_after_any_end(bench: Bench, effects: Any) -> None:
    """Metrics and events have it once, as a success; nothing is said of it afterwards."""
    metrics = WorkerMetrics()
    declare(bench, nothing, lambda context: context.progress(99, "late"))
    events.listen(bench.connection, uuid4(), ["task.completed", "task.failed", "task.progress"], 60.0)
    with bench.worker() as worker:
        worker.count_in(metrics)
        bench.wait(lambda: worker._completer.events.wanted)
        ids = [bench.enqueue("book") for _ in range(20)]
        for task_id in ids:
            bench.ended(task_id)
    counts = {
        sample.labels["status"]: sample.value
        for family in metrics.collect()
        if family.name == "taskflow_worker_tasks"
        for sample in family.samples
        if sample.name.endswith("_total") and sample.value
    }
    assert counts == {"succeeded": 20}
    assert len(effects()) == 20
    rows = bench.connection.execute("SELECT body FROM taskflow.event_batches ORDER BY id").fetchall()
    told = [event for (body,) in rows for event in json.loads(body)["events"]]
    assert {event["type"] for event in told} == {"task.completed"}
    assert sorted(int(event["data"]["task_id"]) for event in told) == ids
