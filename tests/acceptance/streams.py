"""Clients of streams for the tests: each reads in a thread of its own, into a list."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import psycopg
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.acceptance.support import Process, Server

Connection = psycopg.Connection[Any]
Message = dict[str, Any]

ONE_PROCESS = {"WEB_CONCURRENCY": "1"}


class Client:
    """What has arrived, in order, and waiting for more."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.ended = threading.Event()
        self._arrived = threading.Condition()

    def of(self, *types: str, task_id: str | int | None = None) -> list[Message]:
        """Those of these types, and of this task."""
        return [
            message
            for message in list(self.messages)
            if (not types or message["type"] in types)
            and (task_id is None or message["data"].get("task_id") == str(task_id))
        ]

    def types(self, task_id: str | int | None = None) -> list[str]:
        """The types of all that has arrived (about a task)."""
        return [message["type"] for message in self.of(task_id=task_id)]

    def wait(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """Wait until the condition holds; it is asked after each message."""
        with self._arrived:
            if not self._arrived.wait_for(condition, seconds):
                raise AssertionError(f"waited in vain; arrived: {self.messages[-20:]}")
        return condition()

    def wait_for(self, type_: str, task_id: str | int | None = None, seconds: float = 20.0) -> Message:
        """The first message of a type (about a task)."""
        found = self.wait(lambda: self.of(type_, task_id=task_id), seconds)
        return found[0]  # type: ignore[no-any-return]

    def _add(self, message: Message) -> None:
        with self._arrived:
            self.messages.append(message | {"arrived": time.time()})
            self._arrived.notify_all()


class SseClient(Client):
    """GET /api/v1/events."""

    def __init__(self, url: str, query: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__()
        self.ids: list[str] = []
        self._http = httpx.Client(timeout=httpx.Timeout(20.0, read=None))
        self._response = self._http.send(
            self._http.build_request("GET", f"{url}/api/v1/events{query}", headers=headers), stream=True
        )
        assert self._response.status_code == 200, self._response.read()
        assert self._response.headers["content-type"].startswith("text/event-stream")
        self._lines = self._response.iter_lines()
        assert next(self._lines).startswith("retry:")
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        with suppress(Exception):
            self._response.close()
        self._http.close()

    def _read(self) -> None:
        with suppress(httpx.HTTPError, httpx.StreamError, ValueError):
            for line in self._lines:
                if line.startswith("id: "):
                    self.ids.append(line.removeprefix("id: "))
                elif line.startswith("data: "):
                    self._add(json.loads(line.removeprefix("data: ")))
        self.ended.set()


class WsClient(Client):
    """GET /ws."""

    def __init__(self, url: str, query: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__()
        self.socket: ClientConnection = connect(
            url.replace("http:", "ws:") + "/ws" + query,
            additional_headers=headers,
            open_timeout=20,
            proxy=None,
            legacy=True,
        )
        self.code: int | None = None
        self.reason = ""
        threading.Thread(target=self._read, daemon=True).start()

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def close(self) -> None:
        self.socket.close()

    def _read(self) -> None:
        try:
            for text in self.socket:
                self._add(json.loads(text))
        except ConnectionClosed:
            pass
        self.code = self.socket.close_code
        self.reason = self.socket.close_reason or ""
        self.ended.set()


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


def heard(stream: Client, connection: Connection, seconds: float = 30.0) -> str:
    """Create tasks until the end of one is told of, and return it: from then on the workers know that somebody listens.

    What they do between the opening of the first stream and that moment is told of by a `stream.reset` alone.
    """
    end = time.monotonic() + seconds
    while True:
        task_id = insert(connection, "noop")
        try:
            stream.wait_for("task.completed", task_id, seconds=1)
        except AssertionError:
            assert time.monotonic() < end, "no worker has heard of the stream"
        else:
            return task_id


ADMIN = {"Authorization": "Bearer admin-key-of-these-tests-which-is-long"}


def start_guarded(dsn: str, start_server: Callable[..., Server]) -> Server:
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


def ready(worker: Process, wait_until: Callable[..., Any]) -> Process:
    wait_until(lambda: any(event["event"] == "worker_ready" for event in worker.events()))
    return worker
