"""POST /tasks/bulk and what it answers."""

from __future__ import annotations

from pydantic import Field

from taskflow.web.models.base import Answer, Body, Query
from taskflow.web.models.tasks import TaskBody


class BulkBody(Body):
    """Up to 10,000 tasks; as application/x-ndjson one a line, without the list around them."""

    tasks: list[TaskBody] = Field(max_length=10_000)


class BulkQuery(Query):
    """All or nothing, or what can be."""

    partial: bool = Field(False, description="store what is right, and say for each of the others what is wrong")


class BulkTask(Answer):
    """What became of a task; `created` false: a live one has its unique key."""

    id: str
    created: bool
    state: str


class BulkCreated(Answer):
    """All are stored; in the order of the request."""

    created: int = Field(description="how many were created, without those whose unique key was taken")
    tasks: list[BulkTask]


class BulkError(Answer):
    """Why a task was not stored."""

    code: str
    detail: str
    errors: list[BulkFieldError]
    conflicting_task_id: str | None = Field(None, description="of `unique_conflict`: the task that has the unique key")


class BulkFieldError(Answer):
    """What is wrong, and where in the request."""

    pointer: str
    code: str
    detail: str


class BulkResult(Answer):
    """`id`, `created` and `state` of a task that is stored, otherwise `error`."""

    index: int
    id: str | None = None
    created: bool | None = None
    state: str | None = None
    error: BulkError | None = None


class BulkPartial(Answer):
    """With `partial`: a result for each task, in the order of the request."""

    created: int
    failed: int
    results: list[BulkResult]


BulkError.model_rebuild()
