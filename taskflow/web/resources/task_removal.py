"""DELETE /api/v1/tasks/{id}."""

from __future__ import annotations

from flask import Blueprint, Response
from sqlalchemy import Boolean, bindparam, func, select

from taskflow.errors import TaskNotFound
from taskflow.web.access import audit
from taskflow.web.http import params
from taskflow.web.http.encoding import answer
from taskflow.web.http.operation import operation
from taskflow.web.models.task_changes import CancelledOrRemoved, DeleteQuery
from taskflow.web.models.tasks import Task
from taskflow.web.resources.task_changes import cancelled
from taskflow.web.services import services
from taskflow.web.tasks.task_rows import ID, check_version, check_visible

REMOVE = select(func.taskflow.remove_task(ID, bindparam("waiting", type_=Boolean)))

blueprint = Blueprint("task_removal", __name__, url_prefix="/api/v1/tasks")


@blueprint.delete("/<task_id>")
@operation(
    "operate",
    {200: CancelledOrRemoved, 202: Task},
    query=DeleteQuery,
    errors=("task_not_found", "wrong_state", "precondition_failed"),
)
def delete(task_id: str, query: DeleteQuery) -> Response:
    """Cancel a task, or remove an ended one

    As cancel does. With `?purge=true` an ended task and its executions are removed; 409 for one that lives.
    """
    number = params.task_id(task_id)
    if not query.purge:
        return cancelled(number)
    remove(number, waiting=False)
    return answer({"message": "task removed", "task_id": str(number)})


def remove(number: int, *, waiting: bool) -> None:
    """Remove an ended task, and with `waiting` one that waits. Raises `TaskNotFound` or `WrongState`."""
    check_visible(number)
    with services().database.transaction() as connection:
        check_version(connection, number)
        state = connection.execute(REMOVE, {"id": number, "waiting": waiting}).scalar_one()
        if state is None:
            raise TaskNotFound(number)
        audit.record(connection, action="task.delete", target=str(number), details={"state": state})
