"""/api/v1/schedules: what creates tasks by itself, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, url_for
from sqlalchemy import BigInteger, Row, any_, bindparam, delete, func, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from taskflow.errors import InvalidSchedule, InvalidTask
from taskflow.schedules import Timing, check_name
from taskflow.schema import schedules
from taskflow.web.access import audit
from taskflow.web.access.auth import require_queue
from taskflow.web.http import bodies
from taskflow.web.http.conditional import expected_versions, precondition_failed, tagged
from taskflow.web.http.encoding import answer, encode
from taskflow.web.http.lists import cursor_after, page, place_of
from taskflow.web.http.operation import operation
from taskflow.web.http.payload_size import check_encoded_size
from taskflow.web.http.problems import Problem
from taskflow.web.models.schedules import (
    ChangedSchedule,
    MergePatch,
    NewSchedule,
    PatchSchedule,
    Preview,
    PreviewBody,
    Schedule,
    ScheduleDeleted,
    Schedules,
    SchedulesQuery,
)
from taskflow.web.models.tasks import CreatedTask
from taskflow.web.queues import schedule_rows
from taskflow.web.services import redaction_for_caller, services
from taskflow.web.tasks.lost_secrets import check_no_marks
from taskflow.web.tasks.representation import task_body

MOUNTS = {"schedules": "/api/v1/schedules"}
TRIES = 20
FIELDS = tuple(NewSchedule.model_fields)
# A change of one of these asks anew when the schedule fires next.
OF_TIME = frozenset({"cron", "interval", "timezone", "starts_at", "ends_at", "enabled", "max_runs"})
ID, VERSIONS = bindparam("wanted", type_=BigInteger), bindparam("expected", type_=ARRAY(BigInteger))
AS_KNOWN = (schedules.c.id == ID) & (or_(VERSIONS.is_(None), schedules.c.version == any_(VERSIONS)))
NOW = select(func.clock_timestamp())
RUN = select(func.taskflow.run_schedule(ID).label("task_id"))
READ_TASK = text("SELECT * FROM taskflow.read_task(:id)")
COUNT = select(func.count()).select_from(schedules)
NAME_TAKEN = "schedules_name_key"

blueprint = Blueprint("schedules", __name__)


@blueprint.post("")
@operation(
    "operate",
    {201: Schedule},
    body=NewSchedule,
    errors=("schedule_exists", "queue_not_allowed", "invalid_payload", "unknown_type"),
    idempotent=True,
)
def create(body: NewSchedule) -> Response:
    """Create a schedule

    `warnings` in the answer say what keeps its tasks from being run, a type that no worker knows for instance.
    """
    require_queue(body.queue)
    check_name(body.name)
    _check_payload(body)
    now = services().database.fetch(NOW)[0][0]
    columns = {**body.columns(), "created_at": now}
    columns["next_run_at"] = _next_run(columns, now)
    services().queues.ensure(body.queue)
    rows = audit.change(
        insert(schedules).values(columns).on_conflict_do_nothing().returning(schedules),
        {},
        action="schedule.create",
        target=body.name,
    )
    if not rows:
        raise _exists(body.name)
    return _tagged(rows[0], 201)


@blueprint.get("")
@operation("read", {200: Schedules}, query=SchedulesQuery)
def index(query: SchedulesQuery) -> Response:
    """The schedules, the oldest first"""
    place = place_of(query.cursor, int)
    wanted = [schedule_rows.visible()]
    for name in ("queue", "type", "enabled"):
        if (value := getattr(query, name)) is not None:
            wanted.append(schedules.c[name] == literal(value))
    database = services().database
    found = select(schedules).where(*wanted, schedules.c.id > (place[0] if place else 0))
    rows = database.fetch(found.order_by(schedules.c.id).limit(query.limit + 1).offset(query.offset))
    total = database.fetch(COUNT.where(*wanted))[0][0]
    shown = rows[: query.limit]
    next_cursor = cursor_after(shown[-1].id) if len(rows) > query.limit else None
    bodies = schedule_rows.bodies_of(shown)
    return page("schedules", bodies, next_cursor, total=total, limit=query.limit, offset=query.offset)


@blueprint.post("/preview")
@operation("read", {200: Preview}, body=PreviewBody)
def preview(body: PreviewBody) -> Response:
    """When a schedule would fire

    Nothing is stored. An interval counts from `starts_at`, or else from now.
    """
    now = services().database.fetch(NOW)[0][0]
    timing = Timing(body.cron, body.interval, body.timezone, now, body.starts_at, body.ends_at)
    timing.check()
    times = timing.upcoming(body.after or now, body.count)
    return answer({"next_runs": times, "count": len(times)})


@blueprint.get("/<schedule_id>")
@operation("read", {200: Schedule}, errors=("schedule_not_found",))
def show(schedule_id: str) -> Response:
    """A schedule by its id, or by its name"""
    return _tagged(schedule_rows.read(schedule_id))


@blueprint.patch("/<schedule_id>")
@operation(
    "operate",
    {200: Schedule},
    body=PatchSchedule,
    errors=(
        "schedule_not_found", "schedule_exists", "precondition_failed", "queue_not_allowed", "invalid_payload",
        "unknown_type",
    ),
)  # fmt: skip
def change(schedule_id: str, body: MergePatch) -> Response:
    """Change a schedule

    A JSON merge patch (RFC 7396): what is left out stays, null gives back the default. The payload is replaced as a
    whole; `cron` takes the place of `interval`, and the other way round. Where a field says when it fires, the next
    fire time is the first one from now on.
    """
    expected = expected_versions()
    check_no_marks(payload=getattr(body, "payload", None))
    for _ in range(TRIES):
        row = schedule_rows.read(schedule_id)
        if expected is not None and row.version not in expected:
            raise precondition_failed()
        settings = {name: row._mapping[name] for name in FIELDS}
        wanted = bodies.validate(NewSchedule, body.merged(_as_json(settings)))
        columns = wanted.columns()
        changed = {name: value for name, value in columns.items() if value != settings[name]}
        if not changed:
            return _tagged(row)
        if "name" in changed:
            check_name(wanted.name)
        if "queue" in changed:
            require_queue(wanted.queue)
            services().queues.ensure(wanted.queue)
        if changed.keys() & {"type", "payload"}:
            _check_payload(wanted)
        rows = _update(row, _with_next_run(row, columns, changed), action="schedule.change", fields=sorted(changed))
        if rows:
            return _tagged(rows[0])
    raise Problem("precondition_failed", f"The schedule was changed by others {TRIES} times meanwhile.")


@blueprint.delete("/<schedule_id>")
@operation("operate", {200: ScheduleDeleted}, errors=("schedule_not_found", "precondition_failed"))
def remove(schedule_id: str) -> Response:
    """Delete a schedule

    Tasks that it has created stay.
    """
    row = schedule_rows.read(schedule_id)
    rows = audit.change(
        delete(schedules).where(AS_KNOWN).returning(schedules.c.id),
        {"wanted": row.id, "expected": expected_versions()},
        action="schedule.delete",
        target=row.name,
    )
    if not rows:
        schedule_rows.read(schedule_id)  # whether it is gone
        raise precondition_failed()
    return answer({"message": "schedule deleted", "id": str(row.id), "name": row.name})


@blueprint.post("/<schedule_id>/pause")
@operation("operate", {200: ChangedSchedule}, errors=("schedule_not_found", "precondition_failed"))
def pause(schedule_id: str) -> Response:
    """Have a schedule create no tasks

    Fire times that go by meanwhile are not made up for.
    """
    return _set_enabled(schedule_id, enabled=False)


@blueprint.post("/<schedule_id>/resume")
@operation("operate", {200: ChangedSchedule}, errors=("schedule_not_found", "precondition_failed"))
def resume(schedule_id: str) -> Response:
    """Have a paused schedule create tasks again, from its next fire time on"""
    return _set_enabled(schedule_id, enabled=True)


@blueprint.post("/<schedule_id>/run")
@operation("operate", {201: CreatedTask}, errors=("schedule_not_found",), idempotent=True)
def run(schedule_id: str) -> Response:
    """Create a task of a schedule now

    Also of one that is paused, or whose task before still runs. Its next fire time stays as it is; the run counts
    towards `max_runs`.
    """
    row = schedule_rows.read(schedule_id)
    with services().database.transaction() as connection:
        task_id = connection.execute(RUN, {"wanted": row.id}).scalar_one()
        if task_id is not None:
            audit.record(connection, action="schedule.run", target=row.name)
            task = connection.execute(READ_TASK, {"id": task_id}).one()._asdict()
    if task_id is None:  # deleted meanwhile
        schedule_rows.read(schedule_id)
        raise Problem("schedule_not_found", "The schedule has just been deleted.")
    document = {**task_body(task, redaction_for_caller()), "created": True}
    return answer(document, 201, {"Location": url_for("tasks.show", task_id=document["id"])})


def _set_enabled(schedule_id: str, *, enabled: bool) -> Response:
    expected = expected_versions()
    verb = "resume" if enabled else "pause"
    for _ in range(TRIES):
        row = schedule_rows.read(schedule_id)
        if expected is not None and row.version not in expected:
            raise precondition_failed()
        if row.enabled == enabled:
            return _tagged(row, message=f"schedule {verb}d")
        changed = {"enabled": enabled}
        columns = {name: row._mapping[name] for name in FIELDS} | changed
        rows = _update(row, _with_next_run(row, columns, changed), action=f"schedule.{verb}")
        if rows:
            return _tagged(rows[0], message=f"schedule {verb}d")
    raise Problem("precondition_failed", f"The schedule was changed by others {TRIES} times meanwhile.")


def _update(row: Row[Any], values: dict[str, Any], *, action: str, fields: list[str] | None = None) -> Any:
    changes = {**values, "version": schedules.c.version + 1, "updated_at": func.now()}
    try:
        return audit.change(
            update(schedules).where(AS_KNOWN).values(changes).returning(schedules),
            {"wanted": row.id, "expected": [row.version]},
            action=action,
            target=row.name,
            details={"fields": fields} if fields else None,
        )
    except InvalidTask as error:
        if error.constraint == NAME_TAKEN:
            raise _exists(values["name"]) from error
        raise


def _with_next_run(row: Row[Any], columns: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """What changes, with the next fire time where that changes too; `columns` are those of the whole schedule then."""
    if not changed.keys() & OF_TIME:
        return changed
    following = _next_run({**columns, "created_at": row.created_at}, row.now)
    if columns["max_runs"] is not None and row.run_count >= columns["max_runs"]:
        following = None
    return {**changed, "next_run_at": following}


def _next_run(columns: dict[str, Any], now: datetime) -> datetime | None:
    timing = Timing(
        columns["cron"],
        columns["interval"],
        columns["timezone"],
        columns["created_at"],
        columns["starts_at"],
        columns["ends_at"],
    )
    timing.check()
    if not columns["enabled"]:
        return None
    following = timing.next_after(now)
    if following is None:
        raise InvalidSchedule("ends_at", "never_fires", "there is no fire time between now and then")
    return following


def _check_payload(schedule: NewSchedule) -> None:
    check_encoded_size(len(encode(schedule.payload)))
    services().types.check(schedule.type, schedule.payload)


def _as_json(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as a request would give them."""
    return {
        name: value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
        for name, value in settings.items()
    }


def _exists(name: str) -> Problem:
    return Problem("schedule_exists", f"There is a schedule {bodies.shorten(name)!r} already: change it with PATCH.")


def _tagged(row: Row[Any], status: int = 200, **more: Any) -> Response:
    document = schedule_rows.bodies_of([row])[0]
    headers = {"Location": url_for("schedules.show", schedule_id=document["id"])} if status == 201 else None
    return tagged(document | more, row.version, status, headers)
