"""What requests about dead letters may contain, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from taskflow.web.models.base import Answer, Body, Object, Page, QueueName
from taskflow.web.models.task_lists import TaskFilter
from taskflow.web.models.tasks import Task

MAX_IDS = 10_000
Id = Annotated[str, Field(min_length=1, max_length=100)]
Fingerprint = Annotated[str, Field(min_length=1, max_length=100, description="as /dlq/groups tells it")]


class DeadLetterFilter(TaskFilter):
    """Which dead letters."""

    dead_letter_queue: QueueName | None = Field(None, description="of queues that name this one for theirs")
    group: Fingerprint | None = None


class DeadLetterQuery(DeadLetterFilter, Page):
    """GET /dlq."""


class GroupQuery(DeadLetterFilter):
    """GET /dlq/groups."""

    limit: int = Field(50, ge=1, le=200, description="how many at most")


class ClearQuery(DeadLetterFilter):
    """DELETE /dlq."""

    all: bool = Field(False, description="remove every dead letter; else a filter is needed")


class RetryDeadLetters(Body):
    """POST /dlq/retry: which, by one of the first five, and how."""

    task_id: Id | None = None
    ids: list[Id] | None = Field(None, min_length=1, max_length=MAX_IDS)
    filter: str | None = Field(None, min_length=1, max_length=2000, description="in the filter language")
    group: Fingerprint | None = None
    retry_all: bool = False
    dry_run: bool = Field(False, description="only tell how many there are")
    per_second: float | None = Field(
        None, gt=0, le=100_000, description="so many become due in a second, not all of them at once"
    )
    payload: Object | None = Field(None, description="instead of the one that they have")

    @model_validator(mode="after")
    def _one_choice(self) -> RetryDeadLetters:
        if self.filter is not None and not self.filter.strip():
            raise PydanticCustomError("blank", "filter must not be blank: retry_all: true is for all of them")
        chosen = [self.task_id, self.ids, self.filter, self.group, self.retry_all or None]
        if sum(choice is not None for choice in chosen) != 1:
            raise PydanticCustomError(
                "choice", "must have exactly one of task_id, ids, filter, group, and retry_all: true"
            )
        return self


class DeadLetter(Answer):
    """A task that is a dead letter."""

    task: Task
    task_id: str
    task_type: str
    reason: Literal["attempts_used_up", "final"] = Field(
        description="final: an error after which no further attempt was made, though there were some left"
    )
    original_error: str | None
    attempts: int
    added_at: datetime


class DeadLetters(Answer):
    """GET /dlq."""

    entries: list[DeadLetter]
    count: int
    size: int = Field(description="how many dead letters there are, whatever the filter")
    next_cursor: str | None


class Group(Answer):
    """Dead letters of one type that died of the same error, but for ids, numbers and quoted values in it."""

    type: str
    fingerprint: str
    error: str | None = Field(description="of the sample, its beginning")
    count: int
    first_seen: datetime
    last_seen: datetime
    sample_id: str


class Groups(Answer):
    """GET /dlq/groups."""

    groups: list[Group]
    count: int


class Retried(Answer):
    """POST /dlq/retry."""

    message: str
    retried_count: int = Field(description="with dry_run: how many would be")


class Cleared(Answer):
    """DELETE /dlq."""

    message: Literal["DLQ cleared"]
    deleted_count: int
