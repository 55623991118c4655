"""Streams and keys: the tests share a database and a server that asks for keys, with two processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest
from websockets.exceptions import InvalidStatus

from tests.acceptance.streams import ADMIN, SseClient, WsClient, insert, make_key, start_guarded
from tests.acceptance.support import Processes, Server

Connection = psycopg.Connection[Any]
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def dsn(shared_dsn: str) -> str:
    return shared_dsn


@pytest.fixture(scope="module")
def guarded(dsn: str, shared_processes: Processes) -> Server:
    return start_guarded(dsn, shared_processes.start_server)


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
    assert stored
    assert not any(response.json()["ticket"].encode() in bytes(digest) for (digest,) in stored)
    connection.execute("UPDATE taskflow.event_tickets SET expires_at = now()")
    assert httpx.get(f"{guarded.url}/api/v1/events{query}").status_code == 401


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
