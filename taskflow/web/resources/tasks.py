"""/api/v1/tasks, and the same under its older name /api/v1/jobs."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request, url_for
from sqlalchemy import BigInteger, ColumnClause, Table, bindparam, column, func, select, text
from sqlalchemy.dialects.postgresql import JSONB

from taskflow.errors import FieldProblem, TaskNotFound, WrongState
from taskflow.schema import task_executions, task_list
from taskflow.tasks.task import FINISHED_STATES
from taskflow.web import params
from taskflow.web.auth import principal, require_queue
from taskflow.web.conditional import tagged
from taskflow.web.creation import enqueue
from taskflow.web.encoding import answer, encode, utc
from taskflow.web.models.tasks import CreatedTask, Executions, RetryBody, Task, TaskBody, TaskQuery
from taskflow.web.operation import operation
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
@operation(
    "enqueue",
    {201: CreatedTask, 200: CreatedTask},
    body=TaskBody,
    errors=("invalid_payload", "invalid_task", "unknown_type", "unique_conflict", "queue_not_allowed"),
    idempotent=True,
)
def create(body: TaskBody) -> Response:
    """Create a task

    200 and `created: false` where a live one has the unique key.
    """
    require_queue(body.queue or "default")
    _check_size(body.payload)
    shared = services()
    shared.types.check(body.type, body.payload)
    shared.queues.ensure(body.queue)
    created, row = enqueue(shared.database, body)
    document = task_body(row, redaction_for_caller()) | {"created": created}
    if not created:
        return answer(document)
    return answer(document, 201, {"Location": url_for(".show", task_id=document["id"])})


@blueprint.get("/<task_id>")
@operation("read", {200: Task}, query=TaskQuery, errors=("task_not_found", "too_many_waiting"))
def show(task_id: str, query: TaskQuery) -> Response:
    """A task

    `?wait=` holds the answer until it has ended, or the time is up.
    """
    number = params.task_id(task_id)
    row = _read(number)
    if query.wait is not None and row["state"] not in FINISHED_STATES:
        services().waiting.wait(number, query.wait)
        row = _read(number)
    return _tagged(row)


@blueprint.get("/<task_id>/executions")
@operation("read", {200: Executions}, errors=("task_not_found",))
def executions(task_id: str) -> Response:
    """The attempts of a task in order, the one under way included"""
    number = params.task_id(task_id)
    if principal().queues is not None:
        _read(number)  # whether it exists for them
    rows = services().database.fetch(EXECUTIONS, {"id": number})
    if not rows:
        _read(number)  # no attempt yet, or no such task
    redaction = redaction_for_caller()
    found = [execution_body(row._asdict(), redaction) for row in reversed(rows)]
    return answer({"executions": found, "count": len(found)})


@blueprint.post("/<task_id>/cancel")
@operation("operate", {200: Task, 202: Task}, errors=("task_not_found", "wrong_state"))
def cancel(task_id: str) -> Response:
    """Cancel a task

    200: it is cancelled. 202: its worker has been asked to stop. 409: it has ended otherwise.
    """
    number = params.task_id(task_id)
    if principal().queues is not None:
        _read(number)
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
@operation(
    "operate",
    {200: Task},
    body=RetryBody,
    errors=("task_not_found", "wrong_state", "unique_conflict", "invalid_payload", "unknown_type", "queue_not_allowed"),
)
def retry(task_id: str, body: RetryBody) -> Response:
    """Make an ended task pending again, with what the body changes about it"""
    number = params.task_id(task_id)
    shared = services()
    if principal().queues is not None:
        _read(number)
    if body.queue is not None:
        require_queue(body.queue)
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
    if not rows or not principal().sees(rows[0].queue):
        raise TaskNotFound(number)
    return rows[0]._asdict()


def _tagged(row: dict[str, Any], status: int = 200) -> Response:
    return tagged(task_body(row, redaction_for_caller()), row["version"], status)


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
