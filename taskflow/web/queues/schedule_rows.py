"""Schedules as rows: found for whoever asks, and shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Row, Text, bindparam, func, or_, select, text, true
from sqlalchemy.dialects.postgresql import ARRAY

from taskflow.errors import InvalidSchedule
from taskflow.schedules import Timing
from taskflow.schema import schedules
from taskflow.tasks.task import PRIORITY_NAMES
from taskflow.web.access.auth import principal
from taskflow.web.http.encoding import utc
from taskflow.web.http.params import DIGITS, LARGEST_ID
from taskflow.web.http.problems import Problem
from taskflow.web.services import redaction_for_caller, services

SHOWN_TIMES = 5
WANTED = bindparam("wanted", type_=BigInteger)
NAME = bindparam("name", type_=Text)
# By its id, or else by its name: older ones may be a number.
FIND = (
    select(schedules, func.clock_timestamp().label("now"))
    .where(or_(schedules.c.id == WANTED, schedules.c.name == NAME))
    .order_by((schedules.c.id == WANTED).desc().nulls_last())
    .limit(1)
)
# The types that were ever registered, and whether a worker runs them now.
TYPES = text("""
SELECT t.type::text AS type, EXISTS (SELECT FROM taskflow.workers w WHERE t.type::text = ANY (w.types)) AS served
FROM taskflow.task_types t WHERE t.type::text = ANY (:types)
""").bindparams(bindparam("types", type_=ARRAY(Text)))


def read(schedule_id: str) -> Row[Any]:
    """The schedule with this id or name, and `now`. Raises `Problem` 404, also for one in a queue that is not seen."""
    number = int(schedule_id) if DIGITS.fullmatch(schedule_id) and int(schedule_id) <= LARGEST_ID else None
    rows = []
    if "\x00" not in schedule_id and not any("\ud800" <= character <= "\udfff" for character in schedule_id):
        rows = list(services().database.fetch(FIND, {"wanted": number, "name": schedule_id[:500]}))
    if not rows or not principal().sees(rows[0].queue):
        shown = schedule_id.encode("ascii", "backslashreplace").decode()[:100]
        raise Problem("schedule_not_found", f"There is no schedule {shown}.")
    return rows[0]


def visible() -> Any:
    """The condition for the schedules that whoever asks may see."""
    queues = principal().queues
    return true() if queues is None else schedules.c.queue.in_(sorted(queues))


def timing_of(row: Any) -> Timing:
    """When the schedule of a row fires."""
    return Timing(row.cron, row.interval, row.timezone, row.created_at, row.starts_at, row.ends_at)


def bodies_of(rows: Sequence[Row[Any]]) -> list[dict[str, Any]]:
    """Rows as JSON."""
    redaction = redaction_for_caller()
    warnings = _warnings({row.type for row in rows})
    return [
        {
            "id": str(row.id),
            "name": row.name,
            "type": row.type,
            "queue": row.queue,
            "payload": row.payload if redaction is None else redaction(row.payload),
            "priority": PRIORITY_NAMES[row.priority],
            "priority_value": row.priority,
            "cron": row.cron,
            "interval": row.interval,
            "timezone": row.timezone,
            "missed": row.missed,
            "overlap": row.overlap,
            "jitter": row.jitter,
            "max_runs": row.max_runs,
            "starts_at": utc(row.starts_at),
            "ends_at": utc(row.ends_at),
            "enabled": row.enabled,
            "next_run_at": utc(row.next_run_at),
            "last_run_at": utc(row.last_run_at),
            "run_count": row.run_count,
            "next_runs": _next_runs(row),
            "created_at": utc(row.created_at),
            "updated_at": utc(row.updated_at),
            "version": row.version,
            "warnings": [*_unreadable(row), *warnings.get(row.type, [])],
        }
        for row in rows
    ]


def _next_runs(row: Row[Any]) -> list[datetime]:
    if row.next_run_at is None or not row.enabled:
        return []
    count = SHOWN_TIMES if row.max_runs is None else max(1, min(SHOWN_TIMES, row.max_runs - row.run_count))
    first = utc(row.next_run_at)
    assert first is not None
    try:
        return [first, *timing_of(row).upcoming(first, count - 1)]
    except (InvalidSchedule, OverflowError):  # somebody has written it with SQL; the leader says so
        return [first]


def _unreadable(row: Row[Any]) -> list[str]:
    """What is wrong with a schedule that somebody has written with SQL: it never fires, and the leader logs it."""
    try:
        timing_of(row).check()
    except InvalidSchedule as error:
        return [f"It cannot fire: {error}."]
    return []


def _warnings(types: Iterable[str]) -> dict[str, list[str]]:
    served = dict(map(tuple, services().database.fetch(TYPES, {"types": sorted(types)})))
    return {type_: _warning(type_, served.get(type_)) for type_ in types}


def _warning(type_: str, served: bool | None) -> list[str]:
    match served:
        case None:
            return [f"No worker has ever registered the type {type_!r}: its tasks will wait for one that does."]
        case False:
            return [f"No worker runs the type {type_!r} at the moment: its tasks will wait for one that does."]
        case True:
            return []
