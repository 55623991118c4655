"""A worker tells of its tasks only while somebody listens, never without measure, and says what it has left out."""

from __future__ import annotations

import json
import time
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest

from taskflow.store import events
from taskflow.tasks.task import ClaimedTask
from taskflow.worker import events as publishing
from taskflow.worker.attempt import Attempt, InFlight
from taskflow.worker.events import EventPublisher
from taskflow.worker.pace import Pace
from taskflow.worker.slots import Slots

Connection = psycopg.Connection[Any]


@pytest.fixture
def slots() -> Slots:
    return Slots(1, InFlight(), SimpleQueue(), Pace(1, 0.0, 0), lambda attempt: True)


@pytest.fixture
def publisher(slots: Slots) -> EventPublisher:
    made = EventPublisher(lambda: None)
    made.watch(slots)
    slots.last_start = 0.0
    return made


def attempt() -> Attempt:
    task = cast(ClaimedTask, SimpleNamespace(id=1, type="x", queue="q", priority=1, attempt=1, losses=0))
    return Attempt(task, cast(Any, None), 7, time.monotonic(), 60.0, cast(Any, None))


def bodies(connection: Connection) -> list[dict[str, Any]]:
    rows = connection.execute("SELECT body FROM taskflow.event_batches ORDER BY id").fetchall()
    return [json.loads(body) for (body,) in rows]


def test_nothing_is_gathered_while_nobody_listens(
    publisher: EventPublisher, slots: Slots, connection: Connection
) -> None:
    publisher.ask(connection)

    assert slots.tell_start is None
    assert publisher.wanted == frozenset()
    assert publisher.due_in_seconds == float("inf")


def test_only_what_somebody_wants_is_gathered(publisher: EventPublisher, slots: Slots, connection: Connection) -> None:
    events.listen(connection, uuid4(), ["task.failed"], 60)
    publisher.ask(connection)
    assert slots.tell_start is None

    events.listen(connection, uuid4(), ["task.started"], 60)
    publisher.ask(connection)
    slots.start(attempt())
    publisher.flush(connection)

    (body,) = bodies(connection)
    assert [event["type"] for event in body["events"]] == ["task.started"]
    assert not body["lost"]


def test_what_happened_before_the_worker_knew_that_somebody_listens_is_said_to_be_lost(
    publisher: EventPublisher, slots: Slots, connection: Connection
) -> None:
    events.listen(connection, uuid4(), events.NAMES, 60)
    slots.last_start = time.monotonic()  # a task has begun since, and nobody told of it
    publisher.ask(connection)
    publisher.flush(connection)

    assert [(body["lost"], body["events"]) for body in bodies(connection)] == [(True, [])]


def test_a_worker_that_does_too_much_falls_silent_and_says_so(
    publisher: EventPublisher, slots: Slots, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "SILENCE_SECONDS", 0.0)
    events.listen(connection, uuid4(), events.NAMES, 60)
    publisher.ask(connection)
    for _ in range(publishing.BURST + 1):
        slots.start(attempt())
    assert slots.tell_start is None  # from now on a start costs what it costs while nobody listens
    slots.start(attempt())

    publisher.flush(connection)

    (body,) = bodies(connection)
    assert (len(body["events"]), body["lost"]) == (publishing.BURST, True)
    assert slots.tell_start is not None


def test_a_worker_that_learns_no_more_who_listens_falls_silent_by_itself(
    publisher: EventPublisher, slots: Slots, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "WANTED_SECONDS", 0.0)
    events.listen(connection, uuid4(), events.NAMES, 60)
    publisher.ask(connection)
    slots.start(attempt())

    publisher.flush(connection)

    assert slots.tell_start is None
    assert bodies(connection) == []


def test_a_missing_right_silences_the_events_and_nothing_else(publisher: EventPublisher, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET ROLE taskflow_producer")
        publisher.ask(connection)
        publisher.ask(connection)

        assert publisher.wanted == frozenset()
        assert connection.execute("SELECT 1").fetchone() == (1,)
