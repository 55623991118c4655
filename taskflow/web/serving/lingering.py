"""Connections that are being closed (RFC 9112, section 9.6): half-closed, they wait for the client to close its half.

Closed at once, with something of the client unread, the kernel would reset them, and the client might never see its
answer. gunicorn waits for that, up to two seconds each, in the loop that accepts connections: a few clients that do not
close theirs would stop a whole process. Here one thread waits for all of them.
"""

from __future__ import annotations

import contextlib
import queue
import select
import socket
import threading
import time

LINGER_SECONDS = 2.0
READ_AT_MOST = 256 * 1024  # bytes of each that are thrown away
MOST = 2000  # further ones are closed at once
PAUSE_SECONDS = 0.1


class Lingering:
    """Half-closes what it is given, and closes it when the client has closed, or its time is up."""

    def __init__(self) -> None:
        self._new: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._count = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        """To be called in the process that serves."""
        threading.Thread(target=self._run, name="taskflow-lingering", daemon=True).start()

    def close(self, connection: socket.socket) -> None:
        """Close `connection` without waiting for it."""
        try:
            connection.shutdown(socket.SHUT_WR)
            connection.setblocking(False)
        except OSError:
            connection.close()
            return
        with self._lock:
            if self._count < MOST:
                self._count += 1
                self._new.put(connection)
                return
        connection.close()

    def finish(self) -> None:
        """Wait until all are closed: no longer than one may linger."""
        deadline = time.monotonic() + LINGER_SECONDS
        while self._count and time.monotonic() < deadline:
            threading.Event().wait(0.01)

    def _run(self) -> None:
        open_: dict[int, tuple[socket.socket, float, list[int]]] = {}
        poll = select.poll()
        while True:
            for connection in self._arrivals(wait=not open_):
                poll.register(connection, select.POLLIN)
                open_[connection.fileno()] = connection, time.monotonic() + LINGER_SECONDS, [0]
            readable = {descriptor for descriptor, _ in poll.poll(PAUSE_SECONDS * 1000)}
            now = time.monotonic()
            for descriptor, (connection, deadline, read) in list(open_.items()):
                if now > deadline or (descriptor in readable and not _goes_on(connection, read)):
                    poll.unregister(descriptor)
                    del open_[descriptor]
                    with contextlib.suppress(OSError):
                        connection.close()
                    with self._lock:
                        self._count -= 1

    def _arrivals(self, *, wait: bool) -> list[socket.socket]:
        found = [self._new.get()] if wait else []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._new.get_nowait())
        return found


def _goes_on(connection: socket.socket, read: list[int]) -> bool:
    """Throw away what the client has sent; False when it has closed its half, or sent too much."""
    try:
        data = connection.recv(65536)
    except BlockingIOError:
        return True
    except OSError:
        return False
    read[0] += len(data)
    return bool(data) and read[0] < READ_AT_MOST
