"""What is answered about numbers and speed."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from taskflow.web.models.base import Answer, Older
from taskflow.web.models.task_lists import Totals


class QueueStatistics(Answer):
    """GET /queues/{name}/stats."""

    queue_name: str
    pending_count: int = Field(description="due")
    scheduled_count: int
    blocked_count: int
    running_count: int
    retrying_count: int = Field(description="to run again later")
    completed_count: int
    failed_count: int
    cancelled_count: int
    dead_letter_count: int
    oldest_pending_seconds: float | None = Field(description="for how long the first has been due; null: none is")
    throughput_per_minute: float = Field(description="tasks that completed, over the last five minutes")
    avg_processing_time: float | None = Field(description="seconds, over the last hour; null: none completed")
    p50: float | None
    p95: float | None
    p99: float | None
    active_workers: int = Field(description="that serve the queue")
    last_task_at: datetime | None = Field(description="when an attempt of it ended last")


class Latency(Answer):
    """How long attempts took that succeeded within the last hour, in seconds."""

    p50: float | None
    p95: float | None
    p99: float | None


class Statistics(Totals):
    """GET /stats."""

    processing: int = Older("running")
    throughput_per_minute: float = Field(description="tasks that completed, over the last five minutes")
    latency: Latency


class ScheduleStatistics(Answer):
    """The schedules in numbers."""

    total_schedules: int
    enabled_schedules: int
    disabled_schedules: int
    total_runs: int


class Metrics(Answer):
    """GET /metrics, as JSON."""

    queue_stats: dict[str, QueueStatistics]
    schedule_stats: ScheduleStatistics
    timestamp: datetime
