"""How many tasks there are, how fast they end and who works on them: the figures of lists, statistics and dashboards.

What lives is counted, exactly, when it is asked for; where that takes long, since very much lives, one reading serves
for ten times as long as it took. What has ended is known from the leader's counts: history is never read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import text

from taskflow.tasks.durations import BUCKETS
from taskflow.web.database import Database
from taskflow.web.reporting.fresh import Fresh

QUICK_SECONDS = 0.02
REST = 10.0
LONGEST_SECONDS = 10.0
RATES_SECONDS = 1.0  # the leader counts about every ten seconds
THROUGHPUT_MINUTES = 5
RATES_MINUTES = 60

SELECT_LIVE = text("""
SELECT queue, priority, state, count, extract(epoch FROM statement_timestamp() - due_since)::float8
FROM taskflow.live_counts()
""")
SELECT_ENDED = text("SELECT queue, state, count FROM taskflow.ended_counts()")
SELECT_RATES = text(f"""
SELECT s.queue,
       coalesce(sum(s.count) FILTER (WHERE s.minute > now() - interval '{THROUGHPUT_MINUTES} min'), 0)::bigint,
       sum(s.count)::bigint, sum(s.duration_seconds),
       ARRAY[{", ".join(f"sum(s.duration_buckets[{bucket}])::bigint" for bucket in BUCKETS)}]
FROM taskflow.task_stats s
WHERE s.minute > now() - interval '{RATES_MINUTES} min' AND s.outcome = 'succeeded'
GROUP BY s.queue
""")
SELECT_WORKERS = text("""
SELECT w.queues FROM taskflow.workers w
WHERE w.last_heartbeat > now() - make_interval(secs => :heartbeat_timeout)
""")

Value = TypeVar("Value")


class Live(NamedTuple):
    """Live tasks of a queue at a priority in a state that people see; `due_seconds`: since the first was due."""

    queue: str
    priority: int
    state: str
    tasks: int
    due_seconds: float | None


class Ended(NamedTuple):
    """Tasks of a queue that have ended in a state."""

    queue: str
    state: str
    tasks: int


class Rate(NamedTuple):
    """Attempts of a queue that succeeded: in the last five minutes; and in the last hour, with how long they took."""

    queue: str
    recent: int
    tasks: int
    seconds: float
    buckets: list[int]


class Figures:
    """One for each process. Raises `DatabaseUnavailable` where nothing is known that is young enough."""

    def __init__(self, database: Database, *, heartbeat_timeout: float) -> None:
        def read(statement: Any, **parameters: Any) -> list[Any]:
            return [tuple(row) for row in database.fetch(statement, parameters)]

        self._live = _Counted(lambda: [Live._make(row) for row in read(SELECT_LIVE)])
        self._ended = _Counted(lambda: [Ended._make(row) for row in read(SELECT_ENDED)])
        self._rates = Fresh(
            lambda: [Rate._make(row) for row in read(SELECT_RATES)], refresh_after=RATES_SECONDS, max_age=RATES_SECONDS
        )
        self._workers = Fresh(
            lambda: [row[0] for row in read(SELECT_WORKERS, heartbeat_timeout=heartbeat_timeout)],
            refresh_after=RATES_SECONDS,
            max_age=RATES_SECONDS,
        )

    def live(self, queues: frozenset[str] | None) -> list[Live]:
        """What lives in these queues; None: in all."""
        return [row for row in self._live.get() if queues is None or row.queue in queues]

    def ended(self, queues: frozenset[str] | None) -> list[Ended]:
        """What has ended in these queues; None: in all."""
        return [row for row in self._ended.get() if queues is None or row.queue in queues]

    def rates(self, queues: frozenset[str] | None) -> list[Rate]:
        """How fast tasks of these queues ended lately; None: of all."""
        return [row for row in self._rates.get() if queues is None or row.queue in queues]

    def workers(self, queue: str) -> int:
        """How many workers with a recent heartbeat serve the queue."""
        return sum(1 for served in self._workers.get() if served is None or queue in served)


class _Counted(Generic[Value]):
    """Read for everybody who asks, as long as that is quick."""

    def __init__(self, read: Callable[[], Value]) -> None:
        self._read = read
        self._keep = 0.0
        self._fresh = Fresh(self._timed, refresh_after=0, max_age=0)

    def get(self) -> Value:
        return self._fresh.get_newer_than(self._keep, 2 * self._keep)

    def _timed(self) -> Value:
        started = time.monotonic()
        value = self._read()
        took = time.monotonic() - started
        self._keep = 0.0 if took < QUICK_SECONDS else min(REST * took, LONGEST_SECONDS)
        return value
