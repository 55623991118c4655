"""Waits for a notification of the database or for a word from another thread, whichever comes first."""

from __future__ import annotations

import json
import os
import select
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import RLock
from typing import Any

import psycopg

from taskflow.store import bells
from taskflow.telemetry import get_logger

FLOOD = 500  # notifications at once; inserts seldom cause as many, since they notify only who sleeps
FLOOD_RATE = 2_000.0  # per second, for long: far less than a busy machine reads, so that it knows a flood as well
DEAF_SECONDS = 5.0
DEAF_POLL_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 86_400.0  # poll() takes no more than 24 days

Connection = psycopg.Connection[tuple[Any, ...]]


class Listener:
    """The wake-ups of one claimer. `wake` may be called from any thread and from a signal handler."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
        self._closed = False
        self._closing = RLock()  # a signal handler may interrupt its own thread within
        self._received: deque[tuple[str, str]] = deque()
        self._hints: list[str] = []
        self.was_woken = False  # by `wake`, in the last wait
        self._log = get_logger("listener")
        self._heard = 0
        self._level = 0.0  # of a leaky bucket: what was heard, less FLOOD_RATE a second
        self._leaked = time.monotonic()
        self._deaf_until: float | None = None

    def wake(self) -> None:
        """End the wait under way, or the next one; when it is closed there is none."""
        with self._closing, suppress(BlockingIOError):  # a full pipe wakes as well
            if not self._closed:
                os.write(self._writer, b"w")

    def attach(self, connection: Connection) -> None:
        """Receive what is notified on this connection from now on."""
        own = connection.info.backend_pid
        connection.add_notify_handler(
            lambda notify: None if notify.pid == own else self._receive(notify.channel, notify.payload)
        )
        self._heard, self._level, self._deaf_until = 0, 0.0, None
        bells.listen(connection)

    def wait(self, connection: Connection, seconds: float) -> list[tuple[str, str]]:
        """Sleep until something comes, at most this long; returns the notifications as (channel, payload).

        Raises psycopg.OperationalError if the connection has been closed by the server.
        """
        self.was_woken = False
        seconds = self._mind_floods(connection, seconds)
        if not self._received:
            socket = connection.fileno()
            readable = _readable([socket, self._reader], seconds)
            if self._reader in readable:
                self.was_woken = True
                os.read(self._reader, 65536)
            if socket in readable:
                self._consume(connection)
        received = list(self._received)
        self._received.clear()
        return received

    @property
    def deaf(self) -> bool:
        """Whether it does not listen at the moment, since it was flooded."""
        return self._deaf_until is not None

    def hints(self) -> list[str]:
        """What operators have notified since this was last asked; also what came with the answer to a statement, so
        that a worker which is too busy to wait hears of it."""
        if not self._hints:
            return []
        hints, self._hints = self._hints, []
        return hints

    def hears(self, connection: Connection, sent: Future[None], token: str, seconds: float) -> bool:
        """Whether the notification with this token arrives, which somebody sends on another connection."""
        try:
            sent.result(timeout=seconds)
        except TimeoutError:
            raise psycopg.OperationalError("the second connection of the worker is not there yet") from None
        return any((bells.CONTROL, token) in self.wait(connection, seconds / 10) for _ in range(10))

    def close(self) -> None:
        """Free the pipe; for the thread that waits, when it never will again. Others may call `wake` all the same: to
        some other file, which has got the number meanwhile, nothing is ever written."""
        with self._closing:
            if not self._closed:
                self._closed = True
                os.close(self._reader)
                os.close(self._writer)

    def _consume(self, connection: Connection) -> None:
        own = connection.info.backend_pid
        connection.pgconn.consume_input()
        while (notify := connection.pgconn.notifies()) is not None:
            if notify.be_pid != own:
                self._receive(notify.relname.decode(), notify.extra.decode())

    def _receive(self, channel: str, payload: str) -> None:
        self._heard += 1
        self._received.append((channel, payload))
        if channel == bells.CONTROL:
            self._hints.append(payload)

    def _mind_floods(self, connection: Connection, seconds: float) -> float:
        """How long to wait at most. Anybody may notify anything, and the answer to every statement stands behind what
        was notified before it: so a worker that is flooded stops listening for a while, and polls."""
        now = time.monotonic()
        self._level = max(0.0, self._level - FLOOD_RATE * (now - self._leaked)) + self._heard
        self._heard, self._leaked = 0, now
        if self._deaf_until is None and self._level > FLOOD:
            self._log.info(
                "notifications_flooded",
                heard=round(self._level),
                next=f"polling every {DEAF_POLL_SECONDS} s for {DEAF_SECONDS} s instead of listening",
            )
            connection.execute("UNLISTEN *")
            self._deaf_until = now + DEAF_SECONDS
            self._received.clear()
        elif self._deaf_until is not None and now >= self._deaf_until:
            self._heard, self._level, self._deaf_until = 0, 0.0, None
            bells.listen(connection)
        return seconds if self._deaf_until is None else min(seconds, DEAF_POLL_SECONDS)


def concerns(hint: str, worker_ids: Sequence[int]) -> bool:
    """Whether a hint may be meant for one of these: one that names another worker is not, anything else may be."""
    try:
        named = json.loads(hint)["worker"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return True
    return named in worker_ids


def _readable(descriptors: Sequence[int], seconds: float) -> list[int]:
    """Those that can be read, after at most this many seconds. Not select(), which knows no descriptor above 1023:
    a process with many handlers' sockets open would fail at its next connection."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(1000 * min(max(0.0, seconds), LONGEST_WAIT_SECONDS))]


def _pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer
