"""POST /api/v1/tasks/bulk."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from taskflow.web.http.encoding import answer
from taskflow.web.http.operation import operation
from taskflow.web.http.problems import Problem
from taskflow.web.models.bulk import BulkBody, BulkCreated, BulkPartial, BulkQuery
from taskflow.web.tasks import bulk

MOUNTS = {"task_bulk": "/api/v1/tasks", "job_bulk": "/api/v1/jobs"}

blueprint = Blueprint("task_bulk", __name__)


@blueprint.post("/bulk")
@operation(
    "enqueue",
    {201: BulkCreated, 200: BulkPartial},
    body=BulkBody,
    query=BulkQuery,
    errors=("invalid_payload", "invalid_task", "unknown_type", "unique_conflict", "queue_not_allowed", "queue_full"),
    max_body_bytes=bulk.MAX_BYTES,
    reads_body=False,
    also_takes=("application/x-ndjson",),
    idempotent=True,
)
def create(query: BulkQuery) -> Response:
    """Create up to 10,000 tasks

    All or nothing: 201. With `?partial=true` those that are right: 200, and for each of the others what is wrong. Of a
    queue that has room for some of its tasks the first ones are stored then, and the others are `queue_full`.
    """
    batch = bulk.read()
    if not query.partial:
        bulk.refuse_wrong(batch)
    bulk.prepare(batch, partial=query.partial)
    if query.partial:
        stored = bulk.store_what_can(batch)
        results = [_result(batch, stored, index) for index in sorted(stored.keys() | batch.wrong.keys())]
        return answer({"created": _created(stored), "failed": len(batch.wrong), "results": results})
    stored = bulk.store(batch)
    tasks = [
        {"id": str(task_id), "created": created, "state": state}
        for task_id, created, state in (stored[index] for index in range(len(stored)))
    ]
    return answer({"created": _created(stored), "tasks": tasks}, 201)


def _created(stored: dict[int, bulk.Stored]) -> int:
    return sum(1 for _, created, _ in stored.values() if created)


def _result(batch: bulk.Batch, stored: dict[int, bulk.Stored], index: int) -> dict[str, Any]:
    if index in stored:
        task_id, created, state = stored[index]
        return {"index": index, "id": str(task_id), "created": created, "state": state}
    return {"index": index, "error": _error(batch.wrong[index])}


def _error(problem: Problem) -> dict[str, Any]:
    errors = [{"pointer": found.pointer, "code": found.code, "detail": found.detail} for found in problem.problems]
    error = {"code": problem.code, "detail": problem.detail, "errors": errors}
    rival = problem.more.get("conflicting_task_id")
    return error if rival is None else error | {"conflicting_task_id": rival}
