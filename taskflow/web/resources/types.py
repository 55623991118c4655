"""/api/v1/types: what workers can run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Double, Integer, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from taskflow.tasks.task import PRIORITY_NAMES
from taskflow.web.access.auth import principal
from taskflow.web.http.encoding import utc
from taskflow.web.http.lists import cursor_after, page, place_of
from taskflow.web.http.operation import operation
from taskflow.web.models.base import Page
from taskflow.web.models.workers import RegisteredTypes
from taskflow.web.services import services

# A row of task_types is written when a worker starts; since then its heartbeats tell that the type is still known.
READ = text("""
SELECT y.type::text AS type, y.description, y.schema, y.queue::text AS queue, y.priority, y.max_attempts, y.timeout,
       y.retry_strategy::text AS retry_strategy, y.retry_delay, y.max_retry_delay, y.first_seen,
       greatest(y.last_seen, able.last_heartbeat) AS last_seen, able.ids
FROM taskflow.task_types y
CROSS JOIN LATERAL (
    SELECT array_agg(w.id ORDER BY w.id) AS ids, max(w.last_heartbeat) AS last_heartbeat
    FROM taskflow.workers w
    WHERE y.type::text = ANY (w.types) AND w.last_heartbeat > now() - make_interval(secs => :heartbeat_timeout)
      AND (:queues IS NULL OR w.queues IS NULL OR w.queues && :queues)) AS able
WHERE y.type COLLATE "C" > :after
ORDER BY y.type COLLATE "C" LIMIT :limit
""").bindparams(
    bindparam("queues", type_=ARRAY(Text)),
    bindparam("after", type_=Text),
    bindparam("heartbeat_timeout", type_=Double),
    bindparam("limit", type_=Integer),
)

blueprint = Blueprint("types", __name__, url_prefix="/api/v1/types")


@blueprint.get("")
@operation("read", {200: RegisteredTypes}, query=Page)
def index(query: Page) -> Response:
    """The registered task types

    By name. `last_seen` is when a worker that can run it was last heard of; a type stays when no worker can any more.
    """
    place = place_of(query.cursor, str)
    shared, allowed = services(), principal().queues
    rows = shared.database.fetch(
        READ,
        {
            "after": place[0] if place else "",
            "limit": query.limit + 1,
            "heartbeat_timeout": shared.settings.heartbeat_timeout,
            "queues": sorted(allowed) if allowed is not None else None,
        },
    )
    found, more = rows[: query.limit], len(rows) > query.limit
    return page("types", [_body(row._asdict()) for row in found], cursor_after(found[-1].type) if more else None)


def _body(row: Mapping[str, Any]) -> dict[str, Any]:
    queue = row["queue"]
    return {
        "type": row["type"],
        "description": row["description"],
        "schema": row["schema"],
        "queue": queue if queue is not None and principal().sees(queue) else None,
        "priority": PRIORITY_NAMES.get(row["priority"]) if row["priority"] is not None else None,
        "max_attempts": row["max_attempts"],
        "timeout": row["timeout"],
        "retry_strategy": row["retry_strategy"],
        "retry_delay": row["retry_delay"],
        "max_retry_delay": row["max_retry_delay"],
        "first_seen": utc(row["first_seen"]),
        "last_seen": utc(row["last_seen"]),
        "workers": [str(id) for id in row["ids"] or ()],
    }
