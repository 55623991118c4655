"""/api/v1/tasks, and the same under its older name /api/v1/jobs."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Blueprint, Response, request, url_for
from sqlalchemy import BigInteger, Boolean, ColumnClause, Table, Text, bindparam, column, func, select, text
from sqlalchemy.dialects.postgresql import JSONB

from taskflow.errors import FieldProblem, TaskNotFound, WrongState
from taskflow.schema import Time, task_executions, task_list
from taskflow.tasks.task import FINISHED_STATES
from taskflow.web import bodies, params
from taskflow.web.encoding import answer, encode, utc
from taskflow.web.models import Nothing, RetryBody, TaskBody
from taskflow.web.problems import Problem
from taskflow.web.representation import execution_body, task_body
from taskflow.web.services import redaction_for_caller, services

# Name of the blueprint, and so of the list in answers → prefix.
MOUNTS = {"tasks": "/api/v1/tasks", "jobs": "/api/v1/jobs"}
# A task that is snoozed for ever has attempts without end; the last ones tell the most.
MAX_EXECUTIONS = 1000


def _columns(view: Table) -> list[ColumnClause[Any]]:
    """The columns of a view, as those of a function that returns its rows."""
    return [column(found.name, found.type) for found in view.columns]


ID = bindparam("id", type_=BigInteger)
OPTIONS = bindparam("options", type_=JSONB)
# Created and read in one round trip, so that the answer shows the task as it was created, whoever claims it meanwhile.
ENQUEUE = (
    text(
        "SELECT created, (task).* FROM taskflow.enqueue_and_read("
        ":type, :payload, :queue, :priority, :run_at, :unique_key, :options)"
    )
    .bindparams(
        bindparam("type", type_=Text),
        bindparam("payload", type_=JSONB),
        bindparam("queue", type_=Text),
        bindparam("run_at", type_=Time),
        bindparam("unique_key", type_=Text),
        OPTIONS,
    )
    .columns(column("created", Boolean), *_columns(task_list))
)
READ = select(func.taskflow.read_task(ID).table_valued(*_columns(task_list)))
EXECUTIONS = (
    select(func.taskflow.task_attempts(ID).table_valued(*_columns(task_executions)).alias("e"))
    .order_by(text("e.attempt DESC, e.finished_at DESC"))
    .limit(MAX_EXECUTIONS)
)
CANCEL = select(func.taskflow.cancel(ID))
RETRY = select(func.taskflow.retry_task(ID, OPTIONS))

blueprint = Blueprint("tasks", __name__)


@blueprint.post("")
def create() -> Response:
    """201 with the task; 200 and `created: false` where a live one has the unique key."""
    params.only()
    body = bodies.read(TaskBody)
    _check_size(body.payload)
    shared = services()
    shared.types.check(body.type, body.payload)
    shared.queues.ensure(body.queue)
    row = shared.database.call(
        ENQUEUE,
        {
            "type": body.type,
            "payload": body.payload,
            "queue": body.queue,
            "priority": body.priority,
            "run_at": body.run_at,
            "unique_key": body.unique_key,
            "options": body.options(),
        },
    )[0]._asdict()
    document = task_body(row, redaction_for_caller()) | {"created": row["created"]}
    if not row["created"]:
        return answer(document)
    return answer(document, 201, {"Location": url_for(".show", task_id=document["id"])})


@blueprint.get("/<task_id>")
def show(task_id: str) -> Response:
    """The task; `?wait=` holds the answer until it has ended."""
    params.only("wait")
    number = params.task_id(task_id)
    seconds = params.wait_seconds()
    row = _read(number)
    if seconds is not None and row["state"] not in FINISHED_STATES:
        services().waiting.wait(number, seconds)
        row = _read(number)
    return _tagged(row)


@blueprint.get("/<task_id>/executions")
def executions(task_id: str) -> Response:
    """Its attempts in order, the one under way included."""
    params.only()
    number = params.task_id(task_id)
    rows = services().database.fetch(EXECUTIONS, {"id": number})
    if not rows:
        _read(number)  # no attempt yet, or no such task
    redaction = redaction_for_caller()
    found = [execution_body(row._asdict(), redaction) for row in reversed(rows)]
    return answer({"executions": found, "count": len(found)})


@blueprint.post("/<task_id>/cancel")
def cancel(task_id: str) -> Response:
    """200 cancelled, 202 its worker has been asked to stop, 409 it has ended otherwise."""
    params.only()
    number = params.task_id(task_id)
    bodies.read(Nothing)
    state = services().database.call(CANCEL, {"id": number})[0][0]
    match state:
        case None:
            raise TaskNotFound(number)
        case "cancelled" | "running":
            return _tagged(_read(number), 202 if state == "running" else 200)
        case _:
            raise WrongState(
                f"Task {number} has ended as {state}: only a task that lives can be cancelled.", state=state
            )


@blueprint.post("/<task_id>/retry")
def retry(task_id: str) -> Response:
    """An ended task becomes pending again, with what the body changes about it."""
    params.only()
    number = params.task_id(task_id)
    body = bodies.read(RetryBody)
    shared = services()
    if body.payload is not None:
        _check_size(body.payload)
        shared.types.check(_read(number)["type"], body.payload)
    shared.queues.ensure(body.queue)
    options = {name: _plain(value) for name, value in body.options().items()}
    state = shared.database.call(RETRY, {"id": number, "options": options})[0][0]
    if state is None:
        raise TaskNotFound(number)
    return _tagged(_read(number))


def _read(number: int) -> dict[str, Any]:
    rows = services().database.fetch(READ, {"id": number})
    if not rows:
        raise TaskNotFound(number)
    return rows[0]._asdict()


def _tagged(row: dict[str, Any], status: int = 200) -> Response:
    """The task with its ETag: the version, which a change names, and a digest, since the shown state changes with the
    time and the limits with the queue, without a new version."""
    body = encode(task_body(row, redaction_for_caller()))
    response = Response(body, status, mimetype="application/json")
    digest = hashlib.blake2b(body, digest_size=6).hexdigest()
    response.set_etag(f"{row['version']}-{digest}")
    response.headers["Cache-Control"] = "private, no-cache"
    if request.method in ("GET", "HEAD"):
        response.make_conditional(request)
    return response


def _check_size(payload: dict[str, Any]) -> None:
    limit = services().settings.max_payload_bytes
    if (request.content_length or limit + 1) <= limit:
        return  # the whole body is smaller
    size = len(encode(payload))
    if size > limit:
        problem = FieldProblem(
            "/payload", "payload_too_large", f"has {size:,} bytes as JSON; at most {limit:,} are allowed"
        )
        raise Problem("invalid_request", f"/payload: {problem.detail}", problems=[problem])


def _plain(value: Any) -> Any:
    return utc(value).isoformat() if hasattr(value, "isoformat") else value  # type: ignore[union-attr]
