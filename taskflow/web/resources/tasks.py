"""Creating and reading a task, under /api/v1/tasks and its older name /api/v1/jobs."""

from __future__ import annotations

from flask import Blueprint, Response, request
from sqlalchemy import func, select, text

from taskflow.schema import task_executions
from taskflow.tasks.task import FINISHED_STATES
from taskflow.web.access.auth import require_queue
from taskflow.web.http import params
from taskflow.web.http.encoding import answer
from taskflow.web.http.operation import operation
from taskflow.web.http.payload_size import check_payload_size
from taskflow.web.models.tasks import CreatedTask, Executions, Task, TaskBody, TaskQuery
from taskflow.web.services import redaction_for_caller, services
from taskflow.web.tasks.creation import enqueue
from taskflow.web.tasks.lost_secrets import check_no_marks
from taskflow.web.tasks.representation import execution_body
from taskflow.web.tasks.room import room_for
from taskflow.web.tasks.task_rows import ID, check_visible, columns_of, created_answer, read_row, task_answer

# Name of the blueprint → prefix.
MOUNTS = {"tasks": "/api/v1/tasks", "jobs": "/api/v1/jobs"}
# A task that is snoozed for ever has attempts without end; the last ones tell the most.
MAX_EXECUTIONS = 1000
EXECUTIONS = (
    select(func.taskflow.task_attempts(ID).table_valued(*columns_of(task_executions)).alias("e"))
    .order_by(text("e.attempt DESC, e.finished_at DESC"))
    .limit(MAX_EXECUTIONS)
)

blueprint = Blueprint("tasks", __name__)


@blueprint.post("")
@operation(
    "enqueue",
    {201: CreatedTask, 200: CreatedTask},
    body=TaskBody,
    errors=("invalid_payload", "invalid_task", "unknown_type", "unique_conflict", "queue_not_allowed", "queue_full"),
    idempotent=True,
)
def create(body: TaskBody) -> Response:
    """Create a task

    200 and `created: false` where a live one has the unique key.
    """
    require_queue(body.queue or "default")
    check_payload_size(body.payload)
    if body.on_conflict == "replace":
        check_no_marks(payload=body.payload)
    shared = services()
    shared.types.check(body.type, body.payload)
    place = room_for(body.queue, [(body.type, body.unique_key) if body.unique_key else None])
    created = False
    try:
        shared.queues.ensure(body.queue)
        created, row = enqueue(shared.database, body)
    finally:
        place.settle(int(created))
    return created_answer(row, request.root_path + request.path if created else None)


@blueprint.get("/<task_id>")
@operation("read", {200: Task}, query=TaskQuery, errors=("task_not_found", "too_many_waiting"))
def show(task_id: str, query: TaskQuery) -> Response:
    """A task

    `?wait=` holds the answer until it has ended, or the time is up.
    """
    number = params.task_id(task_id)
    row = read_row(number)
    if query.wait is not None and row["state"] not in FINISHED_STATES:
        services().waiting.wait(number, query.wait)
        row = read_row(number)
    return task_answer(row)


@blueprint.get("/<task_id>/executions")
@operation("read", {200: Executions}, errors=("task_not_found",))
def executions(task_id: str) -> Response:
    """The attempts of a task in order, the one under way included"""
    number = params.task_id(task_id)
    check_visible(number)
    rows = services().database.fetch(EXECUTIONS, {"id": number})
    if not rows:
        read_row(number)  # no attempt yet, or no such task
    redaction = redaction_for_caller()
    found = [execution_body(row._asdict(), redaction) for row in reversed(rows)]
    return answer({"executions": found, "count": len(found)})
