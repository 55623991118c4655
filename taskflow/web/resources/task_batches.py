"""POST /api/v1/tasks/batch/{cancel,retry,delete}."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, Response

from taskflow.web.access.auth import require_queue
from taskflow.web.http.encoding import answer
from taskflow.web.http.operation import operation
from taskflow.web.http.payload_size import check_payload_size
from taskflow.web.models.task_changes import BatchBody, BatchDone, BatchRetryBody
from taskflow.web.services import services
from taskflow.web.tasks import batches
from taskflow.web.tasks.batches import Action, Batch
from taskflow.web.tasks.lost_secrets import check_no_marks

MOUNTS = {"task_batches": "/api/v1/tasks/batch", "job_batches": "/api/v1/jobs/batch"}
ERRORS = ("invalid_filter", "filter_too_broad")

blueprint = Blueprint("task_batches", __name__)


@blueprint.post("/cancel")
@operation("operate", {200: BatchDone}, body=BatchBody, errors=ERRORS)
def cancel(body: BatchBody) -> Response:
    """Cancel many tasks

    Those that live: what waits is cancelled, and the workers of what runs are asked to stop.
    """
    return _done("cancel", body)


@blueprint.post("/retry")
@operation("operate", {200: BatchDone}, body=BatchRetryBody, errors=(*ERRORS, "queue_not_allowed"))
def retry(body: BatchRetryBody) -> Response:
    """Make many ended tasks pending again, with what the body changes about them

    A task whose unique key a live one has taken is left as it is.
    """
    if body.queue is not None:
        require_queue(body.queue)
        services().queues.ensure(body.queue)
    check_no_marks(payload=body.payload)
    if body.payload is not None:
        check_payload_size(body.payload)
    return _done("retry", body, body.options(), body.begins_at)


@blueprint.post("/delete")
@operation("operate", {200: BatchDone}, body=BatchBody, errors=ERRORS)
def delete(body: BatchBody) -> Response:
    """Remove many ended tasks and their executions"""
    return _done("delete", body)


def _done(
    action: Action, body: BatchBody, options: dict[str, Any] | None = None, begins_at: datetime | None = None
) -> Response:
    wanted = batches.by_ids(body.ids) if body.ids is not None else batches.by_filter(action, body.filter or "")
    if body.dry_run:
        return answer({"matched": batches.count(wanted), "affected": 0, "dry_run": True})
    batch = Batch(
        action,
        wanted,
        body.per_second,
        options or {},
        begins_at,
        {"filter": body.filter} if body.filter is not None else {"ids": len(body.ids or ())},
    )
    matched, affected = batches.carry_out(batch)
    return answer({"matched": matched, "affected": affected, "dry_run": False})
