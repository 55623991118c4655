"""What the paths under /admin answer that are nowhere else."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from taskflow.web.models.base import Answer
from taskflow.web.models.statistics import QueueStatistics
from taskflow.web.models.task_lists import Priorities, Totals


class AdminQueues(Answer):
    """GET /admin/queues."""

    queues: Priorities
    by_queue: list[QueueStatistics]
    scheduled_count: int
    dlq_size: int
    totals: Totals


class PriorityPurged(Answer):
    """DELETE /admin/queues/{priority}."""

    message: Literal["queue purged"]
    priority: Literal["critical", "high", "normal", "low"]
    deleted_count: int = Field(description="tasks that waited and now are cancelled")


class TaskRequeued(Answer):
    """POST /admin/tasks/{id}/retry."""

    message: Literal["task re-queued"]
    task_id: str
