"""/admin: the whole by priority, and what is done to all of it. Workers and dead letters are there too, elsewhere."""

from __future__ import annotations

from flask import Blueprint, Response
from sqlalchemy import select

from taskflow.errors import WrongState
from taskflow.schema import queues
from taskflow.tasks.task import PRIORITY_NAMES, Priority
from taskflow.web.access.auth import principal
from taskflow.web.http import params
from taskflow.web.http.encoding import answer
from taskflow.web.http.operation import operation
from taskflow.web.http.problems import Problem
from taskflow.web.models.admin import AdminQueues, PriorityPurged, TaskRequeued
from taskflow.web.models.dead_letters import Cleared
from taskflow.web.queues import dead_letters, queue_rows
from taskflow.web.queues.purging import purge
from taskflow.web.reporting import statistics
from taskflow.web.resources.task_changes import retried
from taskflow.web.services import services
from taskflow.web.tasks.list_figures import list_figures
from taskflow.web.tasks.task_rows import read_row

MOUNTS = {"admin": "/admin"}
FIGURES = ("queues", "scheduled_count", "dlq_size", "totals")
REQUEUED_FROM = ("failed", "dead_letter")

blueprint = Blueprint("admin", __name__)


@blueprint.get("/queues")
@operation("read", {200: AdminQueues})
def index() -> Response:
    """What is due and what runs, by priority and by queue"""
    queue_rows.adopt()
    statement, parameters = queue_rows.visible(select(queues.c.name))
    by_queue = statistics.of_queues(row.name for row in services().database.fetch(statement, parameters))
    figures = list_figures()
    return answer({name: figures[name] for name in FIGURES} | {"by_queue": list(by_queue.values())})


@blueprint.delete("/queues/<priority>")
@operation("operate", {200: PriorityPurged})
def clear_priority(priority: str) -> Response:
    """Cancel all that waits at a priority

    In every queue, also what is scheduled, blocked or retries later; what runs goes on. 400 for another word than
    critical, high, normal and low.
    """
    if priority.upper() not in Priority.__members__:
        words = ", ".join(PRIORITY_NAMES.values())
        raise Problem("bad_request", f"There is no priority {params.shown(priority)}; there are {words}.")
    level = Priority[priority.upper()]
    name = PRIORITY_NAMES[level]
    deleted = purge(queues=principal().queues, priority=int(level), action="priority.purge", target=name)
    return answer({"message": "queue purged", "priority": name, "deleted_count": deleted})


@blueprint.delete("/dlq")
@operation("operate", {200: Cleared})
def clear_dead_letters() -> Response:
    """Remove every dead letter

    With their executions, for good.
    """
    count = dead_letters.remove(dead_letters.everything(), target="all")
    return answer({"message": "DLQ cleared", "deleted_count": count})


@blueprint.post("/tasks/<task_id>/retry")
@operation(
    "operate", {200: TaskRequeued}, errors=("task_not_found", "wrong_state", "precondition_failed", "unique_conflict")
)
def retry(task_id: str) -> Response:
    """Make a failed task or a dead letter pending again"""
    number = params.task_id(task_id)
    state = read_row(number)["state"]
    if state not in REQUEUED_FROM:
        raise WrongState(
            f"Task {number} is {state}: only a failed task or a dead letter is re-queued here.", state=state
        )
    retried(number, {})
    return answer({"message": "task re-queued", "task_id": str(number)})
