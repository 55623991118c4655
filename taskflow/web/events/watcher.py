"""Finds what no worker tells of: new tasks, what operators and the rescuer do, workers that come and go.

Of all web processes one watches (it holds an advisory lock as long as its connection lasts), and publishes what it
finds for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from taskflow.store import events
from taskflow.store.events import Connection, Observed, event_text, task_data
from taskflow.web.events.workers import WorkerBook

LOOK_SECONDS = 0.025
WORKERS_SECONDS = 0.25
MAX_FOUND = 2_000
MAX_GAPS = 200
GAP_SECONDS = 1.0
LAST = 2**63 - 1
SNAPSHOT = "SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint FROM pg_current_snapshot() s"
LAST_ID = "SELECT max(id) FROM taskflow.tasks_live"
WAITING = ("pending", "scheduled", "blocked")
STATES = {
    "task.submitted": WAITING,
    "task.retrying": ("retrying", "pending", "scheduled"),
    "task.failed": ("failed", "retrying", "dead_letter"),
    "task.dead_letter": ("dead_letter",),
    "task.cancelled": ("cancelled",),
}


@dataclass(frozen=True, slots=True)
class Gap:
    """Ids that were not there when higher ones were: rolled back, or of a transaction that is still open. When all
    transactions below `xmax` have ended, and a moment is over, what is not there never will be. The moment is for one
    that had taken an id from the sequence but no transaction id yet."""

    low: int
    high: int
    xmax: int
    noticed: float

    def is_over(self, xmin: int) -> bool:
        """Whether nothing can come any more; `xmin` is the oldest transaction that was open before the last look."""
        return self.xmax <= xmin and time.monotonic() - self.noticed > GAP_SECONDS


class Watcher:
    """Goes on from where the one before was: `top` and `gaps` as in order.py."""

    def __init__(self, top: int, gaps: Sequence[tuple[int, int]], book: WorkerBook) -> None:
        self._top = top
        self._gaps = [Gap(low, high, LAST, time.monotonic()) for low, high in gaps]
        self._undated = bool(gaps)  # whose xmax is to be asked for
        self._book = book
        self._too_many = False  # new tasks at once, to tell of each
        self._lost_until: int | None = None  # what ends below this xmax is not told of, but said to be missing
        self._next_look = self._next_workers = time.monotonic()

    @property
    def due_in_seconds(self) -> float:
        """Until the next look."""
        return self._next_look - time.monotonic()

    def look(self, connection: Connection) -> None:
        """Look once, and publish what was found. What is taken from the outbox is published in the same transaction,
        so that it is not lost with this process."""
        now = time.monotonic()
        self._next_look = now + LOOK_SECONDS
        xmin = self._date_gaps(connection) if self._gaps or self._lost_until is not None else 0
        with connection.transaction():
            rows = events.observe(
                connection, [*((g.low, g.high) for g in self._gaps), (self._top + 1, LAST)], MAX_FOUND
            )
            lost = self._follow(connection, [row.id for row in rows if row.event is None], xmin)
            found = [_event(row) for row in rows if row.event is not None or not self._too_many]
            if now >= self._next_workers:
                self._next_workers = now + WORKERS_SECONDS
                found += self._book.changes(connection)
            if found or lost:
                gaps = [(gap.low, gap.high) for gap in self._gaps]
                events.publish(connection, found, lost=lost, top=self._top, gaps=gaps)

    def _date_gaps(self, connection: Connection) -> int:
        xmin, xmax = _snapshot(connection)
        if self._undated:
            self._gaps = [Gap(g.low, g.high, min(g.xmax, xmax), g.noticed) for g in self._gaps]
            self._undated = False
        return xmin

    def _follow(self, connection: Connection, ids: list[int], xmin: int) -> bool:
        """Know what was found. True: there was more than can be told of singly."""
        lost = self._lost_until is not None and self._lost_until <= xmin
        if lost:
            self._lost_until = None
        self._gaps = [rest for gap in self._gaps if not gap.is_over(xmin) for rest in _without(gap, ids)]
        new = sorted(task_id for task_id in ids if task_id > self._top)
        self._too_many = len(new) >= MAX_FOUND
        if self._too_many:
            row = connection.execute(LAST_ID).fetchone()
            self._top = max(new[-1], row[0] if row and row[0] else 0)
            oldest, following = _snapshot(connection)
            if oldest < following:  # a transaction is open that may have taken an id below
                self._lost_until = following
            return True
        self._notice_gaps(connection, new)
        if len(self._gaps) > MAX_GAPS:
            self._lost_until = max(gap.xmax for gap in self._gaps[:-MAX_GAPS])
            self._gaps = self._gaps[-MAX_GAPS:]
        return lost

    def _notice_gaps(self, connection: Connection, new: list[int]) -> None:
        missing = []
        for task_id in new:
            if task_id > self._top + 1:
                missing.append((self._top + 1, task_id - 1))
            self._top = task_id
        if missing:
            xmax, now = _snapshot(connection)[1], time.monotonic()
            self._gaps += [Gap(low, high, xmax, now) for low, high in missing]


def _without(gap: Gap, ids: list[int]) -> Iterator[Gap]:
    """What is left of a gap when these have been found."""
    low = gap.low
    for task_id in sorted(task_id for task_id in ids if gap.low <= task_id <= gap.high):
        if task_id > low:
            yield Gap(low, task_id - 1, gap.xmax, gap.noticed)
        low = task_id + 1
    if low <= gap.high:
        yield Gap(low, gap.high, gap.xmax, gap.noticed)


def _snapshot(connection: Connection) -> tuple[int, int]:
    """The oldest transaction that is open, and the one that begins next."""
    row = connection.execute(SNAPSHOT).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _event(row: Observed) -> dict[str, Any]:
    name = row.event or "task.submitted"
    possible = STATES.get(name, ())
    state = row.state
    if possible and state not in possible:  # it has gone on since
        ahead = name == "task.submitted" and row.attempt == 0 and row.run_at > row.at
        state = "scheduled" if ahead else possible[0]
    data = task_data(row, state)
    if row.event is None:
        data["attempts"] = 0  # when it was created, whatever it has begun since
    match name:
        case "task.submitted":
            if state == "scheduled":
                data["scheduled_at"] = _utc(row.run_at)
        case "task.retrying":
            data |= {"error": event_text(row.error), "next_retry_at": _utc(row.run_at)}
        case _:
            worker_id = None if row.worker_id is None else str(row.worker_id)
            data |= {"worker_id": worker_id, "error": event_text(row.error), "duration_ms": None}
    return {"type": name, "timestamp": _utc(row.at), "data": data}


def _utc(time: datetime) -> datetime:
    return time.astimezone(UTC)
