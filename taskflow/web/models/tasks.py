"""What requests about tasks may contain."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from taskflow.tasks.task import State
from taskflow.web.models.base import (
    CENTURY_SECONDS,
    EARLIEST,
    MONTH_SECONDS,
    WHOLE,
    Answer,
    Body,
    Delay,
    Key,
    Object,
    Older,
    PriorityField,
    Query,
    QueueName,
    TimeField,
    lower,
    takes_older,
)


class TaskBody(Body):
    """POST /tasks. None means: as the type or the queue has it; of `queue` "default", of `priority` "normal"."""

    model_config = ConfigDict(json_schema_extra=takes_older({"job_type": "type"}))

    type: str = Field(min_length=1, max_length=200)
    payload: Object = Field(default_factory=dict)
    queue: QueueName | None = None
    priority: PriorityField = None
    scheduled_at: TimeField = None
    delay: float | None = Field(None, ge=0, le=CENTURY_SECONDS)
    max_retries: Annotated[int, Field(ge=0, le=999), WHOLE] | None = None
    max_attempts: Annotated[int, Field(ge=1, le=1000), WHOLE] | None = None
    retry_strategy: Annotated[Literal["fixed", "linear", "exponential"] | None, BeforeValidator(lower)] = None
    retry_delay: Delay | None = None
    max_retry_delay: Delay | None = None
    timeout: float | None = Field(None, gt=0, le=MONTH_SECONDS)
    unique_key: Key | None = None
    on_conflict: Literal["skip", "error", "replace"] | None = None
    unique_for: float | None = Field(
        None,
        ge=0,
        le=CENTURY_SECONDS,
        description="seconds that the unique_key stays taken, also when the task has ended",
    )
    concurrency_key: Key | None = Field(None, description="at most the queue's key_limit of one key run at once")
    metadata: Object = Field(default_factory=dict)
    tags: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(default_factory=list, max_length=20)

    @model_validator(mode="before")
    @classmethod
    def _older_name_of_type(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "job_type" not in data:
            return data
        rest = {key: value for key, value in data.items() if key != "job_type"}
        if rest.setdefault("type", data["job_type"]) != data["job_type"]:
            raise PydanticCustomError("contradiction", "job_type is the older name of type: give one of them")
        return rest

    @field_validator("delay")
    @classmethod
    def _one_time(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("scheduled_at") is not None:
            raise PydanticCustomError("contradiction", "cannot be given together with scheduled_at")
        return value

    @field_validator("max_attempts")
    @classmethod
    def _agrees(cls, value: int | None, info: ValidationInfo) -> int | None:
        retries = info.data.get("max_retries")
        if value is not None and retries is not None and value != retries + 1:
            raise PydanticCustomError("contradiction", "does not agree with max_retries: attempts are retries + 1")
        return value

    @field_validator("unique_for")
    @classmethod
    def _of_a_key(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("unique_key") is None:
            raise PydanticCustomError("contradiction", "needs a unique_key")
        return value

    @property
    def run_at(self) -> datetime | None:
        """When the task is due; None is now. What is past is due now, and the database keeps no time before 2000."""
        return self.scheduled_at if self.scheduled_at and self.scheduled_at >= EARLIEST else None

    def options(self) -> Object:
        """The options of `taskflow.enqueue()`: only what was given, since the usual task has none."""
        given: Object = {
            "max_attempts": self.max_attempts if self.max_retries is None else self.max_retries + 1,
            "timeout": self.timeout,
            "retry_strategy": self.retry_strategy,
            "retry_delay": self.retry_delay,
            "max_retry_delay": self.max_retry_delay,
            "concurrency_key": self.concurrency_key,
            "metadata": self.metadata or None,
            "tags": self.tags or None,
            "on_conflict": self.on_conflict,
            "unique_for": self.unique_for,
            "delay": self.delay,
        }
        return {name: value for name, value in given.items() if value is not None}


class RetryBody(Body):
    """POST /tasks/{id}/retry: what the task is to have when it runs again; None leaves it as it was."""

    payload: Object | None = None
    queue: QueueName | None = None
    priority: PriorityField = None
    scheduled_at: TimeField = None

    def options(self) -> Object:
        """The options of `taskflow.retry_task()`."""
        run_at = self.scheduled_at if self.scheduled_at and self.scheduled_at >= EARLIEST else None
        given: Object = {"payload": self.payload, "queue": self.queue, "priority": self.priority, "run_at": run_at}
        return {name: value for name, value in given.items() if value is not None}


class TaskQuery(Query):
    """GET /tasks/{id}."""

    wait: int | None = Field(None, ge=1, le=25, description="seconds to hold the answer, until the task ends")


class Task(Answer):
    """A task, as every endpoint answers it."""

    id: str
    type: str
    queue: str
    payload: Any
    priority: str
    priority_value: int
    state: State
    attempt: int
    failures: int
    max_attempts: int
    max_retries: int
    timeout: float
    progress: int | None
    progress_message: str | None
    result: Any
    error: str | None
    metadata: Any
    tags: list[str]
    unique_key: str | None
    concurrency_key: str | None
    worker_id: str | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    scheduled_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    next_retry_at: datetime | None
    cancel_requested: bool
    schedule_id: str | None
    version: int
    task_id: str = Older("id")
    job_id: str = Older("id")
    status: str = Older("state")
    attempts: int = Older("attempt")


class CreatedTask(Task):
    """POST /tasks."""

    created: bool


class Execution(Answer):
    """An attempt of a task."""

    attempt: int
    status: Literal["started", "succeeded", "failed", "timed_out", "lost", "cancelled", "snoozed"]
    worker_id: str | None
    started_at: datetime
    finished_at: datetime | None
    duration_ms: float | None
    error: str | None
    traceback: str | None
    logs: list[Any]


class Executions(Answer):
    """GET /tasks/{id}/executions."""

    executions: list[Execution]
    count: int
