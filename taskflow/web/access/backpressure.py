"""A queue that is full takes no more: 503 before anything is inserted, by a depth that is at most a second old.

No request counts. One statement a second reads the depths of all queues that could be full at all, and between two
readings each process adds what it has let in itself, and gives back what then created no task, as one whose unique key
is taken. So a limit is overshot by no more than what other producers (processes, SQL) put in within a second. When by
that sum a queue would be full it is read again at once, since workers take out meanwhile; but reading may take a
twentieth of the time, not more.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from sqlalchemy import Integer, bindparam, text

from taskflow.web.database import Database
from taskflow.web.http.problems import Problem
from taskflow.web.reporting.fresh import Fresh

REFRESH_SECONDS, MAX_AGE_SECONDS = 0.5, 1.0
AGAIN_SECONDS, REST_FACTOR = 0.02, 20.0
SELECT_DEPTHS = text("SELECT queue, max_depth, depth FROM taskflow.queue_depths()")
SELECT_DEPTHS_BELOW = text("SELECT queue, max_depth, depth FROM taskflow.queue_depths_below(:most)").bindparams(
    bindparam("most", type_=Integer)
)


@dataclass(slots=True)
class Level:
    """How full a queue was at the last reading, and what this process has let in since."""

    limit: int
    depth: int
    let_in: int = 0


@dataclass(slots=True)
class Levels:
    """One reading: the queues that could be full. `seconds`: what it took. `most`: what any other may hold; 0: what it
    likes."""

    queues: dict[str, Level]
    seconds: float
    most: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, queue: str, tasks: int) -> bool:
        """Whether so many more fit in; they are counted then."""
        level = self.queues.get(queue)
        if level is None:
            if not self.most:
                return True
            level = self.queues.setdefault(queue, Level(self.most, 0))  # nothing waited there
        with self.lock:
            if tasks and level.depth + level.let_in + tasks > level.limit:
                return False
            level.let_in += tasks
            return True

    def admit_some(self, queue: str, tasks: int) -> int:
        """How many of so many fit in; these are counted then."""
        if self.admit(queue, tasks):
            return tasks
        level = self.queues[queue]
        with self.lock:
            fit = max(0, min(tasks, level.limit - level.depth - level.let_in))
            level.let_in += fit
            return fit


@dataclass(frozen=True, slots=True)
class Place:
    """So many tasks that were let into a queue by a reading."""

    levels: Levels
    queue: str
    tasks: int

    def settle(self, created: int) -> None:
        """To be called when so many were created, also 0 of them: the others are given back."""
        level = self.levels.queues.get(self.queue)
        if level is not None and created != self.tasks:
            with self.levels.lock:
                level.let_in += created - self.tasks


class Backpressure:
    """Knows the queues that are full: by their own `max_depth`, and by `most` for every queue (0: by theirs alone)."""

    def __init__(self, database: Database, most: int = 0) -> None:
        self._database = database
        self._most = most
        self._levels = Fresh(self._read, refresh_after=REFRESH_SECONDS, max_age=MAX_AGE_SECONDS)

    def admit(self, queue: str | None, tasks: int = 1) -> Place:
        """To be called before tasks are created; None is the default queue. Raises `Problem` 503 unless they fit in."""
        name = queue or "default"
        levels = self._levels.get()
        if levels.admit(name, tasks):
            return Place(levels, name, tasks)
        patience = min(MAX_AGE_SECONDS, max(AGAIN_SECONDS, REST_FACTOR * levels.seconds))
        levels = self._levels.get_newer_than(patience, patience)
        if not levels.admit(name, tasks):
            level = levels.queues[name]
            wanted = f": {tasks:,} more do not fit in" if tasks > 1 else ""
            raise Problem(
                "queue_full",
                f"In the queue {name!r} {level.depth + level.let_in:,} tasks wait, and at most {level.limit:,} are"
                f" allowed{wanted}. Try again when workers have taken some, or raise"
                f" {_raised(level.limit, self._most)}.",
            )
        return Place(levels, name, tasks)

    def admit_some(self, queue: str, tasks: int) -> Place:
        """`admit` for as many as fit in."""
        levels = self._levels.get()
        return Place(levels, queue, levels.admit_some(queue, tasks))

    def _read(self) -> Levels:
        started = time.monotonic()
        rows = (
            self._database.fetch(SELECT_DEPTHS_BELOW, {"most": self._most})
            if self._most
            else self._database.fetch(SELECT_DEPTHS)
        )
        queues = {row.queue: Level(row.max_depth, row.depth) for row in rows}
        return Levels(queues, time.monotonic() - started, self._most)


def _raised(limit: int, most: int) -> str:
    """What allows more."""
    return "TASKFLOW_MAX_DEPTH of the server" if limit == most else "its max_depth"
