"""What requests may contain. Strict: a string is no number, and a field that is not here is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from taskflow.tasks.task import Priority

MONTH_SECONDS = 2_592_000
CENTURY_SECONDS = 3_155_760_000
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2199, 12, 31, tzinfo=UTC)
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _priority(value: Any) -> Any:
    if isinstance(value, str) and value.upper() in Priority.__members__:
        return int(Priority[value.upper()])
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 3:
        return value
    if value is None:
        return None
    raise PydanticCustomError("priority", "must be 0 to 3, or one of low, normal, high, critical")


def _time(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str) and RFC3339.fullmatch(value):
        try:
            # fromisoformat() reads microseconds: what is finer is cut.
            time = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value.upper())).astimezone(UTC)
        except (ValueError, OverflowError):
            raise PydanticCustomError("time", "is no date and time that exists") from None
        if time > LATEST:
            raise PydanticCustomError("time", "must be before the year 2200")
        return time
    raise PydanticCustomError("time", "must be an RFC 3339 time with a zone, such as 2030-01-31T09:30:00Z")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


PriorityField = Annotated[
    int | None,
    BeforeValidator(_priority),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 3},
                {"type": "string", "enum": [p.name.lower() for p in Priority]},
                {"type": "null"},
            ]
        }
    ),
]
TimeField = Annotated[
    datetime | None,
    BeforeValidator(_time),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
]
QueueName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
Key = Annotated[str, Field(min_length=1, max_length=500)]
Delay = Annotated[float, Field(ge=0, le=MONTH_SECONDS)]
Object = dict[str, Any]


class Body(BaseModel):
    """The root of all requests."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Nothing(Body):
    """A request that takes no fields."""


class TaskBody(Body):
    """POST /tasks. None means: as the type or the queue has it."""

    type: str = Field(min_length=1, max_length=200)
    payload: Object = Field(default_factory=dict)
    queue: QueueName | None = None
    priority: PriorityField = None
    scheduled_at: TimeField = None
    delay: float | None = Field(None, ge=0, le=CENTURY_SECONDS)
    max_retries: int | None = Field(None, ge=0, le=999)
    max_attempts: int | None = Field(None, ge=1, le=1000)
    retry_strategy: Annotated[Literal["fixed", "linear", "exponential"] | None, BeforeValidator(_lower)] = None
    retry_delay: Delay | None = None
    max_retry_delay: Delay | None = None
    timeout: float | None = Field(None, gt=0, le=MONTH_SECONDS)
    unique_key: Key | None = None
    on_conflict: Literal["skip", "error", "replace"] | None = None
    unique_for: float | None = None
    concurrency_key: Key | None = None
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
    def _not_yet(cls, value: float | None) -> float | None:
        if value is not None:
            raise PydanticCustomError(
                "not_supported", "is not supported by this version: a unique_key holds while its task is live"
            )
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
