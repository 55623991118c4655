"""The counters of what has happened to tasks, in the whole database and by whoever; kept by the leader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, Metric

MAX_QUEUES, MAX_TYPES = 100, 100

# Rows of (counter, queue, type, NULL, value), to stand beside those of the gauges.
SELECT_COUNTERS = f"""
SELECT v.counter, t.queue, t.type, NULL, v.value
FROM taskflow.read_totals({MAX_QUEUES}, {MAX_TYPES}) t
CROSS JOIN LATERAL (VALUES
    ('tasks_created', t.created), ('tasks_completed', t.completed), ('attempts_failed', t.failed),
    ('attempts_retried', t.retried), ('tasks_dead_lettered', t.dead_lettered), ('tasks_rescued', t.rescued)
) AS v (counter, value)
"""
HELP = {
    "tasks_created": "Tasks that were created, by anybody",
    "tasks_completed": "Tasks whose handler succeeded",
    "attempts_failed": "Attempts that failed or timed out",
    "attempts_retried": "Attempts that failed in any way and were followed by another one",
    "tasks_dead_lettered": "Tasks that became dead letters",
    "tasks_rescued": "Attempts taken from a worker that died, or that ended before they had",
}


class DatabaseCounters:
    """Counters of an application, which never fall while it lives: somebody may delete what has been counted, and to
    Prometheus a counter that falls has begun anew."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, str, str], float] = {}

    def families(self, rows: Iterable[tuple[str, str | None, str | None, float]]) -> Iterator[Metric]:
        """The families of rows (counter, queue, type, value); rows of anything else are passed over."""
        families = {
            name: CounterMetricFamily(f"taskflow_{name}", description, labels=("queue", "type"))
            for name, description in HELP.items()
        }
        for name, queue, type_, value in rows:
            if name in families and queue is not None and type_ is not None:
                key = (name, queue, type_)
                self._highest[key] = highest = max(value, self._highest.get(key, 0.0))
                families[name].add_metric((queue, type_), highest)
        yield from families.values()
