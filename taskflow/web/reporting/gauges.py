"""The gauges that come from SQL: one statement, kept for some seconds, over what lives and never over history."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import text

from taskflow.errors import TaskflowError
from taskflow.tasks.task import PRIORITY_NAMES
from taskflow.web.database import Database
from taskflow.web.reporting.counters import SELECT_COUNTERS, DatabaseCounters

MAX_AGE_SECONDS = 5.0
# Counting a million waiting tasks takes a while: it may cost a twentieth of the database's time, not more.
REST_FACTOR = 20.0
MAX_QUEUES = 200
OTHER = "other"

# Rows of (gauge, queue, state, priority, value). tasks_dead is counted in its primary key alone. The sessions of other
# logins are shown without a type and without their times, unless one may see them: then nobody knows how old the oldest
# transaction is, and its value is NULL. Processes of the server itself have no user.
SELECT_GAUGES = text(f"""
WITH waiting AS (
    SELECT t.queue::text AS queue, taskflow.shown_state(t.state, t.run_at) AS state, t.priority, count(*) AS depth,
           min(t.run_at) FILTER (WHERE t.state IN ('pending', 'retrying')
                                 AND t.run_at <= statement_timestamp()) AS oldest
    FROM taskflow.tasks_live t
    GROUP BY 1, 2, 3)
SELECT 'queue_depth' AS gauge, queue, state, priority, depth::double precision AS value FROM waiting
UNION ALL
SELECT 'queue_oldest_task_age_seconds', queue, NULL, NULL, extract(epoch FROM statement_timestamp() - min(oldest))
FROM waiting GROUP BY queue HAVING min(oldest) IS NOT NULL
UNION ALL
SELECT 'queue_paused', name, NULL, NULL, paused::int FROM taskflow.queues
UNION ALL
SELECT 'workers_active', NULL, NULL, NULL, count(*) FROM taskflow.workers
WHERE last_heartbeat > now() - make_interval(secs => :heartbeat_timeout)
UNION ALL
SELECT 'dlq_size', NULL, NULL, NULL, count(*) FROM taskflow.tasks_dead
UNION ALL
SELECT 'schedules_enabled', NULL, NULL, NULL, count(*) FROM taskflow.schedules WHERE enabled
UNION ALL
SELECT 'oldest_transaction_age_seconds', NULL, NULL, NULL,
       CASE WHEN bool_and(backend_type IS NOT NULL) THEN coalesce(extract(epoch FROM now() - min(xact_start)), 0) END
FROM pg_stat_activity WHERE datname = current_database() AND coalesce(backend_type, 'client backend') = 'client backend'
    AND usesysid IS NOT NULL
UNION ALL
SELECT 'is_leader', NULL, NULL, NULL, count(*) FROM taskflow.leases WHERE name = 'leader' AND expires_at > now()
UNION ALL
{SELECT_COUNTERS}
""")

HELP = {
    "queue_depth": "Live tasks by queue, state and priority",
    "queue_oldest_task_age_seconds": "How long the task that waits longest has been due",
    "queue_paused": "1 while the queue is paused",
    "workers_active": "Workers with a recent heartbeat",
    "dlq_size": "Dead letters",
    "schedules_enabled": "Schedules that fire",
    "oldest_transaction_age_seconds": "Age of the oldest open transaction, which keeps dead rows alive",
    "is_leader": "1 while some process runs the leader's loops",
}
LABELS = {
    "queue_depth": ("queue", "state", "priority"),
    "queue_oldest_task_age_seconds": ("queue",),
    "queue_paused": ("queue",),
}

log = logging.getLogger("taskflow.web")


class Figure(NamedTuple):
    """One row of SELECT_GAUGES; of a counter, `state` is the type."""

    gauge: str
    queue: str | None
    state: str | None
    priority: int | None
    value: float


class DatabaseGauges(Collector):
    """Collected whenever somebody scrapes /metrics; without a database only what this process knows itself."""

    def __init__(self, database: Database, *, heartbeat_timeout: float) -> None:
        self._database = database
        self._parameters = {"heartbeat_timeout": heartbeat_timeout}
        self._counters = DatabaseCounters()
        self._started_at = time.monotonic()
        self._lock = threading.Lock()
        self._figures: list[Figure] | None = None
        self._valid_until = float("-inf")
        self._told_of_hidden = self._told_of_failure = False

    def collect(self) -> Iterator[Metric]:
        """Every gauge and counter, and whether the database could be asked."""
        figures = self._current()
        if figures is not None:
            yield from _families(figures)
            yield from self._counters.families((row.gauge, row.queue, row.state, row.value) for row in figures)
        yield _single("database_up", "1 while PostgreSQL answers", float(figures is not None))
        yield _single("uptime_seconds", "Since this process started", time.monotonic() - self._started_at)

    def _current(self) -> list[Figure] | None:
        """One scrape asks, others wait for its answer."""
        with self._lock:
            if time.monotonic() >= self._valid_until:
                started = time.monotonic()
                try:
                    rows = self._database.fetch(SELECT_GAUGES, self._parameters)
                    self._figures = [Figure._make(row) for row in rows if row.value is not None]
                    self._tell_of_hidden_transactions(len(self._figures) < len(rows))
                    self._told_of_failure = False
                except TaskflowError as error:
                    if not self._told_of_failure:
                        log.warning("gauges_not_read", extra={"error": str(error)})
                    self._figures, self._told_of_failure = None, True
                took = time.monotonic() - started
                self._valid_until = time.monotonic() + max(MAX_AGE_SECONDS, REST_FACTOR * took)
            return self._figures

    def _tell_of_hidden_transactions(self, hidden: bool) -> None:
        if hidden and not self._told_of_hidden:
            log.warning(
                "transactions_hidden",
                extra={
                    "metric": "taskflow_oldest_transaction_age_seconds",
                    "fix": "GRANT pg_read_all_stats to the login of the server: it does not see those of others",
                },
            )
        self._told_of_hidden = hidden


def _families(figures: list[Figure]) -> Iterator[Metric]:
    known = _queues_with_a_label(figures)
    for gauge, description in HELP.items():
        values: dict[tuple[str, ...], float] = {}
        for name, queue, state, priority, value in figures:
            if name != gauge:
                continue
            queue_label = queue if queue is None or queue in known else OTHER
            labels = tuple(
                str(label)
                for label in (queue_label, state, PRIORITY_NAMES.get(priority) if priority is not None else None)
                if label is not None
            )
            # What falls together under "other" adds up, except ages and flags, of which the largest counts.
            known_value = values.get(labels, 0.0)
            values[labels] = known_value + value if gauge == "queue_depth" else max(known_value, value)
        family = GaugeMetricFamily(f"taskflow_{gauge}", description, labels=LABELS.get(gauge, ()))
        for labels, value in sorted(values.items()):
            family.add_metric(labels, value)
        yield family


def _queues_with_a_label(figures: list[Figure]) -> frozenset[str]:
    """Clients choose the names of queues: the fullest have a label of their own, the rest is "other"."""
    depths: Counter[str] = Counter()
    for name, queue, _, _, value in figures:
        if queue is not None and name in LABELS:
            depths[queue] += int(value) if name == "queue_depth" else 0
    return frozenset(queue for queue, _ in depths.most_common(MAX_QUEUES))


def _single(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(f"taskflow_{name}", description, value=value)
