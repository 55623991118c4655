"""/api/v1/dlq and /admin/dlq: dead letters, what they died of, and trying them again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import BigInteger, bindparam, text

from taskflow.errors import WrongState
from taskflow.schema import Time
from taskflow.web.access.redaction import Redaction
from taskflow.web.http import params
from taskflow.web.http.encoding import answer, utc
from taskflow.web.http.lists import cursor_after, page, place_of, unreadable
from taskflow.web.http.operation import operation
from taskflow.web.http.payload_size import check_payload_size
from taskflow.web.models.dead_letters import (
    DeadLetterQuery,
    DeadLetters,
    GroupQuery,
    Groups,
    Retried,
    RetryDeadLetters,
)
from taskflow.web.queues import dead_letters
from taskflow.web.queues.dead_letters import NO_FINGERPRINT, Selection
from taskflow.web.reporting import statistics
from taskflow.web.services import redaction_for_caller, services
from taskflow.web.tasks.lost_secrets import check_no_marks
from taskflow.web.tasks.representation import task_body
from taskflow.web.tasks.task_rows import read_row

# Name of the blueprint → prefix.
MOUNTS = {"dead_letters": "/api/v1/dlq", "admin_dead_letters": "/admin/dlq"}
FILTER_ERRORS = ("invalid_filter",)
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
MAX_ERROR = 500

blueprint = Blueprint("dead_letters", __name__)


@blueprint.get("")
@operation("read", {200: DeadLetters}, query=DeadLetterQuery, errors=FILTER_ERRORS)
def index(query: DeadLetterQuery) -> Response:
    """Dead letters, the latest first

    Each is a task whose attempts are used up, or that failed for good; it is kept until it is retried or removed.
    """
    condition, parameters = dead_letters.of_query(query).condition()
    if (place := place_of(query.cursor, int, int)) is not None:
        condition += " AND (t.finished_at, t.id) < (:finished_at, :after)"
        parameters |= {"finished_at": _moment(place[0]), "after": place[1]}
    statement = text(f"""
        WITH found AS MATERIALIZED (
            SELECT t.id FROM taskflow.tasks_dead t WHERE {condition}
            ORDER BY t.finished_at DESC, t.id DESC LIMIT :limit)
        SELECT l.* FROM found f JOIN taskflow.task_list l ON l.id = f.id AND l.stored_state = 'dead_letter'
        ORDER BY l.finished_at DESC, l.id DESC""")
    if place is not None:
        statement = statement.bindparams(bindparam("finished_at", type_=Time), bindparam("after", type_=BigInteger))
    rows = [row._mapping for row in services().database.fetch(statement, {**parameters, "limit": query.limit + 1})]
    shown = rows[: query.limit]
    last = shown[-1] if len(rows) > query.limit else None
    next_cursor = cursor_after((last["finished_at"] - EPOCH) // MICROSECOND, last["id"]) if last else None
    redaction = redaction_for_caller()
    entries = [_entry(row, redaction) for row in shown]
    return page("entries", entries, next_cursor, size=statistics.totals()["dead_letter"])


@blueprint.get("/groups")
@operation("read", {200: Groups}, query=GroupQuery, errors=FILTER_ERRORS)
def groups(query: GroupQuery) -> Response:
    """What they died of

    Dead letters of one type with the same error, but for ids, numbers and quoted values in it; the largest groups come
    first.
    """
    condition, parameters = dead_letters.of_query(query).condition()
    statement = text(f"""
        WITH found AS (
            SELECT t.type::text AS type, t.fingerprint, count(*) AS count, min(t.finished_at) AS first_seen,
                   max(t.finished_at) AS last_seen, max(t.id) AS sample_id
            FROM taskflow.tasks_dead t WHERE {condition}
            GROUP BY t.fingerprint, t.type ORDER BY count(*) DESC, t.fingerprint, t.type LIMIT :limit)
        SELECT f.*, left(s.error, {MAX_ERROR}) AS error
        FROM found f JOIN taskflow.tasks_dead s ON s.id = f.sample_id
        ORDER BY f.count DESC, f.fingerprint, f.type""")
    rows = services().database.fetch(statement, {**parameters, "limit": query.limit})
    found = [
        {
            "type": row.type,
            "fingerprint": row.fingerprint or NO_FINGERPRINT,
            "error": row.error,
            "count": row._mapping["count"],
            "first_seen": utc(row.first_seen),
            "last_seen": utc(row.last_seen),
            "sample_id": str(row.sample_id),
        }
        for row in rows
    ]
    return answer({"groups": found, "count": len(found)})


@blueprint.post("/retry")
@operation(
    "operate",
    {200: Retried},
    body=RetryDeadLetters,
    errors=(*FILTER_ERRORS, "task_not_found", "wrong_state", "unique_conflict", "invalid_payload", "unknown_type"),
)
def retry(body: RetryDeadLetters) -> Response:
    """Try dead letters again

    One by `task_id`, or many: in batches, passing over those whose unique key a live task has. `per_second` spreads the
    times at which they are due. With `dry_run` nothing is changed.
    """
    check_no_marks(payload=body.payload)
    if body.task_id is not None:
        return _retry_one(body.task_id, body)
    chosen, target = _chosen(body)
    if body.payload is not None:
        check_payload_size(body.payload)
        for type_ in dead_letters.types(chosen):
            services().types.check(type_, body.payload)
    if body.dry_run:
        return _retried("dry run: nothing was re-queued", dead_letters.count(chosen))
    count = dead_letters.retry(chosen, payload=body.payload, per_second=body.per_second, target=target)
    return _retried("tasks re-queued", count)


def _retry_one(task_id: str, body: RetryDeadLetters) -> Response:
    """One that was named: if it cannot be retried, whoever named it is told why."""
    number = params.task_id(task_id)
    row = read_row(number)
    if row["state"] != "dead_letter":
        raise WrongState(f"Task {number} is {row['state']}, not a dead letter.", state=row["state"])
    if body.payload is not None:
        check_payload_size(body.payload)
        services().types.check(row["type"], body.payload)
    if body.dry_run:
        return _retried("dry run: nothing was re-queued", 1)
    options = {} if body.payload is None else {"payload": body.payload}
    dead_letters.retry_one(number, options)
    return _retried("task re-queued", 1)


def _chosen(body: RetryDeadLetters) -> tuple[Selection, str]:
    """Those that are meant, and what to call them in the record."""
    if body.ids is not None:
        return dead_letters.of_ids(body.ids), f"{len(body.ids)} ids"
    if body.filter is not None:
        return dead_letters.of_text(body.filter), body.filter
    if body.group is not None:
        return dead_letters.of_group(body.group), f"group {body.group}"
    return dead_letters.everything(), "all"


def _retried(message: str, count: int) -> Response:
    return answer({"message": message, "retried_count": count})


def _entry(row: Mapping[Any, Any], redaction: Redaction | None) -> dict[str, Any]:
    return {
        "task": task_body(row, redaction),
        "task_id": str(row["id"]),
        "task_type": row["type"],
        "reason": "attempts_used_up" if row["failures"] >= row["max_attempts"] else "final",
        "original_error": row["error"],
        "attempts": row["attempt"],
        "added_at": utc(row["finished_at"]),
    }


def _moment(microseconds: int) -> datetime:
    try:
        return EPOCH + microseconds * MICROSECOND
    except OverflowError:
        raise unreadable() from None
