"""One task: read for whoever asks, and answered with its ETag."""

from __future__ import annotations

from typing import Any

from flask import Response
from sqlalchemy import BigInteger, ColumnClause, Connection, Table, bindparam, column, func, select

from taskflow.errors import TaskNotFound
from taskflow.schema import task_list
from taskflow.web.access.auth import principal
from taskflow.web.http.conditional import etag, expected_versions, precondition_failed, tagged
from taskflow.web.http.encoding import JsonResponse, encode
from taskflow.web.services import redaction_for_caller, services
from taskflow.web.tasks.representation import task_body


def columns_of(view: Table) -> list[ColumnClause[Any]]:
    """The columns of a view, as those of a function that returns its rows."""
    return [column(found.name, found.type) for found in view.columns]


ID = bindparam("id", type_=BigInteger)
READ = select(func.taskflow.read_task(ID).table_valued(*columns_of(task_list)))
LOCK = select(func.taskflow.lock_task(ID))


def read_row(number: int) -> dict[str, Any]:
    """The row of `task_list`. Raises `TaskNotFound` also for one in a queue that whoever asks may not see."""
    rows = services().database.fetch(READ, {"id": number})
    if not rows or not principal().sees(rows[0].queue):
        raise TaskNotFound(number)
    return rows[0]._asdict()


def check_visible(number: int) -> None:
    """Raises `TaskNotFound` where `read_row` would because of the queue; costs nothing to whom all are open."""
    if principal().queues is not None:
        read_row(number)


def check_version(connection: Connection, number: int) -> None:
    """Keep others from changing the task until the transaction ends, where the request has `If-Match`. Raises
    `TaskNotFound`, and `Problem` 412 if it is another version."""
    versions = expected_versions()
    if versions is None:
        return
    version = connection.execute(LOCK, {"id": number}).scalar_one()
    if version is None:
        raise TaskNotFound(number)
    if version not in versions:
        raise precondition_failed()


def task_answer(row: dict[str, Any], status: int = 200) -> Response:
    """The task with its ETag."""
    return tagged(task_body(row, redaction_for_caller()), row["version"], status)


def created_answer(row: dict[str, Any], path: str | None) -> Response:
    """The task that was created, below `path`, with the ETag that reading it gives; `path` None: the one that was there
    already."""
    document = task_body(row, redaction_for_caller())
    body = encode(document)
    headers = {"ETag": etag(body, row["version"])}
    if path is not None:
        headers["Location"] = f"{path}/{document['id']}"
    # `created` is of this answer alone: behind the body of which the ETag is, so that it is encoded once.
    body = body[:-1] + (b',"created":false}' if path is None else b',"created":true}')
    return JsonResponse(body, 200 if path is None else 201, headers=headers, mimetype="application/json")
