"""/api/v1/audit: who has changed what."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Select, select

from taskflow.schema import audit_log
from taskflow.web.access.auth import require_every_queue
from taskflow.web.http.encoding import utc
from taskflow.web.http.lists import cursor_after, page, place_of
from taskflow.web.http.operation import operation
from taskflow.web.models.audit import AuditEntries, AuditQuery
from taskflow.web.services import services

blueprint = Blueprint("audit", __name__, url_prefix="/api/v1/audit")


@blueprint.get("")
@operation("admin", {200: AuditEntries}, query=AuditQuery)
def index(query: AuditQuery) -> Response:
    """What operators have changed, the newest first

    Each change is recorded in its own transaction: there is none without its entry. Tasks say themselves who created
    them.
    """
    require_every_queue()
    rows = services().database.fetch(_statement(query))
    found = [row._asdict() | {"id": str(row.id), "at": utc(row.at)} for row in rows[: query.limit]]
    return page("entries", found, cursor_after(int(found[-1]["id"])) if len(rows) > query.limit else None)


def _statement(query: AuditQuery) -> Select[Any]:
    statement = select(audit_log).order_by(audit_log.c.id.desc()).limit(query.limit + 1)
    place = place_of(query.cursor, int)
    if place:
        statement = statement.where(audit_log.c.id < place[0])
    if query.actor is not None:
        statement = statement.where(audit_log.c.actor == query.actor)
    if query.action is not None and query.action.endswith(".*"):
        statement = statement.where(audit_log.c.action.startswith(query.action[:-1], autoescape=True))
    elif query.action is not None:
        statement = statement.where(audit_log.c.action == query.action)
    if query.target is not None:
        statement = statement.where(audit_log.c.target == query.target)
    if query.created_after is not None:
        statement = statement.where(audit_log.c.at >= query.created_after)
    if query.created_before is not None:
        statement = statement.where(audit_log.c.at < query.created_before)
    return statement
