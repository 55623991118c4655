"""Events: real web servers, real workers, real streams."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import psycopg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.acceptance.streams import Client, SseClient, WsClient
from tests.acceptance.support import Gate, Process, Server

Connection = psycopg.Connection[Any]
Start = Callable[..., Any]
NO_PROXY = {"WEB_CONCURRENCY": "1"}


@pytest.fixture
def open_stream() -> Iterator[Callable[..., Any]]:
    """`open_stream(WsClient, url, query)`, closed at the end."""
    opened: list[Client] = []

    def make(kind: type[Client], *args: Any, **more: Any) -> Any:
        opened.append(kind(*args, **more))
        return opened[-1]

    yield make
    for client in opened:
        client.close()  # type: ignore[attr-defined]


@pytest.fixture
def server(dsn: str, start_server: Start) -> Server:
    return start_server(dsn, env=NO_PROXY)


@pytest.fixture
def worker(dsn: str, start_worker: Start, wait_until: Start) -> Process:
    started = start_worker(dsn)
    wait_until(lambda: any(event["event"] == "worker_ready" for event in started.events()))
    return started


def insert(connection: Connection, type_: str, payload: dict[str, Any] | None = None, **columns: Any) -> str:
    """Create a task as any program may: with a plain INSERT."""
    names = ", ".join(["type", "payload", *columns])
    places = ", ".join(["%s"] * (2 + len(columns)))
    row = connection.execute(
        f"INSERT INTO taskflow.tasks ({names}) VALUES ({places}) RETURNING id",
        [type_, json.dumps(payload or {}), *columns.values()],
    ).fetchone()
    assert row is not None
    return str(row[0])


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


def test_a_worker_that_is_killed_leaves_and_its_task_is_told_of(
    server: Server, dsn: str, start_worker: Start, gate: Gate, connection: Connection, open_stream: Start
) -> None:
    stream = open_stream(SseClient, server.url)
    quick = {"TASKFLOW_HEARTBEAT_INTERVAL": "0.2", "TASKFLOW_HEARTBEAT_TIMEOUT": "1.5"}
    victim = start_worker(dsn, env=quick)
    joined = stream.wait_for("worker.joined")["data"]
    assert joined | {"worker_id": ""} == {"worker_id": "", "state": "idle", "active_tasks": 0, "concurrency": 10}
    task_id = insert(connection, "blocking", gate.payload)
    assert stream.wait_for("task.started", task_id)["data"]["worker_id"] == joined["worker_id"]
    stream.wait(lambda: gate.arrivals())
    stream.wait(lambda: connection.execute("SELECT started_at FROM taskflow.tasks_live").fetchone() != (None,))

    victim.kill()
    start_worker(dsn, env=quick)

    lost = stream.wait_for("task.failed", task_id)["data"]
    assert "was lost" in lost["error"]
    assert stream.wait_for("task.retrying", task_id)["data"]["state"] in ("retrying", "pending")
    left = stream.wait_for("worker.left")["data"]
    assert left["worker_id"] == joined["worker_id"]


def test_pausing_a_worker_is_told_of(server: Server, worker: Process, open_stream: Start) -> None:
    stream = open_stream(WsClient, server.url, "?events=worker.*")
    (found,) = httpx.get(f"{server.url}/api/v1/workers").json()["workers"]

    httpx.post(f"{server.url}/api/v1/workers/{found['id']}/pause").raise_for_status()
    assert stream.wait_for("worker.paused")["data"]["worker_id"] == found["id"]
    httpx.post(f"{server.url}/api/v1/workers/{found['id']}/resume").raise_for_status()
    assert stream.wait_for("worker.resumed")["data"]["state"] in ("idle", "busy")


def test_depths_and_metrics_come_by_themselves(server: Server, connection: Connection, open_stream: Start) -> None:
    for queue in ("mail", "mail", "default"):
        insert(connection, "nobody_knows", queue=queue)
    stream = open_stream(SseClient, server.url, "?events=queue.depth,system.metrics")

    stream.wait(lambda: len(stream.of("queue.depth")) >= 2)

    assert stream.of("queue.depth")[0]["data"] == {"depths": {"mail": 2, "default": 1}}
    metrics = stream.wait_for("system.metrics")["data"]
    assert (metrics["pending"], metrics["running"], metrics["workers"]) == (3, 0, 0)
    assert stream.ids == []  # nobody goes on from a figure


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
    wanted = insert(connection, "noop", queue="mail", run_at="2100-01-01T00:00:00Z")
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


@pytest.mark.parametrize("kind", [WsClient, SseClient])
def test_sigterm_ends_streams_at_once(kind: type[Client], server: Server, open_stream: Start) -> None:
    streams = [open_stream(kind, server.url) for _ in range(8)]
    began = time.monotonic()

    assert server.stop() == 0

    assert time.monotonic() - began < 4
    for stream in streams:
        assert stream.ended.wait(1)
    if kind is WsClient:
        assert {(stream.code, stream.reason) for stream in streams} == {(1012, "the server is shutting down")}


def test_more_streams_than_allowed_are_refused_and_requests_are_served_all_the_same(
    dsn: str, start_server: Start, open_stream: Start
) -> None:
    server = start_server(dsn, env={"WEB_CONCURRENCY": "1", "TASKFLOW_MAX_STREAMS": "64", "TASKFLOW_WEB_THREADS": "16"})
    streams = [open_stream((SseClient, WsClient)[number % 2], server.url) for number in range(64)]

    refused = httpx.get(f"{server.url}/api/v1/events")
    with pytest.raises(InvalidStatus) as of_socket:
        open_stream(WsClient, server.url)
    times = []
    with httpx.Client() as client:
        for _ in range(50):
            began = time.monotonic()
            assert client.get(f"{server.url}/api/v1/tasks/1").status_code == 404
            times.append(time.monotonic() - began)

    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")
    assert refused.headers["retry-after"]
    assert of_socket.value.response.status_code == 503
    assert sorted(times)[45] < 0.25
    assert "taskflow_streams 64.0" in httpx.get(f"{server.url}/metrics").text
    streams[0].close()  # its place is free when its thread has noticed
    end = time.monotonic() + 10
    while "taskflow_streams 63.0" not in httpx.get(f"{server.url}/metrics").text:
        assert time.monotonic() < end
    open_stream(SseClient, server.url)


def test_a_stream_ends_when_its_time_is_up_and_the_client_goes_on_where_it_was(
    dsn: str, start_server: Start, worker: Process, connection: Connection, open_stream: Start
) -> None:
    server = start_server(dsn, env={"WEB_CONCURRENCY": "1", "TASKFLOW_STREAM_SECONDS": "3"})
    first = open_stream(SseClient, server.url, "?events=task.*")
    seen = insert(connection, "noop")
    first.wait_for("task.completed", seen)
    assert first.ended.wait(10)
    missed = [insert(connection, "noop") for _ in range(5)]
    after = open_stream(SseClient, server.url, "?events=task.completed")  # so that we know when they are told of
    end = time.monotonic() + 10
    while connection.execute("SELECT count(*) FROM taskflow.tasks_completed").fetchone() != (6,):
        assert time.monotonic() < end
    marker = insert(connection, "noop")
    after.wait_for("task.completed", marker)

    again = open_stream(SseClient, server.url, "?events=task.*", headers={"Last-Event-ID": first.ids[-1]})
    again.wait_for("task.completed", marker)

    assert "stream.reset" not in again.types()
    assert again.of(task_id=seen) == []
    for task_id in missed:
        assert again.types(task_id) == ["task.submitted", "task.started", "task.completed"]


def test_an_unknown_last_event_id_is_answered_with_a_reset(server: Server, open_stream: Start) -> None:
    stream = open_stream(SseClient, server.url, headers={"Last-Event-ID": "1-2-3"})

    assert "Last-Event-ID" in stream.wait_for("stream.reset")["data"]["reason"]


def test_every_web_process_has_the_same_events(
    dsn: str, start_server: Start, worker: Process, connection: Connection, open_stream: Start
) -> None:
    servers = [start_server(dsn, env=NO_PROXY) for _ in range(2)]
    streams = [open_stream(SseClient, server.url, "?events=task.*") for server in servers]

    ids = [insert(connection, "noop") for _ in range(30)]
    for stream in streams:
        stream.wait(lambda: len(stream.of("task.completed")) == len(ids))  # noqa: B023
    servers[0].stop()  # one of them watched for new tasks: the other one does now
    more = [insert(connection, "noop") for _ in range(30)]
    streams[1].wait(lambda: len(streams[1].of("task.completed")) == 60)

    assert streams[0].ids == streams[1].ids[: len(streams[0].ids)]
    for task_id in [*ids, *more]:
        assert streams[1].types(task_id) == ["task.submitted", "task.started", "task.completed"]


def test_nothing_is_published_while_nobody_listens_and_for_long_after_nobody_does(
    dsn: str, server: Server, worker: Process, connection: Connection, open_stream: Start, wait_until: Start
) -> None:
    insert(connection, "noop")
    wait_until(lambda: connection.execute("SELECT count(*) FROM taskflow.tasks_completed").fetchone() == (1,))
    later = insert(connection, "noop", run_at="2100-01-01T00:00:00Z")
    connection.execute("SELECT taskflow.cancel(%s)", [later])
    assert connection.execute("SELECT count(*) FROM taskflow.event_batches").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM taskflow.event_outbox").fetchone() == (0,)

    stream = open_stream(WsClient, server.url)
    stream.wait_for("task.completed", insert(connection, "noop"))
    server.kill()  # without a word: who listened is forgotten when its time is up
    connection.execute("UPDATE taskflow.event_listeners SET until = now()")
    connection.execute("TRUNCATE taskflow.event_batches")
    for number in range(3, 6):
        insert(connection, "noop")
        wait_until(lambda: connection.execute("SELECT count(*) FROM taskflow.tasks_completed").fetchone() == (number,))  # noqa: B023
    assert connection.execute("SELECT count(*) FROM taskflow.event_batches").fetchone() == (0,)


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


ADMIN = {"Authorization": "Bearer admin-key-of-these-tests-which-is-long"}


@pytest.fixture
def guarded(dsn: str, start_server: Start) -> Server:
    """A server that asks for keys, with two processes."""
    key = ADMIN["Authorization"].removeprefix("Bearer ")
    return start_server(dsn, env={"WEB_CONCURRENCY": "2", "TASKFLOW_AUTH": "on", "TASKFLOW_ADMIN_KEY": key})


def make_key(server: Server, **fields: Any) -> tuple[str, dict[str, str]]:
    """Make a key; returns its id, and the header that shows it."""
    response = httpx.post(f"{server.url}/api/v1/keys", json={"name": "test", **fields}, headers=ADMIN)
    assert response.status_code == 201, response.text
    header = {"Authorization": f"Bearer {response.json()['key']}"}
    in_a_row, end = 0, time.monotonic() + 10  # the other process learns of it within a second
    while in_a_row < 20:
        known = httpx.get(f"{server.url}/api/v1/types", headers=header).status_code != 401
        in_a_row = in_a_row + 1 if known else 0
        assert time.monotonic() < end
    return response.json()["id"], header


def test_a_stream_needs_a_key_that_may_read(guarded: Server) -> None:
    _, producer = make_key(guarded, scopes=["enqueue"])

    http = httpx.Client(timeout=30)  # the server has just started, on a busy machine
    assert http.get(f"{guarded.url}/api/v1/events").status_code == 401
    assert http.get(f"{guarded.url}/api/v1/events?ticket=guessed").status_code == 401
    assert http.get(f"{guarded.url}/api/v1/events", headers=producer).status_code == 403
    assert http.post(f"{guarded.url}/api/v1/events/ticket", headers=producer).status_code == 403
    http.close()
    with pytest.raises(InvalidStatus) as refused:
        WsClient(guarded.url)
    assert refused.value.response.status_code == 401


def test_a_ticket_opens_streams_in_every_process_and_nothing_else(
    guarded: Server, connection: Connection, open_stream: Start
) -> None:
    response = httpx.post(f"{guarded.url}/api/v1/events/ticket", headers=ADMIN)
    assert response.status_code == 201
    query = f"?ticket={response.json()['ticket']}&events=task.*"

    streams = [open_stream((SseClient, WsClient)[number % 2], guarded.url, query) for number in range(8)]
    task_id = insert(connection, "nobody_knows")
    for stream in streams:
        stream.wait_for("task.submitted", task_id)

    assert httpx.get(f"{guarded.url}/api/v1/tasks{query}").status_code == 401
    stored = connection.execute("SELECT digest FROM taskflow.event_tickets").fetchall()
    assert [response.json()["ticket"].encode() in bytes(digest) for (digest,) in stored] == [False]
    connection.execute("UPDATE taskflow.event_tickets SET expires_at = now()")
    assert httpx.get(f"{guarded.url}/api/v1/events{query}").status_code == 401


def test_a_key_limited_to_queues_gets_only_what_concerns_them(
    guarded: Server, connection: Connection, open_stream: Start
) -> None:
    _, limited = make_key(guarded, scopes=["read"], queues=["mail"])
    stream = open_stream(WsClient, guarded.url, headers=limited)

    insert(connection, "nobody_knows", queue="other")
    mine = insert(connection, "nobody_knows", queue="mail")
    stream.wait_for("task.submitted", mine)
    stream.wait(lambda: any(m["data"]["depths"] == {"mail": 1} for m in stream.of("queue.depth")))

    assert {message["data"]["queue"] for message in stream.of("task.submitted")} == {"mail"}
    assert all("other" not in message["data"]["depths"] for message in stream.of("queue.depth"))
    assert stream.wait_for("system.metrics")["data"]["pending"] <= 1
    refused = httpx.get(f"{guarded.url}/api/v1/events?queue=other", headers=limited)
    assert (refused.status_code, refused.json()["code"]) == (403, "queue_not_allowed")


def test_the_streams_of_a_key_end_when_it_is_revoked(guarded: Server, open_stream: Start) -> None:
    key_id, header = make_key(guarded, scopes=["read"])
    ticket = httpx.post(f"{guarded.url}/api/v1/events/ticket", headers=header).json()["ticket"]
    streams = [
        open_stream(WsClient, guarded.url, headers=header),
        open_stream(SseClient, guarded.url, f"?ticket={ticket}"),
    ]

    assert httpx.delete(f"{guarded.url}/api/v1/keys/{key_id}", headers=ADMIN).status_code in (200, 204)

    for stream in streams:
        assert stream.ended.wait(3)
    assert streams[0].reason == "the key is not valid any more"
    with pytest.raises(InvalidStatus):
        WsClient(guarded.url, f"?ticket={ticket}")


def test_an_outage_of_the_database_is_announced_and_streams_go_on_after_it(
    cluster_factory: Callable[..., Any], start_server: Start, start_worker: Start, open_stream: Start
) -> None:
    from taskflow.store.migrate import migrate

    cluster = cluster_factory()
    migrate(cluster.dsn())
    server = start_server(cluster.dsn(), env=NO_PROXY)
    start_worker(cluster.dsn())
    stream = open_stream(WsClient, server.url)
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        stream.wait_for("task.completed", insert(connection, "noop"))

    cluster.kill()
    stream.wait_for("stream.reset")
    cluster.start()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        stream.wait(lambda: len(stream.of("worker.joined")) >= 1 or len(stream.of("stream.reset")) >= 1)
        end = time.monotonic() + 30
        while True:  # one of them is told of, when all have found each other again
            task_id = insert(connection, "noop")
            with suppress(AssertionError):
                stream.wait_for("task.completed", task_id, seconds=1)
                break
            assert time.monotonic() < end
