"""Events: real web servers, real workers, real streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest
from websockets.exceptions import InvalidStatus

from tests.acceptance.streams import (
    ONE_PROCESS,
    Client,
    SseClient,
    WsClient,
    heard,
    insert,
    make_key,
    ready,
    start_guarded,
)
from tests.acceptance.support import Gate, Process, Server

Connection = psycopg.Connection[Any]
Start = Callable[..., Any]


@pytest.fixture
def server(dsn: str, start_server: Start) -> Server:
    return start_server(dsn, env=ONE_PROCESS)


@pytest.fixture
def worker(dsn: str, start_worker: Start, wait_until: Start) -> Process:
    return ready(start_worker(dsn), wait_until)


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


def test_sigterm_ends_streams_at_once(dsn: str, server: Server, start_server: Start, open_stream: Start) -> None:
    without = start_server(dsn, env=ONE_PROCESS)  # how long it takes on this machine at this moment
    sockets = [open_stream(WsClient, server.url) for _ in range(8)]
    streams = [open_stream(SseClient, server.url) for _ in range(8)]
    ended: dict[Server, float] = {}

    def stop(which: Server) -> None:
        assert which.stop() == 0
        ended[which] = time.monotonic()

    threads = [threading.Thread(target=stop, args=[which]) for which in (server, without)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ended[server] - ended[without] < 1.5
    for stream in sockets + streams:
        assert stream.ended.wait(1)
    assert {(socket.code, socket.reason) for socket in sockets} == {(1012, "the server is shutting down")}


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
    seen = heard(first, connection)
    assert first.ended.wait(10)
    missed = [insert(connection, "noop") for _ in range(5)]
    after = open_stream(SseClient, server.url, "?events=task.completed")  # so that we know when they are told of
    end = time.monotonic() + 10
    while connection.execute("SELECT count(*) FROM taskflow.tasks_live").fetchone() != (0,):
        assert time.monotonic() < end
    marker = insert(connection, "noop")
    after.wait_for("task.completed", marker)

    again = open_stream(SseClient, server.url, "?events=task.*", headers={"Last-Event-ID": first.ids[-1]})
    again.wait_for("task.completed", marker)

    assert "stream.reset" not in again.types()
    assert again.of(task_id=seen) == []
    for task_id in missed:
        assert again.types(task_id) == ["task.submitted", "task.started", "task.completed"]


def wait_for_all(stream: Client, ids: list[str]) -> None:
    stream.wait(lambda: {message["data"]["task_id"] for message in stream.of("task.completed")} >= set(ids))


def test_every_web_process_has_the_same_events(
    dsn: str, start_server: Start, worker: Process, connection: Connection, open_stream: Start
) -> None:
    servers = [start_server(dsn, env=ONE_PROCESS) for _ in range(2)]
    streams = [open_stream(SseClient, server.url, "?events=task.*") for server in servers]

    heard(streams[0], connection)
    ids = [insert(connection, "noop") for _ in range(30)]
    for stream in streams:
        wait_for_all(stream, ids)
    servers[0].stop()  # one of them watched for new tasks: the other one does now
    more = [insert(connection, "noop") for _ in range(30)]
    wait_for_all(streams[1], more)

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
    heard(stream, connection)
    server.kill()  # without a word: who listened is forgotten when its time is up
    connection.execute("UPDATE taskflow.event_listeners SET until = now()")
    connection.execute("TRUNCATE taskflow.event_batches")
    for _ in range(3):
        insert(connection, "noop")
        wait_until(lambda: connection.execute("SELECT count(*) FROM taskflow.tasks_live").fetchone() == (0,))
    assert connection.execute("SELECT count(*) FROM taskflow.event_batches").fetchone() == (0,)


@pytest.fixture
def guarded(dsn: str, start_server: Start) -> Server:
    return start_guarded(dsn, start_server)


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


def test_an_outage_of_the_database_is_announced_and_streams_go_on_after_it(
    cluster_factory: Callable[..., Any], start_server: Start, start_worker: Start, open_stream: Start
) -> None:
    from taskflow.store.migrate import migrate

    cluster = cluster_factory()
    migrate(cluster.dsn())
    server = start_server(cluster.dsn(), env=ONE_PROCESS)
    start_worker(cluster.dsn())
    stream = open_stream(WsClient, server.url)
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        heard(stream, connection)

    cluster.kill()
    stream.wait_for("stream.reset")
    cluster.start()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        stream.wait(lambda: len(stream.of("worker.joined")) >= 1 or len(stream.of("stream.reset")) >= 1)
        heard(stream, connection)  # when all have found each other again
