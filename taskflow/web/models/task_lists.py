"""GET /tasks: what it can be asked, and its answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from taskflow.web.models.base import Answer, Page, Query, TimeField
from taskflow.web.models.tasks import Task

Sort = Literal["-id", "id", "-created_at", "scheduled_at", "-priority", "-completed_at"]
Text = Annotated[str, Field(max_length=500)]
MAX_OFFSET = 1000
Q = Field(
    "",
    max_length=2000,
    description="the filter: `state:failed,dead_letter type:mail queue:x priority:high metadata.user:7"
    ' payload.to:"a@b" error:timeout worker:3 created:<1h id:5..9`; the other parameters narrow it further',
)


class TaskFilter(Query):
    """Which tasks: in the filter language, or by single parameters that mean the same."""

    q: str = Q
    type: Text | None = None
    queue: Text | None = None
    priority: Text | None = Field(None, description="0 to 3, or low, normal, high, critical")
    worker_id: Text | None = None
    created_after: TimeField = Field(None, description="created then or later")
    created_before: TimeField = Field(None, description="created before")
    metadata: dict[str, Text] = Field(default_factory=dict, max_length=10, description="`metadata[KEY]=VALUE`")


class TaskListQuery(TaskFilter, Page):
    """Which tasks, in which order."""

    state: list[Text] = Field(default_factory=list, max_length=20, description="one of these; may be repeated")
    sort: Sort = Field(
        "-id",
        description="`-created_at` is the order in which ids were given, the latest first; `-completed_at` has those"
        " that have not ended last; `scheduled_at` of all history is refused where that is long",
    )
    offset: int = Field(0, ge=0, le=MAX_OFFSET, description="for small pages; further on by cursor")


class AtPriority(Answer):
    """What is due, and what runs."""

    queued: int
    pending_unacked: int


class Priorities(Answer):
    """Each priority."""

    critical: AtPriority
    high: AtPriority
    normal: AtPriority
    low: AtPriority


class Totals(Answer):
    """Tasks by state, and in all."""

    pending: int
    scheduled: int
    blocked: int
    running: int
    retrying: int
    completed: int
    failed: int
    cancelled: int
    dead_letter: int
    total: int


class _List(Answer):
    """What lists under both names have."""

    count: int
    next_cursor: str | None
    total: int = Field(description="how many tasks fit the filter")
    total_estimated: bool = Field(description="whether `total` is an estimate, since to count them would take long")
    limit: int
    offset: int
    queues: Priorities
    queue_depths: dict[str, int] = Field(description="how many tasks wait in each queue, for whatever they wait")
    total_pending: int
    scheduled_count: int
    dlq_size: int
    totals: Totals


class TaskList(_List):
    """GET /tasks. The figures after `offset` are of all tasks, whatever the filter."""

    tasks: list[Task]


class JobList(_List):
    """GET /jobs."""

    jobs: list[Task]
