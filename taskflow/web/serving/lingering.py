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
QUIET_SECONDS = 0.2  # a server that ends waits for those that still send, not for those that merely stay
READ_AT_MOST = 256 * 1024  # bytes of each that are thrown away
MOST = 2000  # further ones are closed at once
PAUSE_SECONDS = 0.1


class Lingering:
    """Half-closes what it is given, and closes it when the client has closed, or its time is up."""

    def __init__(self) -> None:
        self._new: queue.SimpleQueue[socket.socket] = queue.SimpleQueue()
        self._count = 0
        self._lock = threading.Lock()
        self._finishing = False

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
        """Wait until all are closed that are still being sent something: no longer than one may linger."""
        self._finishing = True
        deadline = time.monotonic() + LINGER_SECONDS
        while self._count and time.monotonic() < deadline:
            threading.Event().wait(0.01)

    def _run(self) -> None:
        open_: dict[int, _Closing] = {}
        poll = select.poll()
        while True:
            for connection in self._arrivals(wait=not open_):
                poll.register(connection, select.POLLIN)
                open_[connection.fileno()] = _Closing(connection)
            readable = {descriptor for descriptor, _ in poll.poll(PAUSE_SECONDS * 1000)}
            for descriptor, closing in list(open_.items()):
                if closing.is_over(readable=descriptor in readable, finishing=self._finishing):
                    poll.unregister(descriptor)
                    del open_[descriptor]
                    with contextlib.suppress(OSError):
                        closing.connection.close()
                    with self._lock:
                        self._count -= 1

    def _arrivals(self, *, wait: bool) -> list[socket.socket]:
        found = [self._new.get()] if wait else []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._new.get_nowait())
        return found


class _Closing:
    """One connection and what is known of its client."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._heard = time.monotonic()
        self._deadline = self._heard + LINGER_SECONDS
        self._read = 0

    def is_over(self, *, readable: bool, finishing: bool) -> bool:
        """Whether it can be closed: the client has closed its half, sent too much, or its time is up."""
        now = time.monotonic()
        if readable:
            self._heard = now
            return now > self._deadline or not self._goes_on()
        return now > self._deadline or (finishing and now - self._heard > QUIET_SECONDS)

    def _goes_on(self) -> bool:
        """Throw away what the client has sent; False when that was all, or too much."""
        try:
            data = self.connection.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._read += len(data)
        return bool(data) and self._read < READ_AT_MOST
