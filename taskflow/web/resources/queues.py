"""/api/v1/queues: the queues and their settings."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request, url_for
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Row,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from taskflow.errors import FieldProblem
from taskflow.schema import queues, tasks_live
from taskflow.web.access import audit
from taskflow.web.access.auth import require_queue
from taskflow.web.http import bodies
from taskflow.web.http.conditional import expected_versions, precondition_failed, tagged
from taskflow.web.http.encoding import answer
from taskflow.web.http.lists import cursor_after, page, place_of
from taskflow.web.http.operation import operation
from taskflow.web.http.problems import Problem
from taskflow.web.models.queues import (
    DeleteQueueQuery,
    MergePatch,
    NewQueue,
    PatchQueue,
    PutQueue,
    Queue,
    QueueDeleted,
    Queues,
    QueueSettings,
    QueuesQuery,
)
from taskflow.web.queues import queue_rows
from taskflow.web.queues.purging import purge as cancel_waiting
from taskflow.web.services import services

MOUNTS = {"queues": "/api/v1/queues"}
DEFAULT = "default"
PATCH_TRIES = 20
SETTINGS = tuple(QueueSettings.model_fields)


def _has(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(tasks_live.c.id).where(tasks_live.c.queue == queue_rows.NAME, *conditions).exists()


# What waits or runs, and what is blocked, each by one look into an index.
HAS_TASKS = or_(_has(tasks_live.c.key_state.is_distinct_from("blocked")), _has(tasks_live.c.key_state == "blocked"))
CREATE = upsert(queues).on_conflict_do_nothing().returning(queues)
WAS_THERE = literal_column("xmax <> 0", Boolean).label("was_there")  # what ON CONFLICT has updated was locked first
COUNT, COLUMNS = select(func.count()).select_from(queues), select(queues)
DELETE = delete(queues).where(queue_rows.AS_KNOWN, ~HAS_TASKS).returning(queues.c.name)
DELETE_ANYHOW = delete(queues).where(queue_rows.AS_KNOWN).returning(queues.c.name)

blueprint = Blueprint("queues", __name__)


@blueprint.post("")
@operation("operate", {201: Queue}, body=NewQueue, errors=("queue_exists", "queue_not_allowed"), idempotent=True)
def create(body: NewQueue) -> Response:
    """Create a queue

    A queue also comes about by the first task that names it, with all defaults.
    """
    require_queue(body.name)
    rows = audit.change(CREATE, body.columns(), action="queue.create", target=body.name)
    if not rows:
        raise Problem("queue_exists", f"There is a queue {body.name} already: change it with PUT or PATCH.")
    return _tagged(rows[0], 201)


@blueprint.get("")
@operation("read", {200: Queues}, query=QueuesQuery)
def index(query: QueuesQuery) -> Response:
    """The queues by their names"""
    place = place_of(query.cursor, str)
    if place is None:
        queue_rows.adopt()
    count, parameters = queue_rows.visible(COUNT)
    found, _ = queue_rows.visible(COLUMNS)
    if place is not None:
        found = found.where(queues.c.name > bindparam("after"))
        parameters["after"] = place[0]
    database = services().database
    found = found.order_by(queues.c.name).limit(query.limit + 1).offset(query.offset)
    rows = database.fetch(found, parameters)
    total = database.fetch(count, {"allowed": parameters["allowed"]})[0][0]
    shown = [queue_rows.body(row) for row in rows[: query.limit]]
    next_cursor = cursor_after(shown[-1]["name"]) if len(rows) > query.limit else None
    return page("queues", shown, next_cursor, total=total, limit=query.limit, offset=query.offset)


@blueprint.get("/<name>")
@operation("read", {200: Queue}, errors=("queue_not_found",))
def show(name: str) -> Response:
    """A queue"""
    return _tagged(queue_rows.read(name))


@blueprint.put("/<name>")
@operation("operate", {200: Queue, 201: Queue}, body=PutQueue, errors=("queue_not_allowed", "precondition_failed"))
def replace(name: str, body: PutQueue) -> Response:
    """Replace all settings of a queue, or create it

    What is left out gets its default. With If-Match it is replaced only, and only as the client knows it.
    """
    _check_name(name, body.name)
    require_queue(name)
    columns = {setting: value for setting, value in body.columns().items() if setting != "name"}
    versions = expected_versions()
    if "If-Match" in request.headers:
        statement: Any = update(queues).where(queue_rows.AS_KNOWN).values({**columns, **queue_rows.CHANGED})
        statement = statement.returning(queues, literal_column("true").label("was_there"))
        parameters = {"wanted": name, "versions": versions}
    else:
        statement = upsert(queues).values(name=name, **columns)
        statement = statement.on_conflict_do_update(
            index_elements=["name"], set_={**columns, **_by_name(queue_rows.CHANGED)}
        )
        statement = statement.returning(queues, WAS_THERE)
        parameters = {}
    rows = audit.change(statement, parameters, action="queue.replace", target=name)
    if not rows:
        raise precondition_failed()
    return _tagged(rows[0], 200 if rows[0].was_there else 201)


@blueprint.patch("/<name>")
@operation("operate", {200: Queue}, body=PatchQueue, errors=("queue_not_found", "precondition_failed"))
def change(name: str, body: MergePatch) -> Response:
    """Change some settings of a queue

    A JSON merge patch (RFC 7396): what is left out stays, null gives back the default, also within type_limits and
    retention.
    """
    expected = expected_versions()
    for _ in range(PATCH_TRIES):
        row = queue_rows.read(name)
        if expected is not None and row.version not in expected:
            raise precondition_failed()
        settings = {setting: row._mapping[setting] for setting in SETTINGS}
        columns = bodies.validate(QueueSettings, body.merged(settings)).columns()
        changed = {setting: value for setting, value in columns.items() if value != settings[setting]}
        if not changed:
            return _tagged(row)
        rows = audit.change(
            update(queues).where(queue_rows.AS_KNOWN).values({**changed, **queue_rows.CHANGED}).returning(queues),
            {"wanted": name, "versions": [row.version]},
            action="queue.change",
            target=name,
            details={"fields": sorted(changed)},
        )
        if rows:
            return _tagged(rows[0])
    raise Problem("precondition_failed", f"The queue {name} was changed by others {PATCH_TRIES} times meanwhile.")


@blueprint.delete("/<name>")
@operation(
    "operate",
    {200: QueueDeleted},
    query=DeleteQueueQuery,
    errors=("queue_not_found", "queue_not_empty", "wrong_state", "precondition_failed"),
)
def remove(name: str, query: DeleteQueueQuery) -> Response:
    """Delete a queue that has no tasks

    With `force` also one that has: what waits is cancelled, what runs goes on, with the settings of a new queue. What
    has ended stays in any case. `default` cannot be deleted.
    """
    row = queue_rows.read(name)
    if name == DEFAULT:
        raise Problem("wrong_state", "The queue default always exists; it can be paused or purged.")
    versions = expected_versions()
    if versions is not None and row.version not in versions:
        raise precondition_failed()
    deleted = cancel_waiting(queues=[name], action="queue.purge", target=name) if query.force else 0
    rows = audit.change(
        DELETE_ANYHOW if query.force else DELETE,
        {"wanted": name, "versions": versions},
        action="queue.delete",
        target=name,
    )
    if not rows:
        if versions is not None and queue_rows.read(name).version not in versions:
            raise precondition_failed()
        raise Problem("queue_not_empty", f"Tasks of the queue {name} wait or run: purge it first, or add ?force=true.")
    services().queues.forget(name)
    return answer({"message": "queue deleted", "name": name, "deleted_count": deleted})


def _tagged(row: Row[Any], status: int = 200) -> Response:
    document = {name: value for name, value in queue_rows.body(row).items() if name != "was_there"}
    headers = {"Location": url_for("queues.show", name=row.name)} if status == 201 else None
    return tagged(document, row.version, status, headers)


def _by_name(values: dict[Any, Any]) -> dict[str, Any]:
    return {column.name: value for column, value in values.items()}


def _check_name(name: str, repeated: str | None) -> None:
    """PUT creates: its address must be a name. Raises `Problem` 422."""
    bodies.validate(NewQueue, {"name": name})
    if repeated is not None and repeated != name:
        problem = FieldProblem("/name", "contradiction", "is not the name in the address: a queue keeps its name")
        raise Problem("invalid_request", f"/name: {problem.detail}", problems=[problem])
