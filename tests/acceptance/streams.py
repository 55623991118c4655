"""Clients of streams for the tests: each reads in a thread of its own, into a list."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

Message = dict[str, Any]


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
