"""The parts of which streams are made: what fits together, what is missed, and what is said about it."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from taskflow.store import events
from taskflow.store.connection import connect
from taskflow.web.access.redaction import Redaction
from taskflow.web.events.event import Event, Parcel
from taskflow.web.events.order import InOrder
from taskflow.web.events.ring import Ring
from taskflow.web.events.selection import EVERYTHING, Selection, UnknownEvent, names_of
from taskflow.web.events.stream import MAX_EVENTS, Stream
from taskflow.web.events.watcher import MAX_FOUND, Watcher
from taskflow.web.events.workers import WorkerBook
from tests.web.conftest import Engine


def task_event(number: int = 1, name: str = "task.completed", queue: str = "default", **data: Any) -> Event:
    return Event(name, {"task_id": str(number), "queue": queue, **data}, id=f"e{number}")


def told(parcel: Parcel | None) -> list[dict[str, Any]]:
    return [] if parcel is None else [json.loads(text) for _, text in parcel.messages]


# The ring


def test_a_ring_knows_what_came_after_an_event_until_it_has_forgotten_it() -> None:
    ring = Ring(size=3)
    ring.add([task_event(number) for number in range(1, 6)])

    assert [event.id for event in ring.since("e3") or []] == ["e4", "e5"]
    assert ring.since("e5") == []
    assert ring.since("e2") is None
    assert ring.since("another") is None


def test_a_ring_that_was_cleared_for_a_hole_bridges_nothing() -> None:
    ring = Ring()
    ring.add([task_event(1)])
    ring.clear()
    ring.add([task_event(2)])

    assert ring.since("e1") is None
    assert ring.since("e2") == []


# The mailbox of a client


def test_a_slow_client_is_told_that_it_has_missed_something_and_goes_on_from_there() -> None:
    stream = Stream(Selection())
    try:
        for number in range(MAX_EVENTS):
            assert stream.put(Parcel([(str(number), b"{}")]))
        assert not stream.put(Parcel([("one too many", b"{}")]))
        assert stream.put(Parcel([("after", b'{"type": "after"}')]))

        messages = [message for parcel in stream.take() for message in told(parcel)]
        assert [message["type"] for message in messages] == ["stream.reset", "after"]
        assert stream.take() == []
    finally:
        stream.close()


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_are_those_of_rfc_6455(size: int) -> None:
    from websockets.client import ClientProtocol
    from websockets.frames import Frame
    from websockets.protocol import State
    from websockets.uri import parse_uri

    client = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN)
    client.receive_data(Parcel([(None, b"x" * size), (None, b"y")]).frames)

    frames = [frame for frame in client.events_received() if isinstance(frame, Frame)]
    assert [bytes(frame.data) for frame in frames] == [b"x" * size, b"y"]


# What a stream gets


def test_patterns_stand_for_names_and_others_are_refused() -> None:
    assert names_of(["worker.*", "task.failed"]) == {*events.WORKER_EVENTS, "task.failed"}
    assert names_of(["*"]) == EVERYTHING
    for wrong in ("task", "task.exploded", "tas*", ".*", "", "stream.reset"):
        with pytest.raises(UnknownEvent):
            names_of([wrong])


def test_a_key_that_is_limited_to_queues_gets_no_event_of_others() -> None:
    limited = Selection(allowed=frozenset({"mail"}))
    both = Event("worker.joined", {"worker_id": "1"}, queues=["mail", "other"])
    foreign = Event("worker.joined", {"worker_id": "2"}, queues=["other"])
    every = Event("worker.joined", {"worker_id": "3"}, queues=None)

    shown = told(limited.pick([task_event(1, queue="mail"), task_event(2, queue="other"), both, foreign, every]))

    assert [message["data"].get("task_id") or message["data"]["worker_id"] for message in shown] == ["1", "1", "3"]


def test_secrets_are_hidden_from_who_may_not_see_them() -> None:
    event = task_event(1, token="abc", error="no")

    assert told(Selection(redaction=Redaction(["token"])).pick([event]))[0]["data"]["token"] == "[redacted]"
    assert told(Selection().pick([event]))[0]["data"]["token"] == "abc"


# The order of what is told about a task


def raw(name: str, task_id: int, attempts: int) -> dict[str, Any]:
    state = {"task.submitted": "pending", "task.started": "running"}.get(name, name.removeprefix("task."))
    data = {"task_id": str(task_id), "type": "x", "queue": "q", "priority": "normal"}
    data |= {"state": state, "attempts": attempts}
    return {"type": name, "timestamp": "2030-01-01T00:00:00Z", "data": data}


def test_a_task_is_submitted_once_and_before_it_starts_whoever_tells_first() -> None:
    order = InOrder(10)

    early = [event["type"] for _, event in order.arrange([raw("task.started", 11, 1), raw("task.completed", 11, 1)])]
    late = list(order.arrange([raw("task.submitted", 11, 0), raw("task.submitted", 12, 0)]))
    order.advance(12, [])
    known = [event["type"] for _, event in order.arrange([raw("task.started", 12, 1), raw("task.started", 3, 1)])]

    assert early == ["task.submitted", "task.started", "task.completed"]
    assert [event["data"]["task_id"] for _, event in late] == ["12"]
    assert known == ["task.started", "task.started"]  # 3 was there before anybody listened


def test_what_commits_late_is_submitted_before_it_starts_as_well() -> None:
    order = InOrder(10)
    order.advance(15, [(12, 13)])

    found = [event["type"] for _, event in order.arrange([raw("task.started", 12, 1), raw("task.started", 14, 1)])]

    assert found == ["task.submitted", "task.started", "task.started"]


@pytest.mark.parametrize("end", ["task.completed", "task.cancelled", "task.dead_letter", "task.failed"])
def test_a_task_that_is_retried_is_submitted_before_it_starts_again(end: str) -> None:
    order = InOrder(10)
    first = [raw("task.started", 5, 1), raw(end, 5, 1)]

    told = [*order.arrange(first), *order.arrange([raw("task.started", 5, 2), raw("task.submitted", 5, 1)])]
    told += order.arrange([raw("task.completed", 5, 2), raw("task.submitted", 5, 2), raw("task.started", 5, 3)])

    assert [(event["type"], event["data"]["attempts"]) for _, event in told] == [
        ("task.started", 1), (end, 1), ("task.submitted", 1), ("task.started", 2), ("task.completed", 2),
        ("task.submitted", 2), ("task.started", 3),
    ]  # fmt: skip
    assert len({place for place, _ in order.arrange([raw(end, 5, 3), raw("task.started", 5, 4)])}) == 3


def test_what_was_before_an_attempt_that_was_told_of_is_passed_over_but_for_failures() -> None:
    order = InOrder(10)
    list(order.arrange([raw("task.started", 5, 1)]))

    late = [raw("task.cancelled", 5, 0), raw("task.submitted", 5, 0), raw("task.submitted", 6, 0)]
    list(order.arrange([raw("task.started", 5, 2)]))
    lost = [raw("task.failed", 5, 1), raw("task.retrying", 5, 1), raw("task.completed", 5, 2)]

    assert [event["data"]["task_id"] for _, event in order.arrange(late)] == ["6"]
    assert [event["type"] for _, event in order.arrange(lost)] == ["task.failed", "task.completed"]


def test_a_retry_by_the_worker_is_no_submission() -> None:
    order = InOrder(10)

    told = list(order.arrange([raw("task.retrying", 5, 1), raw("task.started", 5, 2), raw("worker.joined", 5, 0)]))

    assert [event["type"] for _, event in told] == ["task.retrying", "task.started", "worker.joined"]


# Watching for new tasks


class Published:
    """What a watcher has published, read as everybody reads it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.last = 0

    def __call__(self) -> list[dict[str, Any]]:
        rows = self.connection.execute(
            "SELECT id, body FROM taskflow.event_batches WHERE id > %s ORDER BY id", [self.last]
        ).fetchall()
        self.last = rows[-1][0] if rows else self.last
        return [json.loads(body) for _, body in rows]

    def ids(self) -> list[int]:
        return [int(event["data"]["task_id"]) for body in self() for event in body["events"]]


@pytest.fixture
def watched(dsn: str, connection: psycopg.Connection[Any]) -> Any:
    from uuid import uuid4

    with connect(dsn, name="test") as own:
        _, last = events.listen(own, uuid4(), events.NAMES, 60)
        watcher = Watcher(last, [], WorkerBook(own))
        published = Published(connection)
        yield lambda: (watcher.look(own), published())[1]


def insert(connection: psycopg.Connection[Any], count: int = 1) -> list[int]:
    rows = connection.execute(
        "INSERT INTO taskflow.tasks (type) SELECT 'x' FROM generate_series(1, %s) RETURNING id", [count]
    ).fetchall()
    return [row[0] for row in rows]


def ids_of(bodies: list[dict[str, Any]]) -> list[int]:
    return [int(event["data"]["task_id"]) for body in bodies for event in body["events"]]


def test_every_new_task_is_found_once_also_those_that_commit_late(
    watched: Any, dsn: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.web.events.watcher.GAP_SECONDS", 0.0)
    with psycopg.connect(dsn) as slow, psycopg.connect(dsn) as undone:
        late, lost = insert(slow, 3), insert(undone, 2)
        early = insert(connection, 2)
        bodies = watched()
        assert ids_of(bodies) == early
        assert bodies[-1]["gaps"] == [[late[0], lost[-1]]]
        assert ids_of(watched()) == []
        undone.rollback()
        assert ids_of(watched()) == []
        slow.commit()
        assert ids_of(watched()) == late
    more = insert(connection)
    watched_now = watched()
    assert ids_of(watched_now) == more
    insert(connection)
    assert watched()[-1]["gaps"] == []  # what was rolled back is waited for no more


def test_more_new_tasks_than_can_be_told_of_are_announced_as_lost(
    watched: Any, connection: psycopg.Connection[Any]
) -> None:
    insert(connection, MAX_FOUND + 1)

    (body,) = watched()
    assert (body["lost"], body["events"]) == (True, [])
    after = insert(connection)
    assert ids_of(watched()) == after


def test_a_task_that_has_ended_before_it_was_found_is_told_of(
    watched: Any, connection: psycopg.Connection[Any]
) -> None:
    (task_id,) = insert(connection)
    connection.execute("SELECT taskflow.cancel(%s)", [task_id])

    (body,) = watched()

    assert [event["type"] for event in body["events"]] == ["task.submitted", "task.cancelled"]
    assert [event["data"]["state"] for event in body["events"]] == ["pending", "cancelled"]


def test_a_scheduled_task_that_has_ended_before_it_was_found_was_scheduled(
    watched: Any, connection: psycopg.Connection[Any]
) -> None:
    row = connection.execute(
        "INSERT INTO taskflow.tasks (type, run_at) VALUES ('x', '2100-01-01Z') RETURNING id"
    ).fetchone()
    connection.execute("SELECT taskflow.cancel(%s)", row)

    (body,) = watched()

    submitted, cancelled = (event["data"] for event in body["events"])
    assert (submitted["state"], submitted["scheduled_at"]) == ("scheduled", "2100-01-01T00:00:00Z")
    assert cancelled["state"] == "cancelled"


def test_a_new_task_has_had_no_attempt_and_one_that_is_retried_keeps_its_own(
    watched: Any, connection: psycopg.Connection[Any], engine: Engine
) -> None:
    (task_id,) = insert(connection)
    engine.run("failed", type_="x", final=True)
    (created,) = (event["data"] for event in watched()[0]["events"])
    connection.execute("SELECT taskflow.retry_task(%s)", [task_id])
    (retried,) = (event["data"] for event in watched()[0]["events"])

    assert (created["state"], created["attempts"]) == ("pending", 0)
    assert (retried["state"], retried["attempts"]) == ("pending", 1)


def test_a_waiting_task_that_is_removed_was_cancelled(watched: Any, connection: psycopg.Connection[Any]) -> None:
    (task_id,) = insert(connection)
    watched()
    connection.execute("SELECT taskflow.remove_task(%s, true)", [task_id])

    (body,) = watched()

    assert [(event["type"], event["data"]["queue"]) for event in body["events"]] == [("task.cancelled", "default")]


# Who listens


def test_a_listener_is_forgotten_when_its_time_is_up(connection: psycopg.Connection[Any]) -> None:
    from uuid import uuid4

    assert events.wanted(connection) == {}
    assert not events.publish(connection, [])
    events.listen(connection, uuid4(), ["task.failed"], 0.05)
    assert set(events.wanted(connection)) == {"task.failed"}
    connection.execute("SELECT pg_sleep(0.06)")
    assert events.wanted(connection) == {}
    assert not events.publish(connection, [])
    assert connection.execute("SELECT count(*) FROM taskflow.event_batches").fetchone() == (0,)
