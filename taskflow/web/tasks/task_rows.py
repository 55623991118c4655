"""One task: read for whoever asks, and answered with its ETag."""

from __future__ import annotations

from typing import Any

from flask import Response
from sqlalchemy import BigInteger, ColumnClause, Table, bindparam, column, func, select

from taskflow.errors import TaskNotFound
from taskflow.schema import task_list
from taskflow.web.access.auth import principal
from taskflow.web.http.conditional import tagged
from taskflow.web.services import redaction_for_caller, services
from taskflow.web.tasks.representation import task_body


def columns_of(view: Table) -> list[ColumnClause[Any]]:
    """The columns of a view, as those of a function that returns its rows."""
    return [column(found.name, found.type) for found in view.columns]


ID = bindparam("id", type_=BigInteger)
READ = select(func.taskflow.read_task(ID).table_valued(*columns_of(task_list)))


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


def task_answer(row: dict[str, Any], status: int = 200) -> Response:
    """The task with its ETag."""
    return tagged(task_body(row, redaction_for_caller()), row["version"], status)
