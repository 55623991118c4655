"""Changes of one task and of many, and what they answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, RootModel, model_validator
from pydantic_core import PydanticCustomError

from taskflow.tasks.task import Priority
from taskflow.web.models.base import EARLIEST, Answer, Body, Object, PriorityField, Query, QueueName, TimeField
from taskflow.web.models.tasks import RetryBody, Task

MAX_IDS = 10_000
# Of a new task. That of `scheduled_at` is now, by the clock of the database.
DEFAULTS: Object = {"payload": {}, "priority": int(Priority.NORMAL), "queue": "default", "metadata": {}, "tags": []}
Id = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,18}$")]


class PatchBody(Body):
    """PATCH /tasks/{id}: what is left out stays, null gives back the default of a new task."""

    payload: Object | None = None
    priority: PriorityField = None
    queue: QueueName | None = None
    scheduled_at: TimeField = None
    metadata: Object | None = None
    tags: list[Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(None, max_length=20)

    def changes(self) -> Object:
        """What `taskflow.change_task()` is to change; `run_at` None: it is due now."""
        given: Object = {name: getattr(self, name) for name in self.model_fields_set}
        changes = {name: DEFAULTS.get(name) if value is None else value for name, value in given.items()}
        if "scheduled_at" in changes:
            time = changes.pop("scheduled_at")
            changes["run_at"] = None if time is None else max(time, EARLIEST).isoformat()
        return changes


class DeleteQuery(Query):
    """DELETE /tasks/{id}."""

    purge: bool = Field(False, description="remove an ended task and its executions, instead of cancelling a live one")


class TaskRemoved(Answer):
    """The task and its executions are gone."""

    message: str
    task_id: str


class CancelledOrRemoved(RootModel[Task | TaskRemoved]):
    """The cancelled task; with `purge`, that it is gone."""


class JobDeleted(Answer):
    """DELETE /jobs/{id}."""

    message: Literal["job deleted"]


class Why(Answer):
    """Why a task is not running."""

    reason: str
    code: Literal[
        "completed",
        "cancelled",
        "failed",
        "dead_letter",
        "running",
        "cancel_requested",
        "blocked",
        "scheduled",
        "retrying",
        "queue_paused",
        "no_worker",
        "no_worker_for_queue",
        "no_worker_for_type",
        "workers_paused",
        "key_limit",
        "type_paused",
        "max_workers",
        "rate_limit",
        "type_rate_limit",
        "waiting_its_turn",
        "workers_busy",
        "next",
    ]
    fix: str | None = Field(description="what to do about it; null: nothing needs to be done")


class BatchBody(Body):
    """POST /tasks/batch/…: which tasks, by their ids or by a filter."""

    ids: list[Id] | None = Field(None, max_length=MAX_IDS)
    filter: str | None = Field(None, min_length=1, max_length=2000)
    dry_run: bool = Field(False, description="count, and change nothing")
    per_second: float | None = Field(
        None, gt=0, le=100_000, description="how many a second: a retry makes them due one after the other at this pace"
    )

    @model_validator(mode="after")
    def _ids_or_filter(self) -> BatchBody:
        if (self.ids is None) == (self.filter is None or not self.filter.strip()):
            raise PydanticCustomError("contradiction", "give either ids or a filter that is not empty")
        return self


class BatchRetryBody(BatchBody):
    """POST /tasks/batch/retry: what they are to have when they run again; None leaves it as it was."""

    payload: Object | None = None
    queue: QueueName | None = None
    priority: PriorityField = None
    scheduled_at: TimeField = None

    @property
    def begins_at(self) -> datetime | None:
        """When the first of them is due; None is now."""
        return self.scheduled_at if self.scheduled_at and self.scheduled_at >= EARLIEST else None

    def options(self) -> Object:
        """The options of `taskflow.retry_task()` but the time."""
        return RetryBody(payload=self.payload, queue=self.queue, priority=self.priority, scheduled_at=None).options()


class BatchDone(Answer):
    """`matched`: the tasks that exist of these ids, or that fit the filter and are in a state that allows it."""

    matched: int
    affected: int = Field(
        description="with how many it was done; less than `matched` where the state of some does not allow it, a"
        " live task has their unique key, or the time of a request was up: send it again until this is 0"
    )
    dry_run: bool
