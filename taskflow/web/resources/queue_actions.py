"""/api/v1/queues/{name}/…: what is done to all that lies in a queue, and its statistics."""

from __future__ import annotations

from flask import Blueprint, Response
from sqlalchemy import update

from taskflow.schema import queues
from taskflow.web.access import audit
from taskflow.web.http.conditional import expected_versions
from taskflow.web.http.encoding import answer
from taskflow.web.http.operation import operation
from taskflow.web.models.queues import QueuePaused, QueuePurged, QueueResumed
from taskflow.web.models.statistics import QueueStatistics
from taskflow.web.queues import queue_rows
from taskflow.web.queues.purging import purge as cancel_waiting
from taskflow.web.reporting import statistics

MOUNTS = {"queue_actions": "/api/v1/queues"}

blueprint = Blueprint("queue_actions", __name__)


@blueprint.post("/<name>/pause")
@operation("operate", {200: QueuePaused}, errors=("queue_not_found", "precondition_failed"))
def pause(name: str) -> Response:
    """Have nothing claimed from a queue

    What runs goes on, and tasks can be created.
    """
    return _set_paused(name, paused=True)


@blueprint.post("/<name>/resume")
@operation("operate", {200: QueueResumed}, errors=("queue_not_found", "precondition_failed"))
def resume(name: str) -> Response:
    """Have tasks claimed from a paused queue again"""
    return _set_paused(name, paused=False)


@blueprint.post("/<name>/purge")
@operation("operate", {200: QueuePurged}, errors=("queue_not_found", "precondition_failed"))
def purge(name: str) -> Response:
    """Cancel all that waits in a queue

    Also what is scheduled, blocked or retries later; what runs goes on. In batches: tasks that are created meanwhile
    may be among them. With `If-Match` only if the queue's settings are as you know them when it begins.
    """
    queue_rows.read(name)
    deleted = cancel_waiting(
        queues=[name],
        action="queue.purge",
        target=name,
        check=lambda connection: queue_rows.check_version(connection, name),
    )
    return answer({"message": "queue purged", "name": name, "deleted_count": deleted})


@blueprint.get("/<name>/stats")
@operation("read", {200: QueueStatistics}, errors=("queue_not_found",))
def stats(name: str) -> Response:
    """The statistics of a queue

    What lives is counted, what has ended is at most some seconds old. Speed is that of the last five minutes, durations
    are those of the last hour, as histograms of 1, 2, 5 a decade tell them.
    """
    queue_rows.read(name)
    return answer(statistics.of_queues([name])[name])


def _set_paused(name: str, *, paused: bool) -> Response:
    queue_rows.read(name)
    verb = "pause" if paused else "resume"
    rows = audit.change(
        update(queues)
        .where(queue_rows.AS_KNOWN)
        .values({queues.c.paused: paused, **queue_rows.CHANGED})
        .returning(queues.c.name),
        {"wanted": name, "versions": expected_versions()},
        action=f"queue.{verb}",
        target=name,
    )
    if not rows:
        raise queue_rows.not_changed(name)
    return answer({"message": f"queue {verb}d", "name": name})
