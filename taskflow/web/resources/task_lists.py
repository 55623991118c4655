"""GET /api/v1/tasks."""

from __future__ import annotations

from flask import Blueprint, Response

from taskflow.web.http.lists import page
from taskflow.web.http.operation import operation
from taskflow.web.models.task_lists import TaskList, TaskListQuery
from taskflow.web.services import redaction_for_caller, services
from taskflow.web.tasks import filtering
from taskflow.web.tasks.list_figures import list_figures
from taskflow.web.tasks.representation import task_body
from taskflow.web.tasks.task_pages import read_page, total

blueprint = Blueprint("task_lists", __name__, url_prefix="/api/v1/tasks")


@blueprint.get("")
@operation("read", {200: TaskList}, query=TaskListQuery, errors=("invalid_filter", "filter_too_broad"))
def tasks(query: TaskListQuery) -> Response:
    """Tasks, by a filter and in an order

    With how many there are: of those that fit, and of all.
    """
    return listed("tasks", query)


def listed(name: str, query: TaskListQuery) -> Response:
    """The page that `query` asks for, with the tasks under `name`."""
    wanted = filtering.of_query(query)
    with services().database.transaction() as connection:
        found = read_page(connection, wanted, query.sort, query.cursor, query.offset, query.limit)
        if found.more or query.cursor or (query.offset and not found.rows):
            shown = query.offset + len(found.rows) if found.rows else 0
            number, estimated = total(connection, wanted, shown + found.more)
        else:
            number, estimated = query.offset + len(found.rows), False
    redaction = redaction_for_caller()
    return page(
        name,
        [task_body(row, redaction) for row in found.rows],
        found.place,
        total=number,
        total_estimated=estimated,
        limit=query.limit,
        offset=query.offset,
        **list_figures(),
    )
