"""DELETE /api/v1/dlq: dead letters are removed, for good."""

from __future__ import annotations

from flask import Blueprint, Response, request

from taskflow.errors import FieldProblem
from taskflow.web.http.encoding import answer
from taskflow.web.http.operation import operation
from taskflow.web.http.problems import Problem
from taskflow.web.models.dead_letters import Cleared, ClearQuery
from taskflow.web.queues import dead_letters

blueprint = Blueprint("dead_letter_removal", __name__)


@blueprint.delete("/api/v1/dlq")
@operation("operate", {200: Cleared}, query=ClearQuery, errors=("invalid_filter",))
def clear(query: ClearQuery) -> Response:
    """Remove dead letters

    With their executions, for good. It needs a filter, or `all=true`.
    """
    if query.all == dead_letters.is_chosen(query):
        detail = "say which dead letters with a filter, or all=true for every one"
        problem = FieldProblem("?all", "contradiction" if query.all else "required", detail)
        raise Problem("invalid_request", f"?all: {detail}", problems=[problem])
    count = dead_letters.remove(dead_letters.of_query(query), target=request.query_string.decode("ascii", "replace"))
    return answer({"message": "DLQ cleared", "deleted_count": count})
