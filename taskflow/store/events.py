"""Events: their names, who wants them, and how batches of them travel. Told in docs/events.md.

Batches go through a table that only workers and servers can read; the notification merely says which to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import psycopg

from taskflow.store.arrays import numbers, texts
from taskflow.store.resources import query
from taskflow.tasks.task import PRIORITY_NAMES, ClaimedTask

Connection = psycopg.Connection[tuple[Any, ...]]

CHANNEL = "taskflow_events"
MAX_TEXT = 2_000

TASK_EVENTS = (
    "task.submitted",
    "task.started",
    "task.progress",
    "task.completed",
    "task.failed",
    "task.retrying",
    "task.dead_letter",
    "task.cancelled",
)
WORKER_EVENTS = ("worker.joined", "worker.left", "worker.paused", "worker.resumed")
FIGURES = ("queue.depth", "system.metrics")
NAMES = (*TASK_EVENTS, *WORKER_EVENTS, *FIGURES)

# 'TASK' as for the bells; of them none has a negative number but -1.
WATCHER_LOCK = (1413567307, -2)


class Batch(NamedTuple):
    """What one publisher has published at once, as JSON."""

    id: int
    at: datetime
    body: str


class Observed(NamedTuple):
    """What happened to a task without a worker; `event` None: it was created."""

    event: str | None
    id: int
    type: str
    queue: str
    priority: int
    state: str
    attempt: int
    worker_id: int | None
    run_at: datetime
    error: str | None
    at: datetime


def task_data(task: ClaimedTask | Observed, state: str) -> dict[str, Any]:
    """What every event of a task tells of it."""
    return {
        "task_id": str(task.id),
        "type": task.type,
        "queue": task.queue,
        "priority": PRIORITY_NAMES[task.priority],
        "state": state,
        "attempts": task.attempt,
    }


def event_text(text: str | None) -> str | None:
    """A text that has a form in JSON, and is not much longer than somebody reads."""
    return None if text is None else text[:MAX_TEXT].encode("utf-8", "replace").decode()


def wanted(connection: Connection) -> dict[str, float]:
    """The events that somebody listens for, with the seconds since when."""
    return dict(connection.execute(query("events_wanted")).fetchall())


def publish(connection: Connection, events: Sequence[Any], **more: Any) -> bool:
    """Publish events, and what else readers should know of the batch. False: nobody listens any more."""
    body = orjson.dumps({"events": events, **more}, option=orjson.OPT_UTC_Z, default=str)
    # jsonb is not asked to look at it, but text holds neither U+0000 nor half a surrogate pair.
    row = connection.execute(query("publish_events"), (body.decode(),)).fetchone()
    return bool(row and row[0])


def listen(connection: Connection, listener: UUID, names: Iterable[str], seconds: float) -> tuple[int, int]:
    """Want these events for so many seconds; returns how many others listen, and the last task id given out."""
    row = connection.execute(query("listen_for_events"), (listener, texts(sorted(names)), seconds)).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def stop_listening(connection: Connection, listener: UUID) -> None:
    """Want none any more."""
    connection.execute(query("stop_listening_for_events"), (listener,))


def read(connection: Connection, ids: Sequence[int]) -> list[Batch]:
    """The batches with these ids, in this order."""
    return list(map(Batch._make, connection.execute(query("read_event_batches"), (numbers(ids),)).fetchall()))


def observe(connection: Connection, ranges: Sequence[tuple[int, int]], limit: int) -> list[Observed]:
    """Tasks created with an id in one of the ranges, and whatever else happened to tasks without a worker."""
    parameters = (numbers([low for low, _ in ranges]), numbers([high for _, high in ranges]), limit)
    return list(map(Observed._make, connection.execute(query("observe_tasks"), parameters).fetchall()))


def become_watcher(connection: Connection) -> bool:
    """Whether this session is the one that watches for what no worker tells of, as long as it lasts."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", WATCHER_LOCK).fetchone()
    return bool(row and row[0])
