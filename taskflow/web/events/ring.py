"""The last events, for clients that come back: from where they were they go on, if that is not too long ago."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from taskflow.web.events.event import Event

SIZE = 5_000


class Ring:
    """Events in the order of their arrival, which is that of the commits of their batches: the same in every process,
    so that a client may come back to another one, if that has listened then."""

    def __init__(self, size: int = SIZE) -> None:
        self._events: deque[Event] = deque()
        self._places: dict[str, int] = {}
        self._first = 0
        self._size = size

    @property
    def place(self) -> int:
        """How many events there have been: the place that the next one gets."""
        return self._first + len(self._events)

    def add(self, events: Iterable[Event]) -> None:
        """Remember these; those without an id cannot be asked for."""
        for event in events:
            if event.id is None:
                continue
            self._places[event.id] = self.place
            self._events.append(event)
            if len(self._events) > self._size:
                oldest = self._events.popleft()
                self._first += 1
                if oldest.id is not None:
                    del self._places[oldest.id]

    def since(self, last_id: str) -> list[Event] | None:
        """All that came after the event with this id; None: it is not known, or not any more."""
        place = self._places.get(last_id)
        return None if place is None else list(islice(self._events, place + 1 - self._first, None))

    def clear(self) -> None:
        """Something is missing: what is here cannot be gone on from."""
        self._first += len(self._events)
        self._events.clear()
        self._places.clear()
