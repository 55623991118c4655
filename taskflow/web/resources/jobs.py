"""What differs under the older name /api/v1/jobs; the rest is that of tasks."""

from __future__ import annotations

from flask import Blueprint, Response

from taskflow.web.http import params
from taskflow.web.http.encoding import answer
from taskflow.web.http.operation import operation
from taskflow.web.models.task_changes import JobDeleted
from taskflow.web.models.task_lists import JobList, TaskListQuery
from taskflow.web.resources.task_lists import listed
from taskflow.web.resources.task_removal import remove

blueprint = Blueprint("job_lists", __name__, url_prefix="/api/v1/jobs")


@blueprint.get("")
@operation("read", {200: JobList}, query=TaskListQuery, errors=("invalid_filter", "filter_too_broad"))
def jobs(query: TaskListQuery) -> Response:
    """Tasks, by a filter and in an order (older name)

    As GET /api/v1/tasks, with the tasks under `jobs`.
    """
    return listed("jobs", query)


@blueprint.delete("/<task_id>")
@operation("operate", {200: JobDeleted}, errors=("task_not_found", "wrong_state", "precondition_failed"))
def delete(task_id: str) -> Response:
    """Remove a task that has ended or waits (older name)

    What waits is cancelled before. 409 while it runs.
    """
    remove(params.task_id(task_id), waiting=True)
    return answer({"message": "job deleted"})
