"""All streams of one process: who wants what, and handing each what it is to get."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress

from prometheus_client import Gauge

from taskflow.stop_flag import StopFlag
from taskflow.web.events.event import Event, reset
from taskflow.web.events.figures import Figures
from taskflow.web.events.link import Link
from taskflow.web.events.ring import Ring
from taskflow.web.events.selection import Selection
from taskflow.web.events.stream import Stream
from taskflow.web.http.problems import Problem

LINGER_SECONDS = 30.0
"""How long events are still received for clients that may come back."""
READY_SECONDS = 5.0
RESET_SECONDS = 1.0
"""Between two resets: many workers may have lost something at the same time."""


class Hub:
    """Holds at most `capacity` streams. A thread with a connection of its own (link.py) runs while there are any.

    `closing` is set when the server begins to shut down.
    """

    def __init__(self, dsn: str, closing: StopFlag, *, capacity: int, gauge: Gauge) -> None:
        self._dsn = dsn
        self._closing = closing
        self._capacity = capacity
        self._gauge = gauge
        self._changed = threading.Condition()
        self._attaching: set[Stream] = set()
        self._streams: set[Stream] = set()
        self._wanted_until: dict[str, float] = {}
        self._heard_from: dict[str, int] = {}  # since which place of the ring nothing of an event is missing
        self._ring = Ring()
        self._reset_at: float | None = None
        self._last_reset = float("-inf")
        self._thread: threading.Thread | None = None
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        # An application may be one of many of its process, as in tests: what it opened goes with it.
        # Not at the end of the process, when the thread may still look.
        weakref.finalize(self, _close, self._reader, self._writer).atexit = False

    # For the streams

    def attach(self, selection: Selection, last_id: str | None) -> Stream:
        """A stream of what happens from now on, or after the event with `last_id`, where that is known still.

        Raises `Problem` 503 where there are too many, or the database is away.
        """
        stream = Stream(selection)
        try:
            with self._changed:
                if len(self._streams) + len(self._attaching) >= self._capacity:
                    raise Problem(
                        "too_many_streams",
                        f"{self._capacity} streams are open in this process already, which is its limit.",
                        headers={"Retry-After": "5"},
                    )
                self._attaching.add(stream)
                self._gauge.inc()
                self._need_thread()
                self._wait_until_heard(selection)
                if last_id is not None:
                    self._replay(stream, last_id)
                self._attaching.discard(stream)
                self._streams.add(stream)
        except BaseException:
            self.detach(stream)
            raise
        return stream

    def change(self, stream: Stream, selection: Selection) -> None:
        """Give a stream other events from now on. Raises `Problem` 503 where the database is away."""
        with self._changed:
            stream.selection = selection
            self._need_thread()
            self._wait_until_heard(selection)

    def detach(self, stream: Stream) -> None:
        """The client is gone; twice does no harm."""
        with self._changed:
            if stream in self._streams or stream in self._attaching:
                self._streams.discard(stream)
                self._attaching.discard(stream)
                self._gauge.dec()
        stream.close()

    # For the thread that listens

    def wanted(self) -> frozenset[str]:
        """The events that somebody wants, or wanted a moment ago; none: there is nothing to listen for."""
        if self._closing.is_set():
            return frozenset()
        with self._changed:
            now = time.monotonic()
            for stream in (*self._streams, *self._attaching):
                self._wanted_until.update(dict.fromkeys(stream.selection.names, now + LINGER_SECONDS))
            return frozenset(name for name, until in self._wanted_until.items() if until > now)

    def hears(self, names: frozenset[str]) -> None:
        """From now on nothing of these events is missed."""
        with self._changed:
            self._heard_from = {name: self._heard_from.get(name, self._ring.place) for name in names}
            self._changed.notify_all()

    def deaf(self) -> None:
        """The connection is lost: from now on everything is missed."""
        with self._changed:
            self._heard_from = {}
            self.lost()

    def lost(self) -> None:
        """Some events are missing: say so to all, and forget the order that has a hole."""
        with self._changed:
            self._ring.clear()
            self._heard_from = dict.fromkeys(self._heard_from, self._ring.place)
            if self._reset_at is None:
                self._reset_at = self._last_reset + RESET_SECONDS
        self.reset_if_due()

    def reset_if_due(self) -> None:
        """Tell everybody that something is missing, where that is still to be told."""
        with self._changed:
            if self._reset_at is None or self._reset_at > time.monotonic():
                return
            self._reset_at, self._last_reset = None, time.monotonic()
            parcel = reset("events were lost on their way")
            for stream in self._streams:
                stream.put(parcel)

    def deliver(self, events: Sequence[Event]) -> None:
        """Hand events to all who want them, and remember them for those who come back."""
        if not events:
            return
        with self._changed:
            self._ring.add(events)
            parcels = {selection: selection.pick(events) for selection in {s.selection for s in self._streams}}
            for stream in self._streams:
                if (parcel := parcels[stream.selection]) is not None:
                    stream.put(parcel)

    def deliver_figures(self, figures: Figures) -> None:
        """Hand everybody the figures that they want and may see."""
        with self._changed:
            parcels = {selection: figures.pick(selection) for selection in {s.selection for s in self._streams}}
            for stream in self._streams:
                if (parcel := parcels[stream.selection]) is not None:
                    stream.put(parcel)

    @property
    def wants_figures(self) -> bool:
        """Whether anybody is there for them."""
        with self._changed:
            return any(
                "queue.depth" in s.selection.names or "system.metrics" in s.selection.names for s in self._streams
            )

    def may_end(self) -> bool:
        """Whether the thread may end; if so, the next stream starts another."""
        with self._changed:
            if self.wanted():
                return False
            self._thread = None
            self._wanted_until.clear()
            self._heard_from.clear()
            self._ring.clear()
            return True

    def fileno(self) -> int:
        """Can be read when the thread should look."""
        return self._reader

    # Inside

    def _need_thread(self) -> None:
        if self._thread is None:
            link = Link(self._dsn, self)
            self._thread = threading.Thread(target=link.run, name="taskflow-events", daemon=True)
            self._thread.start()
        with suppress(BlockingIOError):
            os.write(self._writer, b"w")

    def _wait_until_heard(self, selection: Selection) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not selection.names <= self._heard_from.keys():
            if self._closing.is_set():
                raise Problem("database_unavailable", "The server is shutting down; connect again.")
            if time.monotonic() > deadline:
                raise Problem("database_unavailable", "Events cannot be had from the database at the moment.")
            self._changed.wait(0.1)

    def _replay(self, stream: Stream, last_id: str) -> None:
        missed = self._ring.since(last_id)
        heard_from = max((self._heard_from[name] for name in stream.selection.names), default=0)
        if missed is None or heard_from > self._ring.place - len(missed):
            stream.put(reset("it is not known any more what came after Last-Event-ID"))
        elif (parcel := stream.selection.pick(missed)) is not None:
            stream.put(parcel)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
