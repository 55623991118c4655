"""Many streams of events in one thread: each counts what it gets, as cheaply as Python can."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlsplit

from taskflow.errors import TaskflowError

OPEN_SECONDS = 20.0
READ_BYTES = 1 << 18


@dataclass(slots=True)
class Counted:
    """What one stream has got."""

    connection: socket.socket
    rest: bytes = b""
    completed: int = 0
    resets: int = 0


class StreamClients:
    """Opens `count` streams of server-sent events, and reads them until the block ends."""

    def __init__(self, url: str, count: int, query: str = "") -> None:
        self._address = urlsplit(url)
        self._query = query
        self._selector = selectors.DefaultSelector()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="stream-clients", daemon=True)
        self.streams = [self._open() for _ in range(count)]

    def __enter__(self) -> StreamClients:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        for stream in self.streams:
            stream.connection.close()

    def incomplete(self, expected: int) -> list[Counted]:
        """Those that have not got so many endings."""
        return [stream for stream in self.streams if stream.completed < expected]

    def _open(self) -> Counted:
        host, port = self._address.hostname or "", self._address.port or 80
        connection = socket.create_connection((host, port), timeout=OPEN_SECONDS)
        request = f"GET /api/v1/events{self._query} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n"
        connection.sendall(request.encode())
        received = b""
        limit = time.monotonic() + OPEN_SECONDS
        while b"retry:" not in received:
            data = connection.recv(READ_BYTES)
            received += data
            if not data or time.monotonic() > limit or not received.startswith(b"HTTP/1.1 200"):
                raise TaskflowError(f"no stream was opened: {received[:200]!r}")
        connection.setblocking(False)
        stream = Counted(connection)
        self._selector.register(connection, selectors.EVENT_READ, stream)
        return stream

    def _read(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.2):
                stream: Counted = key.data
                data = stream.connection.recv(READ_BYTES)
                if not data:
                    self._selector.unregister(stream.connection)
                    continue
                # What a read may have cut in two is looked at again, up to the last whole line.
                data = stream.rest + data
                whole, _, stream.rest = data.rpartition(b"\n")
                stream.completed += whole.count(b'"type":"task.completed"')
                stream.resets += whole.count(b'"type":"stream.reset"')
