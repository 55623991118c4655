"""Events of tasks, for tests that mind only tasks of their own: they share a database, a server and a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.acceptance.streams import ONE_PROCESS, Client, SseClient, WsClient, heard, insert, ready
from tests.acceptance.support import Gate, Process, Processes, Server

Connection = psycopg.Connection[Any]
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def dsn(shared_dsn: str) -> str:
    return shared_dsn


@pytest.fixture(scope="module")
def server(dsn: str, shared_processes: Processes) -> Server:
    return shared_processes.start_server(dsn, env=ONE_PROCESS)


@pytest.fixture(scope="module")
def worker(dsn: str, server: Server, shared_processes: Processes) -> Iterator[Process]:
    """One that knows that somebody listens to everything: a stream is open as long as it runs."""
    started = ready(shared_processes.start_worker(dsn), shared_processes.wait_until)
    stream = SseClient(server.url)
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            heard(stream, connection)
        yield started
    finally:
        stream.close()


@pytest.mark.parametrize("kind", [WsClient, SseClient])
def test_a_task_that_was_inserted_is_told_of_from_its_submission_to_its_end(
    kind: type[Client], server: Server, worker: Process, connection: Connection, open_stream: Start
) -> None:
    stream = open_stream(kind, server.url)

    task_id = insert(connection, "noop", priority=3)
    completed = stream.wait_for("task.completed", task_id)

    assert stream.types(task_id) == ["task.submitted", "task.started", "task.completed"]
    submitted, started, _ = stream.of(task_id=task_id)
    about = {"task_id": task_id, "type": "noop", "queue": "default", "priority": "critical"}
    assert submitted["data"] == about | {"state": "pending", "attempts": 0}
    worker_id = started["data"]["worker_id"]
    assert started["data"] == about | {"state": "running", "attempts": 1, "worker_id": worker_id}
    duration = completed["data"].pop("duration_ms")
    assert completed["data"] == about | {"state": "completed", "attempts": 1, "worker_id": worker_id}
    assert 0 <= duration < 1000
    assert set(completed) == {"type", "timestamp", "data", "arrived"}
    assert completed["timestamp"].endswith("Z")


def test_order_holds_for_hundreds_of_tasks_of_several_producers(
    server: Server, worker: Process, dsn: str, connection: Connection, open_stream: Start
) -> None:
    stream = open_stream(WsClient, server.url, "?events=task.*")
    with psycopg.connect(dsn) as slow:
        late = insert(slow, "noop")  # has its id first, and commits last
        ids = [insert(connection, "noop") for _ in range(300)]
        stream.wait(lambda: len(stream.of("task.completed")) + len(stream.of("stream.reset")) * 1000 >= 300)
        slow.commit()
        stream.wait_for("task.completed", late)

    assert "stream.reset" not in stream.types()
    for task_id in [*ids, late]:
        assert stream.types(task_id) == ["task.submitted", "task.started", "task.completed"]


def test_order_holds_for_what_operators_do_while_a_worker_waits_for_it(
    server: Server, worker: Process, connection: Connection, open_stream: Start
) -> None:
    stream = open_stream(WsClient, server.url, "?events=task.*")
    retried, cancelled = [], []
    for _ in range(10):
        retried.append(insert(connection, "noop"))
        stream.wait_for("task.completed", retried[-1])
        connection.execute("SELECT taskflow.retry_task(%s)", [retried[-1]])
        cancelled.append(insert(connection, "noop", run_at="2100-01-01T00:00:00Z"))
        stream.wait_for("task.submitted", cancelled[-1])
        connection.execute("SELECT taskflow.cancel(%s)", [cancelled[-1]])
        connection.execute("SELECT taskflow.retry_task(%s, jsonb_build_object('run_at', now()))", [cancelled[-1]])
    stream.wait(lambda: len(stream.of("task.completed")) == 30)
    stream.wait_for("task.submitted", insert(connection, "noop", run_at="2100-01-01T00:00:00Z"))  # a later look

    once = ["task.submitted", "task.started", "task.completed"]
    assert [stream.types(task_id) for task_id in retried] == [once * 2] * 10
    for task_id in cancelled:
        assert stream.types(task_id) in (once, ["task.submitted", "task.cancelled", *once])


def test_a_failing_task_is_told_of_with_each_failure_and_what_comes_of_it(
    server: Server, worker: Process, connection: Connection, open_stream: Start
) -> None:
    connection.execute("UPDATE taskflow.queues SET retry_delay = 0.05, retry_strategy = 'fixed' WHERE name = 'default'")
    stream = open_stream(SseClient, server.url, "?events=task.*")

    task_id = insert(connection, "fail", {"message": "no such thing"}, max_attempts=2)
    dead = stream.wait_for("task.dead_letter", task_id)

    assert stream.types(task_id) == [
        "task.submitted", "task.started", "task.failed", "task.retrying", "task.started", "task.failed",
        "task.dead_letter",
    ]  # fmt: skip
    failed, retrying = stream.of("task.failed", "task.retrying", task_id=task_id)[:2]
    assert (failed["data"]["state"], failed["data"]["attempts"]) == ("retrying", 1)
    assert "no such thing" in failed["data"]["error"]
    assert failed["data"]["duration_ms"] >= 0
    assert retrying["data"]["next_retry_at"].endswith("Z")
    assert (dead["data"]["state"], dead["data"]["attempts"]) == ("dead_letter", 2)


def test_progress_is_told_of(
    server: Server, worker: Process, gate: Gate, connection: Connection, open_stream: Start
) -> None:
    stream = open_stream(WsClient, server.url, "?events=task.progress,task.completed")
    task_id = insert(connection, "progress", gate.payload)

    progress = stream.wait_for("task.progress", task_id)["data"]

    assert (progress["progress"], progress["message"], progress["state"]) == (40, "half way", "running")
    assert progress["worker_id"]


def test_a_client_chooses_by_task_by_queue_and_by_name(
    server: Server, worker: Process, connection: Connection, open_stream: Start
) -> None:
    before = open_stream(WsClient, server.url, "?events=task.submitted")
    wanted = insert(connection, "noop", queue="mail", run_at="2100-01-01T00:00:00Z")
    before.wait_for("task.submitted", wanted)
    of_task = open_stream(SseClient, server.url, f"?task_id={wanted}")
    of_queue = open_stream(SseClient, server.url, "?queue=mail&events=task.*")
    by_name = open_stream(WsClient, server.url, "?events=task.completed,worker.*")
    other = insert(connection, "noop", queue="other")
    by_name.wait_for("task.completed", other)

    connection.execute("UPDATE taskflow.tasks SET run_at = now() WHERE id = %s", [wanted])
    connection.execute("SELECT taskflow.ring(ARRAY['mail'])")
    for stream in (of_task, of_queue, by_name):
        stream.wait_for("task.completed", wanted)

    assert set(of_task.types()) == {"task.started", "task.completed"}
    assert {message["data"]["task_id"] for message in of_queue.messages} == {wanted}
    assert set(by_name.types()) == {"task.completed"}


def test_over_the_websocket_a_client_subscribes_and_unsubscribes(
    server: Server, worker: Process, connection: Connection, open_stream: Start
) -> None:
    stream = open_stream(WsClient, server.url)
    stream.say(action="subscribe", events=["task.completed"])
    assert stream.wait_for("stream.subscribed")["data"] == {"events": ["task.completed"]}
    before = len(stream.messages)
    first = insert(connection, "noop")
    stream.wait_for("task.completed", first)
    assert {message["type"] for message in stream.messages[before:]} == {"task.completed"}

    stream.say(action="subscribe", event_types=["task.started"])
    stream.wait(lambda: len(stream.of("stream.subscribed")) == 2)
    stream.say(action="unsubscribe", events=["task.completed"])
    stream.wait(lambda: len(stream.of("stream.subscribed")) == 3)
    second = insert(connection, "noop")
    stream.wait_for("task.started", second)
    stream.say(action="subscribe", events=["task.exploded"])

    error = stream.wait_for("stream.error")["data"]
    assert error["code"] == "invalid_request"
    assert "task.exploded" in error["detail"]
    assert stream.of("task.completed", task_id=second) == []


def test_an_unknown_last_event_id_is_answered_with_a_reset(server: Server, open_stream: Start) -> None:
    stream = open_stream(SseClient, server.url, headers={"Last-Event-ID": "1-2-3"})

    assert "Last-Event-ID" in stream.wait_for("stream.reset")["data"]["reason"]


def test_a_bulk_that_is_too_large_to_be_told_of_singly_is_announced_by_a_reset(
    server: Server, connection: Connection, open_stream: Start
) -> None:
    stream = open_stream(SseClient, server.url, "?events=task.*")

    connection.execute("INSERT INTO taskflow.tasks (type) SELECT 'nobody_knows' FROM generate_series(1, 20000)")
    stream.wait_for("stream.reset")
    task_id = insert(connection, "nobody_knows")

    stream.wait_for("task.submitted", task_id)
    assert len(stream.messages) < 5000


def test_an_oversized_frame_ends_the_socket_and_nothing_else(
    server: Server, worker: Process, connection: Connection, open_stream: Start
) -> None:
    healthy, attacker = open_stream(WsClient, server.url), open_stream(WsClient, server.url)

    with suppress(ConnectionClosed):
        attacker.socket.send("x" * 10_000_000)
    assert attacker.ended.wait(10)

    assert attacker.code in (1009, 1006)  # too big; or gone before that could be read
    healthy.wait_for("task.completed", insert(connection, "noop"))


def test_a_plain_request_for_the_websocket_is_refused(server: Server) -> None:
    response = httpx.get(f"{server.url}/ws")

    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"


def test_another_page_cannot_open_a_socket_on_this_machine(server: Server) -> None:
    with pytest.raises(InvalidStatus) as refused:
        WsClient(server.url, headers={"Origin": "https://evil.example"})

    assert refused.value.response.status_code == 403


def test_what_operators_do_is_told_of_whoever_does_it(
    server: Server, connection: Connection, open_stream: Start
) -> None:
    stream = open_stream(WsClient, server.url, "?events=task.*")
    later = insert(connection, "noop", run_at="2100-01-01T00:00:00Z")
    assert stream.wait_for("task.submitted", later)["data"]["state"] == "scheduled"
    assert stream.of("task.submitted", task_id=later)[0]["data"]["scheduled_at"] == "2100-01-01T00:00:00Z"

    connection.execute("SELECT taskflow.cancel(%s)", [later])
    assert stream.wait_for("task.cancelled", later)["data"]["state"] == "cancelled"
    response = httpx.post(f"{server.url}/api/v1/tasks/{later}/retry", json={})
    assert response.status_code == 200

    stream.wait(lambda: len(stream.of("task.submitted", task_id=later)) == 2)
    assert stream.of("task.submitted", task_id=later)[1]["data"]["state"] == "pending"
