"""The one connection of a process on which events arrive, and the thread that reads it."""

from __future__ import annotations

import logging
import os
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol
from uuid import UUID, uuid4

import orjson
import psycopg

from taskflow.errors import TaskflowError
from taskflow.store import events
from taskflow.store.connection import connect, settle_session
from taskflow.store.events import Batch, Connection
from taskflow.web.events.event import Event
from taskflow.web.events.figures import Figures
from taskflow.web.events.order import InOrder
from taskflow.web.events.watcher import Watcher
from taskflow.web.events.workers import WorkerBook

LEASE_SECONDS, RENEW_SECONDS = 30.0, 10.0
WATCH_SECONDS = 1.0
"""Between two tries to become the one that watches."""
LONGEST_WAIT_SECONDS = 0.1
PROBE_SECONDS = 2.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0
BATCHES_AT_ONCE = 100
MAX_SEEN = 50_000

log = logging.getLogger("taskflow.web")


class Ear(Protocol):
    """What the link needs of the hub."""

    def wanted(self) -> frozenset[str]: ...
    def hears(self, names: frozenset[str]) -> None: ...
    def deaf(self) -> None: ...
    def lost(self) -> None: ...
    def reset_if_due(self) -> None: ...
    def deliver(self, events: Sequence[Event]) -> None: ...
    def deliver_figures(self, figures: Figures) -> None: ...
    @property
    def wants_figures(self) -> bool: ...
    def may_end(self) -> bool: ...
    def fileno(self) -> int: ...


class Link:
    """Listens as long as the hub wants anything; through outages of the database too."""

    def __init__(self, dsn: str, hub: Ear) -> None:
        self._dsn = dsn
        self._hub = hub
        self._id = uuid4()
        self._figures = Figures()
        self._pause = 0.0
        self._down = False

    def run(self) -> None:
        """The thread."""
        while not self._hub.may_end():
            try:
                with connect(self._dsn, name="events") as connection:
                    settle_session(connection)
                    _Session(connection, self._hub, self._id, self._figures).run(self._works)
            except (TaskflowError, psycopg.Error) as error:
                self._failed(error)
            except Exception as error:  # whatever it is, streams that stay silent for ever would be worse
                log.exception("events_failed")
                self._failed(error)

    def _works(self) -> None:
        if self._down:
            log.warning("events_back")
        self._pause, self._down = 0.0, False

    def _failed(self, error: Exception) -> None:
        if not self._down:
            log.warning("events_unavailable", extra={"error": str(error).strip()})
        self._down = True
        self._hub.deaf()
        self._pause = min(LONGEST_PAUSE_SECONDS, self._pause * 2 or FIRST_PAUSE_SECONDS)
        end = time.monotonic() + self._pause
        while time.monotonic() < end and self._hub.wanted():
            time.sleep(LONGEST_WAIT_SECONDS)


class _Session:
    """One connection, from its LISTEN to its end."""

    def __init__(self, connection: Connection, hub: Ear, listener: UUID, figures: Figures) -> None:
        self._connection = connection
        self._hub = hub
        self._listener = listener
        self._figures = figures
        self._arrived: deque[int] = deque()
        self._seen: dict[int, None] = {}
        self._watcher: Watcher | None = None
        self._next_try = 0.0
        self._renewed = 0.0
        self._names: frozenset[str] = frozenset()
        connection.add_notify_handler(lambda notify: self._hear(notify.channel, notify.payload))

    def run(self, works: Callable[[], None]) -> None:
        self._connection.execute(f"LISTEN {events.CHANNEL}")
        self._book = WorkerBook(self._connection)
        others, last_id = self._register(self._hub.wanted())
        self._order = InOrder(last_id)
        if not others:  # what somebody left behind who listened before concerns nobody any more
            events.observe(self._connection, [], 1)
        self._probe()
        works()
        self._hub.hears(self._names)
        while wanted := self._hub.wanted():
            if wanted != self._names or time.monotonic() - self._renewed > RENEW_SECONDS:
                self._register(wanted)
                self._hub.hears(self._names)
            self._wait()
            self._read()
            self._watch()
            self._hub.reset_if_due()
            if self._figures.due_in_seconds <= 0 and self._hub.wants_figures:
                self._figures.read(self._connection)
                self._hub.deliver_figures(self._figures)
        events.stop_listening(self._connection, self._listener)

    def _register(self, names: frozenset[str]) -> tuple[int, int]:
        answer = events.listen(self._connection, self._listener, names, LEASE_SECONDS)
        self._names, self._renewed = names, time.monotonic()
        return answer

    def _probe(self) -> None:
        """Whether notifications arrive at all."""
        events.publish(self._connection, [])
        end = time.monotonic() + PROBE_SECONDS
        while not self._arrived:
            if time.monotonic() > end:
                raise TaskflowError(
                    "notifications are not delivered to this connection, most likely since a pooler in transaction mode"
                    " stands between: give the web server a direct connection if it is to serve events"
                )
            self._wait()

    def _wait(self) -> None:
        """Until something arrives, or is to be done."""
        waits = [LONGEST_WAIT_SECONDS]
        if self._watcher is not None:
            waits.append(self._watcher.due_in_seconds)
        socket, wake = self._connection.fileno(), self._hub.fileno()
        poll = select.poll()
        poll.register(socket, select.POLLIN)
        poll.register(wake, select.POLLIN)
        for descriptor, _ in poll.poll(1000 * max(0.0, min(waits)) if not self._arrived else 0):
            if descriptor == wake:
                with suppress(BlockingIOError):
                    os.read(wake, 4096)
            else:
                self._consume()

    def _consume(self) -> None:
        pgconn = self._connection.pgconn
        pgconn.consume_input()
        while (notify := pgconn.notifies()) is not None:
            self._hear(notify.relname.decode(), notify.extra.decode())

    def _hear(self, channel: str, payload: str) -> None:
        """Anybody may notify anything: what is no number, or was there before, is nothing."""
        if channel == events.CHANNEL and payload.isascii() and payload.isdigit() and len(payload) < 19:
            batch_id = int(payload)
            if batch_id not in self._seen:
                self._seen[batch_id] = None
                self._arrived.append(batch_id)
                if len(self._seen) > MAX_SEEN:
                    del self._seen[next(iter(self._seen))]

    def _read(self) -> None:
        while self._arrived:
            ids = [self._arrived.popleft() for _ in range(min(len(self._arrived), BATCHES_AT_ONCE))]
            batches = events.read(self._connection, ids)
            found: list[Event] = []
            for batch in batches:
                body = orjson.loads(batch.body)
                if body.get("lost"):  # what came before it is delivered before it
                    self._hub.deliver(found)
                    found = []
                    self._hub.lost()
                found += self._open(batch, body)
            self._hub.deliver(found)
            if len(batches) < len(ids):  # removed before they were read, a minute ago
                self._hub.lost()

    def _open(self, batch: Batch, body: dict[str, Any]) -> list[Event]:
        place = f"{batch.id:x}-{int(batch.at.timestamp() * 1_000_000):x}"
        found = []
        for number, told in self._order.arrange(body["events"]):
            if self._watcher is None and told["type"] in events.WORKER_EVENTS:
                self._book.hear(told)
            event = Event(
                told["type"],
                told["data"],
                id=f"{place}-{number}",
                timestamp=told["timestamp"],
                queues=told.get("queues"),
            )
            found.append(event)
        if "top" in body:
            self._order.advance(body["top"], body["gaps"])
        return found

    def _watch(self) -> None:
        now = time.monotonic()
        if self._watcher is None and now >= self._next_try:
            self._next_try = now + WATCH_SECONDS
            if events.become_watcher(self._connection):
                self._watcher = Watcher(self._order.top, self._order.gaps, self._book)
        if self._watcher is not None and self._watcher.due_in_seconds <= 0:
            self._watcher.look(self._connection)
