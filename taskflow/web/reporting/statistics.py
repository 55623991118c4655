"""The statistics of queues and of the whole, put together from the figures, for whoever asks: a key that is limited to
some queues is told of these alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from taskflow.tasks.durations import percentile
from taskflow.tasks.task import PRIORITY_NAMES, STATES
from taskflow.web.access.auth import principal
from taskflow.web.http.encoding import utc
from taskflow.web.reporting.figures import THROUGHPUT_MINUTES, Ended, Live, Rate
from taskflow.web.services import services

# When an attempt of each queue ended last: two looks into an index a queue.
SELECT_LAST = text("""
SELECT q.queue, max(coalesce(s.last_finished_at, s.minute))
FROM unnest(CAST(:queues AS text[])) AS q (queue)
JOIN taskflow.task_stats s ON s.queue = q.queue
 AND s.minute = (SELECT max(l.minute) FROM taskflow.task_stats l WHERE l.queue = q.queue)
GROUP BY q.queue
""").bindparams(bindparam("queues", type_=ARRAY(Text)))
PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
# The fullest first, since a client shows them so.
PRIORITIES = tuple(PRIORITY_NAMES[priority] for priority in sorted(PRIORITY_NAMES, reverse=True))


def totals() -> dict[str, int]:
    """How many tasks there are in each state, and in all (`total`)."""
    figures, queues = services().figures, principal().queues
    counts = _by_state([*figures.live(queues), *figures.ended(queues)])
    return {state: counts[state] for state in STATES} | {"total": sum(counts.values())}


def whole() -> dict[str, Any]:
    """GET /stats."""
    counts = totals()
    speed = _speed(services().figures.rates(principal().queues))
    return {
        **counts,
        "processing": counts["running"],
        "throughput_per_minute": speed["throughput_per_minute"],
        "latency": {name: speed[name] for name in PERCENTILES},
    }


def of_queues(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The statistics of each of these queues, whoever asks."""
    figures, wanted = services().figures, frozenset(names)
    last = dict(map(tuple, services().database.fetch(SELECT_LAST, {"queues": sorted(wanted)})))
    live, ended, rates = (_by_queue(read(wanted)) for read in (figures.live, figures.ended, figures.rates))
    return {
        name: _of_queue(name, live[name], ended[name], rates[name], figures.workers(name), last.get(name))
        for name in sorted(wanted)
    }


def _of_queue(
    name: str, live: list[Live], ended: list[Ended], rates: list[Rate], workers: int, last: datetime | None
) -> dict[str, Any]:
    counts = _by_state([*live, *ended])
    due = [row.due_seconds for row in live if row.due_seconds is not None]
    return {
        "queue_name": name,
        **{f"{state}_count": counts[state] for state in STATES},
        "oldest_pending_seconds": round(max(0.0, *due), 3) if due else None,
        **_speed(rates),
        "active_workers": workers,
        "last_task_at": utc(last),
    }


def _speed(rates: Iterable[Rate]) -> dict[str, float | None]:
    rows = list(rates)
    count, seconds = sum(row.tasks for row in rows), sum(row.seconds for row in rows)
    buckets = [sum(column) for column in zip(*(row.buckets for row in rows), strict=True)]
    return {
        "throughput_per_minute": round(sum(row.recent for row in rows) / THROUGHPUT_MINUTES, 3),
        "avg_processing_time": round(seconds / count, 6) if count else None,
        **{name: percentile(buckets, fraction) for name, fraction in PERCENTILES.items()},
    }


def _by_state(rows: Iterable[Live | Ended]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.state] += row.tasks
    return counts


def _by_queue(rows: Iterable[Any]) -> defaultdict[str, list[Any]]:
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.queue].append(row)
    return found
