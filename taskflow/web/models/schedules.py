"""What requests about schedules may contain, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from taskflow.web.models.base import (
    CENTURY_SECONDS,
    MONTH_SECONDS,
    WHOLE,
    Answer,
    Body,
    Integer,
    Object,
    Page,
    PriorityField,
    QueueName,
    TimeField,
    lower,
    takes_older,
)

LARGEST_INTEGER = 2**31 - 1
OLDER_NAMES = {"job_type": "type", "cron_expr": "cron"}
Name = Annotated[
    str,
    Field(
        pattern=r"^[^/.\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,199}$",
        description="unique; up to 200 characters, none of them a slash, and not digits only, which stand for an id",
    ),
]
Cron = Annotated[
    str,
    Field(
        max_length=500,
        description="five fields, or one of @minutely @hourly @daily @weekly @monthly @yearly; instead of interval",
    ),
]
Interval = Annotated[float, Field(ge=1, le=CENTURY_SECONDS, description="seconds; instead of cron")]
Zone = Annotated[str, Field(min_length=1, max_length=100, description="an IANA name, such as Europe/Berlin")]


class Renamed(Body):
    """A body that takes older names of its fields as well."""

    model_config = ConfigDict(json_schema_extra=takes_older(OLDER_NAMES))

    @model_validator(mode="before")
    @classmethod
    def _older_names(cls, data: Any) -> Any:
        if not isinstance(data, dict) or OLDER_NAMES.keys().isdisjoint(data):
            return data
        renamed = {name: value for name, value in data.items() if name not in OLDER_NAMES}
        for older, name in OLDER_NAMES.items():
            if older in data and renamed.setdefault(name, data[older]) != data[older]:
                raise PydanticCustomError("contradiction", f"{older} is the older name of {name}: give one of them")
        return renamed


class NewSchedule(Renamed):
    """POST /schedules; what is left out has its default."""

    name: Name
    type: str = Field(min_length=1, max_length=200, description="of the tasks that it creates")
    queue: QueueName = "default"
    payload: Object = Field(default_factory=dict)
    priority: PriorityField = None
    cron: Cron | None = None
    interval: Interval | None = None
    timezone: Zone = "UTC"
    missed: Annotated[Literal["skip", "once", "all"], BeforeValidator(lower)] = Field(
        "once", description="what becomes of fire times that went by: none, one for all, each of the newest hundred"
    )
    overlap: Annotated[Literal["allow", "skip"], BeforeValidator(lower)] = Field(
        "allow", description="skip: no task while one of the schedule has not ended"
    )
    jitter: float = Field(0, ge=0, le=MONTH_SECONDS, description="seconds by which a task is late at most, at random")
    max_runs: Annotated[int, Field(ge=1, le=LARGEST_INTEGER), WHOLE] | None = Field(
        None, description="it fires no more after so many tasks, those by hand counted"
    )
    starts_at: TimeField = Field(None, description="no fire time is before it; an interval counts from it")
    ends_at: TimeField = Field(None, description="no fire time is after it")
    enabled: bool = True

    def columns(self) -> dict[str, Any]:
        """The values for the table."""
        return {**self.model_dump(), "priority": 1 if self.priority is None else self.priority}


class MergePatch(Renamed):
    """PATCH /schedules/{id}, as RFC 7396 has it: what is left out stays, null gives back the default. A payload is
    replaced as a whole, and so is an interval by cron, and cron by an interval."""

    def merged(self, settings: dict[str, Any]) -> dict[str, Any]:
        """`settings` of a schedule with these changes, to be validated."""
        patch = self.model_dump(exclude_unset=True, mode="json")
        for given, other in (("cron", "interval"), ("interval", "cron")):
            if patch.get(given) is not None:
                patch.setdefault(other, None)
        merged = settings | patch
        return {name: value for name, value in merged.items() if value is not None}


# The fields of NewSchedule, each of which may be left out or null.
PatchSchedule = create_model(
    "PatchSchedule",
    __base__=MergePatch,
    __doc__=MergePatch.__doc__,
    **{  # type: ignore[call-overload]  # pydantic's stub knows no mapping of definitions
        name: (
            Annotated[field.annotation, *field.metadata] | None if field.metadata else field.annotation | None,
            Field(None, description=field.description),
        )
        for name, field in NewSchedule.model_fields.items()
        if field.annotation is not None
    },
)


class PreviewBody(Renamed):
    """POST /schedules/preview."""

    cron: Cron | None = None
    interval: Interval | None = None
    timezone: Zone = "UTC"
    starts_at: TimeField = None
    ends_at: TimeField = None
    after: TimeField = Field(None, description="fire times after this one; null: after now")
    count: Integer = Field(5, ge=1, le=100, description="how many")


class SchedulesQuery(Page):
    """GET /schedules."""

    queue: str | None = Field(None, max_length=100)
    type: str | None = Field(None, max_length=200)
    enabled: bool | None = None
    offset: int = Field(0, ge=0, le=10_000, description="how many to skip; for small pages, a cursor is for all others")


class Schedule(Answer):
    """A schedule."""

    id: str
    name: str
    type: str
    queue: str
    payload: Any
    priority: str
    priority_value: int
    cron: str | None
    interval: float | None
    timezone: str
    missed: Literal["skip", "once", "all"]
    overlap: Literal["allow", "skip"]
    jitter: float
    max_runs: int | None
    starts_at: datetime | None
    ends_at: datetime | None
    enabled: bool
    next_run_at: datetime | None = Field(description="null: paused, or at its end")
    last_run_at: datetime | None
    run_count: int = Field(description="tasks that it has created, those by hand included")
    next_runs: list[datetime] = Field(description="the next five fire times, or as many as there are")
    created_at: datetime
    updated_at: datetime
    version: int
    warnings: list[str] = Field(description="why its tasks would not run as things are")


class ChangedSchedule(Schedule):
    """POST /schedules/{id}/pause and /resume."""

    message: str


class Schedules(Answer):
    """GET /schedules."""

    schedules: list[Schedule]
    count: int
    next_cursor: str | None
    total: int
    limit: int
    offset: int


class Preview(Answer):
    """POST /schedules/preview."""

    next_runs: list[datetime]
    count: int


class ScheduleDeleted(Answer):
    """DELETE /schedules/{id}."""

    message: str
    id: str
    name: str
