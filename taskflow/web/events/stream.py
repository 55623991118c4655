"""What waits for one client. The hub puts into it and never waits; the client's own thread takes from it and sends."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress

from taskflow.web.events.event import Parcel, reset
from taskflow.web.events.selection import Selection

MAX_EVENTS = 5_000


class Stream:
    """A mailbox of up to MAX_EVENTS. What no longer fits empties it: the client is told that it has missed something,
    and goes on from there. `fileno()` can be read while there is something to take."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self._lock = threading.Lock()
        self._parcels: deque[Parcel] = deque()
        self._waiting = 0
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """For poll()."""
        return self._reader

    def put(self, parcel: Parcel) -> bool:
        """Give the client these. False: it is too slow, and has lost what waited for it."""
        with self._lock:
            fits = self._waiting + len(parcel) <= MAX_EVENTS
            if not fits:
                self._parcels.clear()
                self._waiting = 0
                parcel = reset("slow client: more events came than it has read")
            self._parcels.append(parcel)
            self._waiting += len(parcel)
            self._wake()
        return fits

    def take(self) -> list[Parcel]:
        """All that waits."""
        with self._lock:
            parcels = list(self._parcels)
            self._parcels.clear()
            self._waiting = 0
            if self._reader >= 0:
                with suppress(BlockingIOError):
                    os.read(self._reader, 4096)
        return parcels

    def close(self) -> None:
        """Free the pipe; twice does no harm."""
        with self._lock:
            if self._reader >= 0:
                os.close(self._reader)
                os.close(self._writer)
                self._reader = self._writer = -1

    def _wake(self) -> None:
        if self._writer >= 0:
            with suppress(BlockingIOError):  # a full pipe wakes as well
                os.write(self._writer, b"w")
