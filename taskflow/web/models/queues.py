"""What requests about queues may contain, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from taskflow.web.models.base import (
    CENTURY_SECONDS,
    MONTH_SECONDS,
    WHOLE,
    Answer,
    Body,
    Delay,
    Integer,
    Page,
    Query,
    QueueName,
    lower,
)

MAX_TYPE_LIMITS = 1000
LARGE = 1_000_000
LARGEST_INTEGER = 2**31 - 1

Strategy = Annotated[Literal["fixed", "linear", "exponential"], BeforeValidator(lower)]
Count = Annotated[int, Field(ge=1, le=LARGE), WHOLE]
Rate = Annotated[int, Field(ge=1, le=1_000_000_000), WHOLE]
Period = Annotated[float, Field(gt=0, le=MONTH_SECONDS)]
Kept = Annotated[float, Field(gt=0, le=CENTURY_SECONDS)]
TypeName = Annotated[str, Field(min_length=1, max_length=200)]


class TypeLimit(Body):
    """The limits of one type within a queue."""

    rate_limit: Rate | None = Field(None, description="starts per period; null: no limit")
    rate_period: Period = Field(1, description="seconds")
    paused: bool = Field(False, description="its tasks wait")


class Retention(Body):
    """How long ended tasks of a queue are kept, in seconds. The system's time holds where it is shorter, and for a
    state that is not here."""

    completed: Kept | None = None
    failed: Kept | None = None
    cancelled: Kept | None = None
    dead_letter: Kept | None = None


def _few(limits: dict[str, TypeLimit]) -> dict[str, TypeLimit]:
    if len(limits) > MAX_TYPE_LIMITS:
        raise PydanticCustomError("too_long", f"has {len(limits):,} types; at most {MAX_TYPE_LIMITS:,} are possible")
    return limits


class QueueSettings(Body):
    """The settings of a queue; what is left out has its default."""

    priority: Integer = Field(0, ge=-LARGE, le=LARGE, description="queues with a higher one are served first")
    weight: Count = Field(1, description="share among queues of equal priority")
    max_workers: Count | None = Field(None, description="tasks that run at once, all workers together")
    key_limit: Count = Field(1, description="tasks of one concurrency_key that run at once")
    rate_limit: Rate | None = Field(None, description="task starts per period, in a sliding window")
    rate_period: Period = Field(1, description="seconds")
    type_limits: Annotated[dict[TypeName, TypeLimit], AfterValidator(_few)] = Field(
        default_factory=dict, description="the same for single types"
    )
    max_retries: Integer = Field(4, ge=0, le=999, description="attempts are one more")
    retry_strategy: Strategy = "exponential"
    retry_delay: Delay = Field(1, description="seconds")
    max_retry_delay: Delay = Field(600, description="seconds")
    retry_jitter: float = Field(0.1, ge=0, le=1, description="a fraction of the delay")
    timeout: float = Field(300, gt=0, le=MONTH_SECONDS, description="seconds")
    max_depth: Integer = Field(
        LARGE, ge=1, le=LARGEST_INTEGER, description="tasks that may wait; 503 beyond, up to 10,000 TF503 in SQL"
    )
    dead_letter: bool = Field(True, description="false: a task whose attempts are used up ends as failed")
    dead_letter_queue: QueueName | None = Field(None, description="a name that groups dead letters")
    aging_seconds: Period | None = Field(None, description="waiting that long lifts a task one priority")
    retention: Retention = Field(Retention(), description="seconds that ended tasks are kept, by state")
    paused: bool = Field(False, description="nothing is claimed from it")

    def columns(self) -> dict[str, Any]:
        """The values for the table."""
        return {
            **self.model_dump(exclude={"type_limits", "retention"}),
            "type_limits": {name: limit.model_dump() for name, limit in self.type_limits.items()},
            "retention": self.retention.model_dump(exclude_none=True),
        }


class NewQueue(QueueSettings):
    """POST /queues."""

    name: QueueName


class PutQueue(QueueSettings):
    """PUT /queues/{name}: all settings; what is left out gets its default."""

    name: QueueName | None = Field(None, description="may repeat the name in the address")


class MergePatch(Body):
    """PATCH /queues/{name}, as RFC 7396 has it: what is left out stays, and null gives back the default, also within
    type_limits and retention."""

    type_limits: dict[TypeName, dict[str, Any] | None] | None = None
    retention: dict[str, Any] | None = None

    def merged(self, settings: dict[str, Any]) -> dict[str, Any]:
        """`settings` of a queue with these changes, to be validated."""
        merged: dict[str, Any] = _merge(settings, self.model_dump(exclude_unset=True))
        return merged


def _merge(target: Any, patch: Any) -> Any:
    """JSON Merge Patch, section 2 of RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = _merge(kept.get(name), value)
    return kept


def _optional(field: FieldInfo) -> tuple[Any, Any]:
    """The definition of a field that may be left out or null, and else is like this one."""
    kind: Any = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return kind | None, Field(None, description=field.description)


_rest: dict[str, Any] = {
    name: _optional(field) for name, field in QueueSettings.model_fields.items() if name not in MergePatch.model_fields
}
PatchQueue = create_model("PatchQueue", __base__=MergePatch, __doc__=MergePatch.__doc__, **_rest)


class QueuesQuery(Page):
    """GET /queues."""

    offset: int = Field(0, ge=0, le=10_000, description="how many to skip; for small pages, a cursor is for all others")


class DeleteQueueQuery(Query):
    """DELETE /queues/{name}."""

    force: bool = Field(False, description="cancel what waits in it instead of refusing")


class Queue(Answer):
    """A queue."""

    name: str
    priority: int
    weight: int
    max_workers: int | None
    key_limit: int
    rate_limit: int | None
    rate_period: float
    type_limits: dict[str, Any]
    max_retries: int
    retry_strategy: Literal["fixed", "linear", "exponential"]
    retry_delay: float
    max_retry_delay: float
    retry_jitter: float
    timeout: float
    max_depth: int
    dead_letter: bool
    dead_letter_queue: str | None
    aging_seconds: float | None
    retention: dict[str, float]
    paused: bool
    version: int
    created_at: datetime
    updated_at: datetime


class Queues(Answer):
    """GET /queues."""

    queues: list[Queue]
    count: int
    next_cursor: str | None
    total: int
    limit: int
    offset: int


class QueuePaused(Answer):
    """POST /queues/{name}/pause."""

    message: Literal["queue paused"]
    name: str


class QueueResumed(Answer):
    """POST /queues/{name}/resume."""

    message: Literal["queue resumed"]
    name: str


class QueuePurged(Answer):
    """POST /queues/{name}/purge."""

    message: Literal["queue purged"]
    name: str
    deleted_count: int = Field(description="tasks that waited and now are cancelled")


class QueueDeleted(Answer):
    """DELETE /queues/{name}."""

    message: Literal["queue deleted"]
    name: str
    deleted_count: int = Field(description="tasks that waited and now are cancelled")
