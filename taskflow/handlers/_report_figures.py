"""The figures of a period, from what the leader has counted of each minute; history is read by the day at most.

An attempt counts in the minute in which it ended. Only cancelled and failed tasks are counted themselves, in the index
by which they are ordered, since one that was cancelled while it waited has had no attempt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import psycopg

from taskflow.tasks.durations import BUCKETS, percentile

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# The leader counts a minute again for so long after its end.
LATE = 2 * MINUTE
PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
OUTCOMES = ("succeeded", "failed", "timed_out", "lost", "cancelled", "snoozed")
FAILURES = ("failed", "timed_out", "lost")
MAX_ROWS, MAX_HOURS, MAX_ERRORS, ERROR_CHARACTERS = 500, 5, 10, 300

COUNTED_UNTIL = "SELECT max(minute) FROM taskflow.task_stats WHERE minute <= now()"
COUNT = "SELECT taskflow.roll_up_minutes(%s, %s)"
ATTEMPTS = f"""
SELECT queue, type, outcome::text, sum(count)::bigint, sum(duration_seconds), sum(retried)::bigint,
       sum(dead_lettered)::bigint, ARRAY[{", ".join(f"sum(duration_buckets[{bucket}])::bigint" for bucket in BUCKETS)}]
FROM taskflow.task_stats WHERE minute >= %s AND minute < %s GROUP BY 1, 2, 3
"""
HOURS = """
SELECT date_trunc('hour', minute, %s), sum(count)::bigint,
       coalesce(sum(count) FILTER (WHERE outcome IN ('failed', 'timed_out', 'lost')), 0)::bigint
FROM taskflow.task_stats WHERE minute >= %s AND minute < %s GROUP BY 1
"""
ENDED = """
SELECT queue, type, state::text, count(*) FROM taskflow.tasks
WHERE state IN ('cancelled', 'failed') AND finished_at >= %s AND finished_at < %s GROUP BY 1, 2, 3
"""
ERRORS = """
SELECT type, min(left(error, %s)), count(*) FROM taskflow.tasks
WHERE state = 'dead_letter' AND finished_at >= %s AND finished_at < %s
GROUP BY type, fingerprint ORDER BY 3 DESC, 1, 2 LIMIT %s
"""


class Period(NamedTuple):
    """From one whole minute to another, which does not belong to it."""

    start: datetime
    end: datetime

    def days(self) -> Iterator[Period]:
        """The period in parts of a day at most."""
        start = self.start
        while start < self.end:
            end = min(start + DAY, self.end)
            yield Period(start, end)
            start = end


@dataclass(slots=True)
class Sums:
    """What was counted of one type in one queue, or of several together."""

    attempts: Counter[str] = field(default_factory=Counter)  # by outcome
    ended: Counter[str] = field(default_factory=Counter)  # "cancelled" and "failed" tasks
    retried: int = 0
    dead_lettered: int = 0
    seconds: float = 0.0  # of the attempts that succeeded, as the buckets
    buckets: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))

    def add(self, other: Sums) -> None:
        self.attempts.update(other.attempts)
        self.ended.update(other.ended)
        self.retried += other.retried
        self.dead_lettered += other.dead_lettered
        self.seconds += other.seconds
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]

    def shown(self) -> dict[str, Any]:
        """The part of the result that every level has: tasks by the state they ended in, attempts, latency."""
        completed, attempts = self.attempts["succeeded"], self.attempts.total()
        failures = sum(self.attempts[outcome] for outcome in FAILURES)
        return {
            "tasks": {
                "completed": completed,
                "failed": self.ended["failed"],
                "cancelled": self.ended["cancelled"],
                "dead_letter": self.dead_lettered,
            },
            "attempts": {outcome: self.attempts[outcome] for outcome in OUTCOMES} | {"total": attempts},
            "retried": self.retried,
            "failure_rate": round(failures / attempts, 6) if attempts else None,
            "latency": {
                "avg": round(self.seconds / completed, 6) if completed else None,
                **{name: percentile(self.buckets, fraction) for name, fraction in PERCENTILES.items()},
            },
        }


class Figures:
    """Gathers the figures of a period, a part at a time."""

    def __init__(self, connection: psycopg.Connection[Any], period: Period, timezone: str) -> None:
        self._connection = connection
        self._period = period
        self._timezone = timezone
        self._sums: dict[tuple[str, str], Sums] = {}
        self._hours: dict[datetime, tuple[int, int]] = {}

    def count_what_is_left(self) -> None:
        """Count the minutes of the period that the leader has not counted, or not for good: as it does, at most a day.
        This may be done again, and by two at once."""
        done = self._one(COUNTED_UNTIL) or self._period.start
        start = max(self._period.start, done - LATE, self._period.end - DAY)
        while start < self._period.end:
            end = min(start + HOUR, self._period.end)
            self._connection.execute(COUNT, (start, end))
            self._connection.commit()
            start = end

    def add(self, part: Period) -> None:
        """Read a part of the period: to be called once for each."""
        for queue, type_, outcome, count, seconds, retried, dead, buckets in self._rows(ATTEMPTS, *part):
            sums = Sums(Counter({outcome: count}), retried=retried, dead_lettered=dead)
            if outcome == "succeeded":
                sums.seconds, sums.buckets = seconds, buckets
            self._add(queue, type_, sums)
        for queue, type_, state, count in self._rows(ENDED, *part):
            self._add(queue, type_, Sums(ended=Counter({state: count})))
        for hour, attempts, failures in self._rows(HOURS, self._timezone, *part):
            before = self._hours.get(hour, (0, 0))
            self._hours[hour] = (before[0] + attempts, before[1] + failures)
        self._connection.rollback()

    def shown(self) -> dict[str, Any]:
        """The result, without what depends on the payload alone."""
        total = Sums()
        queues: dict[str, Sums] = {}
        types: dict[str, Sums] = {}
        for (queue, type_), sums in self._sums.items():
            total.add(sums)
            queues.setdefault(queue, Sums()).add(sums)
            types.setdefault(type_, Sums()).add(sums)
        return {
            **total.shown(),
            "queues": [{"queue": name, **sums.shown()} for name, sums in _fullest(queues)],
            "types": [{"type": name, **sums.shown()} for name, sums in _fullest(types)],
            "queues_and_types": [{"queue": q, "type": t, **sums.shown()} for (q, t), sums in _fullest(self._sums)],
            "busiest_hours": self._busiest(),
            "errors": self._errors(),
        }

    def _busiest(self) -> list[dict[str, Any]]:
        fullest = sorted(self._hours.items(), key=lambda item: (-item[1][0], item[0]))[:MAX_HOURS]
        return [
            {"hour": hour.astimezone(ZoneInfo(self._timezone)).isoformat(), "attempts": attempts, "failures": failures}
            for hour, (attempts, failures) in fullest
        ]

    def _errors(self) -> list[dict[str, Any]]:
        rows = self._rows(ERRORS, ERROR_CHARACTERS, *self._period, MAX_ERRORS)
        return [{"type": type_, "error": error, "dead_letters": count} for type_, error, count in rows]

    def _add(self, queue: str, type_: str, sums: Sums) -> None:
        self._sums.setdefault((queue, type_), Sums()).add(sums)

    def _rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()

    def _one(self, statement: str) -> Any:
        row = self._connection.execute(statement).fetchone()
        return row[0] if row else None


def _fullest(groups: dict[Any, Sums]) -> list[tuple[Any, Sums]]:
    """Those with the most attempts first; names are chosen by clients, so there may be any number of them."""
    order = sorted(groups.items(), key=lambda item: (-item[1].attempts.total(), item[0]))
    return order[:MAX_ROWS]
