"""Changes of one task: cancel, retry, PATCH; and why it is not running. Each change is in the audit log."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Double, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import JSONB

from taskflow.errors import TaskNotFound, WrongState
from taskflow.tasks.task import FINISHED_STATES
from taskflow.tasks.waiting_reason import WaitingFacts, WaitingLimit, waiting_reason
from taskflow.web.access import audit
from taskflow.web.access.auth import require_queue
from taskflow.web.http import params
from taskflow.web.http.encoding import answer, utc
from taskflow.web.http.operation import operation
from taskflow.web.http.payload_size import check_payload_size
from taskflow.web.models.task_changes import PatchBody, Why
from taskflow.web.models.tasks import RetryBody, Task
from taskflow.web.services import services
from taskflow.web.tasks.lost_secrets import check_no_marks
from taskflow.web.tasks.rivals import rival_withheld
from taskflow.web.tasks.task_rows import ID, check_version, check_visible, read_row, task_answer

MOUNTS = {"task_changes": "/api/v1/tasks", "job_changes": "/api/v1/jobs"}

OPTIONS = bindparam("options", type_=JSONB)
CANCEL = select(func.taskflow.cancel(ID))
RETRY = select(func.taskflow.retry_task(ID, OPTIONS))
CHANGE = text("SELECT outcome, state FROM taskflow.change_task(:id, :changes)").bindparams(
    ID, bindparam("changes", type_=JSONB)
)
FACTS = text("SELECT * FROM taskflow.waiting_facts(:id, :timeout)").bindparams(ID, bindparam("timeout", type_=Double))
LIMITS = text("SELECT * FROM taskflow.waiting_limits(:id) LIMIT 1").bindparams(ID)

blueprint = Blueprint("task_changes", __name__)


@blueprint.post("/<task_id>/cancel")
@operation("operate", {200: Task, 202: Task}, errors=("task_not_found", "wrong_state", "precondition_failed"))
def cancel(task_id: str) -> Response:
    """Cancel a task

    200: it is cancelled. 202: its worker has been asked to stop. 409: it has ended otherwise.
    """
    return cancelled(params.task_id(task_id))


@blueprint.post("/<task_id>/retry")
@operation(
    "operate",
    {200: Task},
    body=RetryBody,
    errors=(
        "task_not_found",
        "wrong_state",
        "precondition_failed",
        "unique_conflict",
        "invalid_payload",
        "unknown_type",
        "queue_not_allowed",
    ),
)
def retry(task_id: str, body: RetryBody) -> Response:
    """Make an ended task pending again, with what the body changes about it"""
    number = params.task_id(task_id)
    check_visible(number)
    check_no_marks(payload=body.payload)
    _check_new_values(number, body.queue, body.payload)
    retried(number, {name: _plain(value) for name, value in body.options().items()})
    return task_answer(read_row(number))


@blueprint.patch("/<task_id>")
@operation(
    "operate",
    {200: Task},
    body=PatchBody,
    errors=(
        "task_not_found",
        "wrong_state",
        "precondition_failed",
        "invalid_payload",
        "invalid_task",
        "unknown_type",
        "queue_not_allowed",
    ),
)
def change(task_id: str, body: PatchBody) -> Response:
    """Change a task that waits

    A JSON merge patch (RFC 7396): what is left out stays, null gives back the default of a new task: `{}` for payload
    and metadata, `[]` for tags, priority normal, the queue `default`, due now. Payload and metadata are replaced as a
    whole. With `If-Match` only if nobody has changed it meanwhile.
    """
    number = params.task_id(task_id)
    check_visible(number)
    check_no_marks(payload=body.payload, metadata=body.metadata)
    changes = body.changes()
    _check_new_values(number, changes.get("queue"), changes.get("payload"))
    with services().database.transaction() as connection:
        check_version(connection, number)
        row = connection.execute(CHANGE, {"id": number, "changes": changes}).one()
        match row.outcome:
            case "missing":
                raise TaskNotFound(number)
            case "wrong_state":
                raise WrongState(f"Task {number} is {row.state}: only one that waits can be changed.", state=row.state)
        if changes:
            audit.record(connection, action="task.change", target=str(number), details={"changed": sorted(changes)})
    return task_answer(read_row(number))


@blueprint.get("/<task_id>/why")
@operation("read", {200: Why}, errors=("task_not_found",))
def why(task_id: str) -> Response:
    """Why a task is not running, and what to do about it"""
    number = params.task_id(task_id)
    check_visible(number)
    shared = services()
    rows = shared.database.fetch(FACTS, {"id": number, "timeout": shared.settings.heartbeat_timeout})
    if not rows:
        raise TaskNotFound(number)
    facts = rows[0]._asdict()
    reached = shared.database.fetch(LIMITS, {"id": number}) if facts["state"] in ("pending", "blocked") else []
    limit = next((WaitingLimit(row.code, row.most, utc(row.next_at)) for row in reached), None)
    found = waiting_reason(WaitingFacts(**(facts | {"run_at": utc(facts["run_at"])})), limit)
    return answer({"reason": found.reason, "code": found.code, "fix": found.fix})


def cancelled(number: int) -> Response:
    """Cancel the task; the answer to that. Raises `TaskNotFound` or `WrongState`."""
    check_visible(number)
    with services().database.transaction() as connection:
        check_version(connection, number)
        state = connection.execute(CANCEL, {"id": number}).scalar_one()
        if state is None:
            raise TaskNotFound(number)
        if state in FINISHED_STATES - {"cancelled"}:
            raise WrongState(
                f"Task {number} has ended as {state}: only a task that lives can be cancelled.", state=state
            )
        audit.record(connection, action="task.cancel", target=str(number), details={"state": state})
    return task_answer(read_row(number), 202 if state == "running" else 200)


def retried(number: int, options: dict[str, Any]) -> None:
    """Make the ended task pending again. Raises `TaskNotFound`, `WrongState` or `UniqueConflict`."""
    with rival_withheld(), services().database.transaction() as connection:
        check_version(connection, number)
        if connection.execute(RETRY, {"id": number, "options": options}).scalar_one() is None:
            raise TaskNotFound(number)
        audit.record(connection, action="task.retry", target=str(number), details={"changed": sorted(options)})


def _check_new_values(number: int, queue: str | None, payload: dict[str, Any] | None) -> None:
    if queue is not None:
        require_queue(queue)
    if payload is not None:
        check_payload_size(payload)
        services().types.check(read_row(number)["type"], payload)
    services().queues.ensure(queue)


def _plain(value: Any) -> Any:
    return utc(value).isoformat() if hasattr(value, "isoformat") else value  # type: ignore[union-attr]
