"""How full the queues are and what the system does, about once a second, while somebody wants to know."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from taskflow.store.events import FIGURES, Connection
from taskflow.tasks.task import WAITING_STATES
from taskflow.web.events.event import Event, Parcel
from taskflow.web.events.selection import Selection

EVERY_SECONDS = 1.0
REST_FACTOR = 20.0
"""After a look that took long, a rest of so many times that: it may cost a twentieth of the database's time."""
COUNTS = "SELECT queue, state, sum(count)::bigint FROM taskflow.live_counts() GROUP BY 1, 2"
WORKERS = """
SELECT count(*), coalesce(sum(concurrency), 0)::bigint, coalesce(sum(least(active_tasks, concurrency)), 0)::bigint
FROM taskflow.workers
"""


class Figures:
    """Each process asks for itself: figures need no order among events, and nobody wants those of a minute ago."""

    def __init__(self) -> None:
        self._next = 0.0
        self._counts: list[tuple[str, str, int]] = []
        self._workers = (0, 0, 0)

    @property
    def due_in_seconds(self) -> float:
        """Until they are to be read again."""
        return self._next - time.monotonic()

    def read(self, connection: Connection) -> None:
        """Ask the database."""
        began = time.monotonic()
        self._counts = [(row[0], row[1], row[2]) for row in connection.execute(COUNTS)]
        row = connection.execute(WORKERS).fetchone()
        assert row is not None
        self._workers = (row[0], row[1], row[2])
        now = time.monotonic()
        self._next = now + max(EVERY_SECONDS, REST_FACTOR * (now - began))

    def pick(self, selection: Selection) -> Parcel | None:
        """What a stream is to get of them: of the queues that it may see and wants to."""
        events = [Event(name, self._data(name, selection)) for name in FIGURES if self._takes(selection, name)]
        return Parcel([(None, event.message(event.data)) for event in events]) if events else None

    def _takes(self, selection: Selection, name: str) -> bool:
        if selection.task_id is not None or name not in selection.names:
            return False
        return name == "queue.depth" or selection.queue is None

    def _data(self, name: str, selection: Selection) -> dict[str, Any]:
        counts = [count for count in self._counts if selection.sees(count[0])]
        if name == "queue.depth":
            return {"depths": _depths(counts)}
        totals = dict.fromkeys((*WAITING_STATES, "running"), 0)
        for _, state, number in counts:
            totals[state] = totals.get(state, 0) + number
        workers, slots, busy = self._workers
        return {**totals, "workers": workers, "slots": slots, "slots_busy": busy}


def _depths(counts: Iterable[tuple[str, str, int]]) -> dict[str, int]:
    """How many tasks wait in each queue, for whatever they wait."""
    depths: dict[str, int] = {}
    for queue, state, number in counts:
        depths[queue] = depths.get(queue, 0) + (number if state in WAITING_STATES else 0)
    return depths
