"""`report`: what became of the tasks of a day, a week or any other period, as the result, as a file, by mail."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from taskflow import Client, Context, DeadLetter, Snooze, task
from taskflow.handlers._files import Files, RelativePath
from taskflow.handlers._report_figures import Figures, Period
from taskflow.handlers._report_pages import FORMS, as_text
from taskflow.handlers._schemas import without_null
from taskflow.settings import process_settings

DAYS = {"daily": 1, "weekly": 7}
LONGEST = timedelta(days=92)
KEPT = timedelta(days=90)  # statistics; see taskflow.expire_rows()
SETTLING = timedelta(seconds=10)
TIMEOUT_SECONDS = 1800.0
MAILED_ONCE_FOR = timedelta(days=30)
FIRST_START = "SELECT coalesce(min(started_at), now()) FROM taskflow.task_attempts(%s)"

Address = Annotated[str, StringConstraints(pattern=r"^[^\s@<>,;]+@[^\s@<>,;]+$", max_length=320)]


class Report(BaseModel):
    """Which period, and where the report goes besides the result."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True, json_schema_extra=without_null)

    type: Literal["daily", "weekly", "custom"] = Field(
        description="daily: the last whole day; weekly: the last seven; custom: from … to."
    )
    start: AwareDatetime | None = Field(None, alias="from", description="For custom: the start, to the minute.")
    end: AwareDatetime | None = Field(
        None, alias="to", description="For custom: the end, to the minute; now at the latest."
    )
    timezone: str = Field(
        "UTC", max_length=100, description="The zone, as Europe/Berlin, whose days and hours these are."
    )
    path: RelativePath | None = Field(
        None, description="Store it below TASKFLOW_FILES_ROOT as well: a name that ends in .json, .html or .csv."
    )
    email_to: list[Address] = Field(
        default_factory=list, max_length=20, description="Send it to these addresses, by a task of type email."
    )

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, KeyError):  # KeyError: ZoneInfoNotFoundError
            raise ValueError("no such time zone in the IANA database") from None
        return value

    @field_validator("path")
    @classmethod
    def _known_form(cls, value: str | None) -> str | None:
        if value is not None and not value.endswith(tuple(FORMS)):
            raise ValueError("it must end in .json, .html or .csv, which says what is stored")
        return value

    @model_validator(mode="after")
    def _has_a_period(self) -> Self:
        if self.type != "custom":
            if self.start is not None or self.end is not None:
                raise ValueError(f"a {self.type} report has no from and to: give custom")
            return self
        if self.start is None or self.end is None:
            raise ValueError("a custom report needs from and to")
        if not timedelta(minutes=1) <= self.end - self.start <= LONGEST:
            raise ValueError(f"to must be after from, by a minute to {LONGEST.days} days")
        return self

    def period(self, now: datetime) -> Period:
        """The period, as seen at this time."""
        if self.start is not None and self.end is not None:
            return Period(_minute(self.start), _minute(min(self.end, now)))
        zone = ZoneInfo(self.timezone)
        today = now.astimezone(zone).date()
        first = today - timedelta(days=DAYS[self.type])
        return Period(*(datetime.combine(day, time(), zone).astimezone(UTC) for day in (first, today)))


@task("report", timeout=TIMEOUT_SECONDS)
def report(payload: Report, context: Context) -> dict[str, Any]:
    """Return the figures of the period; docs/handlers.md lists them.

    The period is that before the task's first attempt, so a retry, whenever it comes, reports the same.
    Raises `DeadLetter` for a period that has not begun, or whose statistics are not kept any more.
    """
    files = Files.configured(process_settings()) if payload.path else None
    with context.connection() as connection:
        row = connection.execute(FIRST_START, (context.task_id,)).fetchone()
        period = payload.period(row[0] if row else datetime.now(UTC))
        _check(payload, period, datetime.now(UTC))
        figures = Figures(connection, period, payload.timezone)
        context.progress(5, "counting the last minutes")
        figures.count_what_is_left()
        days = list(period.days())
        for number, day in enumerate(days, 1):
            context.heartbeat()
            figures.add(day)
            context.progress(10 + 80 * number / len(days), f"{number} of {len(days)} days")
        result = _header(payload, period) | figures.shown()
    context.heartbeat()
    if files is not None and payload.path is not None:
        result["path"] = _store(files, payload.path, result, context)
    if payload.email_to:
        context.progress(95, "creating the mail")
        result["email_task_id"] = _mail(payload, result, context)
    return result


def _check(payload: Report, period: Period, now: datetime) -> None:
    if period.start < now - KEPT:
        raise DeadLetter(f"from lies before the last {KEPT.days} days, for which statistics are kept")
    if period.start >= period.end:
        raise DeadLetter("the period has not begun, or is shorter than a minute")
    if payload.type != "custom" and now < period.end + SETTLING:
        raise Snooze(SETTLING, "what ended just before the period's end may not have been written yet")


def _header(payload: Report, period: Period) -> dict[str, Any]:
    zone = ZoneInfo(payload.timezone)
    start, end = (moment.astimezone(zone).isoformat() for moment in period)
    return {"period": payload.type, "from": start, "to": end, "timezone": payload.timezone}


def _store(files: Files, path: str, result: dict[str, Any], context: Context) -> str:
    form = FORMS["." + path.rpartition(".")[2]]
    with files.create(path, f"{context.task_id}") as file:
        file.stream.write(form(result).encode())
    return path


def _mail(payload: Report, result: dict[str, Any], context: Context) -> int:
    """Create the task that sends it; the same one however often this task runs."""
    mail = {
        "to": payload.email_to,
        "subject": f"Tasks, {payload.type}: {result['from'][:16]} to {result['to'][:16]}",
        "text": as_text(result),
    }
    with context.connection() as connection, Client() as client:
        return client.enqueue(
            "email",
            mail,
            connection=connection,
            unique_key=f"report-{context.task_id}",
            unique_for=MAILED_ONCE_FOR,
        ).id


def _minute(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(second=0, microsecond=0)
