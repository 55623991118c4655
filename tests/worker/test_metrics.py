"""What a worker counts: exact, whatever comes in a batch, and with a bounded number of labels."""

from __future__ import annotations

import random
from bisect import bisect_left
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prometheus_client.core import Metric

from taskflow.tasks.outcome import Cancelled, Failed, Outcome, Succeeded
from taskflow.tasks.task import ClaimedTask
from taskflow.worker import metrics as module
from taskflow.worker.attempt import Attempt
from taskflow.worker.ending import Ending
from taskflow.worker.metrics import SECONDS, Histogram, WorkerMetrics

Labels = tuple[tuple[str, str], ...]


def claimed(queue: str = "default", priority: int = 1, waited: float = 0.0, zone: tzinfo = UTC) -> ClaimedTask:
    due = (datetime.now(UTC) - timedelta(seconds=waited)).astimezone(zone)
    return ClaimedTask(1, 1, "t", queue, priority, due, {}, None, None, 0)


def ended(seconds: float | None, outcome: Outcome | None = None, queue: str = "default") -> Ending:
    handler: Any = None
    attempt = Attempt(claimed(queue), handler, 1, 0.0, 1.0, handler)
    attempt.started = None if seconds is None else 50.0
    return Ending(attempt, outcome, None, 50.0 + (seconds or 0.0))


def samples(metrics: WorkerMetrics, name: str) -> dict[tuple[str, Labels], float]:
    families: dict[str, Metric] = {family.name: family for family in metrics.collect()}
    return {
        (sample.name.removeprefix(f"taskflow_{name}"), tuple(sorted(sample.labels.items()))): sample.value
        for sample in families[f"taskflow_{name}"].samples
    }


@pytest.mark.parametrize("size", [1, 2, 7, 500])
def test_many_at_once_are_counted_as_one_after_the_other(size: int) -> None:
    values = sorted(random.Random(size).choices([*SECONDS, 0.0, 0.0017, 3.3, 1e6], k=size))
    at_once, singly = Histogram(SECONDS), Histogram(SECONDS)

    at_once.observe_sorted(values, SECONDS, sum(values))
    for number in values:
        singly.observe(number)

    assert at_once.counts == singly.counts
    assert at_once.total == pytest.approx(singly.total)
    assert singly.counts[bisect_left(SECONDS, values[0])] > 0
    assert at_once.buckets()[-1] == ("+Inf", size)


def test_a_batch_of_all_kinds_is_sorted_by_queue_type_and_outcome() -> None:
    metrics = WorkerMetrics()

    metrics.ended(
        [
            ended(0.2, Succeeded()),
            ended(0.004, Succeeded(), queue="mail"),
            ended(0.4, Failed("x")),
            ended(3.0, Succeeded()),
            ended(None, Cancelled("before it began")),
            ended(1.0, None),
        ]
    )

    found = samples(metrics, "task_duration_seconds")
    default = (("queue", "default"), ("status", "succeeded"), ("type", "t"))
    assert found["_count", default] == 2
    assert found["_sum", default] == pytest.approx(3.2)
    assert found["_bucket", (("le", "0.25"), *default)] == 1
    assert found["_count", (("queue", "mail"), ("status", "succeeded"), ("type", "t"))] == 1
    counts = {labels[0][1]: count for (_, labels), count in samples(metrics, "worker_tasks").items()}
    assert counts == {"succeeded": 3, "failed": 1, "cancelled": 1, "lost": 1, "timed_out": 0, "snoozed": 0}


@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")], ids=str)
def test_the_time_to_be_picked_up_is_counted_by_queue_and_priority(zone: tzinfo) -> None:
    metrics = WorkerMetrics()

    metrics.claimed([claimed("a", 2, 7, zone), claimed("a", 2, 0.3, zone), claimed("a", 1, 40, zone)])
    metrics.claimed([claimed("b", 1, 200 * 86_400, zone)])  # there was or will be another offset from UTC
    metrics.claimed([])

    found = samples(metrics, "task_pickup_seconds")
    high = (("priority", "high"), ("queue", "a"))
    assert (found["_count", high], found["_count", (("priority", "normal"), ("queue", "a"))]) == (2, 1)
    assert (found["_bucket", (("le", "0.5"), *high)], found["_bucket", (("le", "10.0"), *high)]) == (1, 2)
    assert found["_sum", high] == pytest.approx(7.3, abs=0.2)
    assert found["_sum", (("priority", "normal"), ("queue", "b"))] == pytest.approx(200 * 86_400, abs=0.2)
    assert samples(metrics, "claims")["_total", ()] == 3
    assert samples(metrics, "claim_batch_size")["_bucket", (("le", "0.0"),)] == 1


def test_a_clock_behind_that_of_the_database_gives_no_negative_times() -> None:
    metrics = WorkerMetrics()

    metrics.claimed([claimed(waited=0.2), claimed(waited=-60)])

    found = samples(metrics, "task_pickup_seconds")
    labels = (("priority", "normal"), ("queue", "default"))
    assert found["_bucket", (("le", "0.001"), *labels)] == 1
    assert found["_sum", labels] == pytest.approx(0.2, abs=0.1)


def test_queues_beyond_the_cap_count_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUEUES", 2)
    metrics = WorkerMetrics()

    for queue in ("a", "b", "c", "d", "a"):
        metrics.ended([ended(1.0, Succeeded(), queue=queue)])
        metrics.claimed([claimed(queue)])

    found = samples(metrics, "task_duration_seconds")
    counts = {dict(labels)["queue"]: count for (name, labels), count in found.items() if name == "_count"}
    assert counts == {"a": 2, "b": 1, "other": 2}
    picked = samples(metrics, "task_pickup_seconds")
    assert {dict(labels)["queue"] for _, labels in picked} == {"a", "b", "other"}
