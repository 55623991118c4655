"""Errors as RFC 9457 problem documents: the one place that knows every code, its status and its title."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from flask import Response, g, request

from taskflow import errors
from taskflow.errors import FieldProblem
from taskflow.web.http.encoding import encode

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1

# code: (status, title). A code is a promise to clients: it is never renamed.
KINDS: dict[str, tuple[int, str]] = {
    "bad_request": (400, "Bad request"),
    "invalid_json": (400, "The body is not valid JSON"),
    "duplicate_key": (400, "The body has a key twice"),
    "too_deeply_nested": (400, "The body is nested too deeply"),
    "invalid_idempotency_key": (400, "The Idempotency-Key is not valid"),
    "unauthorized": (401, "A valid key is needed"),
    "forbidden": (403, "Not allowed"),
    "queue_not_allowed": (403, "This queue is not allowed"),
    "host_not_allowed": (403, "This host or origin is not allowed"),
    "not_found": (404, "Not found"),
    "task_not_found": (404, "No such task"),
    "key_not_found": (404, "No such API key"),
    "worker_not_found": (404, "No such worker"),
    "schedule_not_found": (404, "No such schedule"),
    "queue_not_found": (404, "No such queue"),
    "method_not_allowed": (405, "Method not allowed"),
    "request_timeout": (408, "The request came too slowly"),
    "wrong_state": (409, "The state does not allow this"),
    "unique_conflict": (409, "A live task has this unique key"),
    "queue_exists": (409, "The queue exists already"),
    "schedule_exists": (409, "The schedule exists already"),
    "queue_not_empty": (409, "The queue is not empty"),
    "request_in_progress": (409, "A request with this Idempotency-Key is in progress"),
    "precondition_failed": (412, "Changed by somebody else"),
    "body_too_large": (413, "The body is too large"),
    "uri_too_long": (414, "The address is too long"),
    "unsupported_media_type": (415, "The body must be JSON"),
    "expectation_failed": (417, "Expectation failed"),
    "invalid_request": (422, "The request is not valid"),
    "invalid_payload": (422, "The payload does not fit the type"),
    "invalid_task": (422, "The task is not valid"),
    "invalid_filter": (422, "The filter cannot be read"),
    "filter_too_broad": (422, "The filter would read all history"),
    "unknown_type": (422, "No worker knows this type"),
    "idempotency_key_reused": (422, "Another request had this Idempotency-Key"),
    "rate_limited": (429, "Too many requests"),
    "headers_too_large": (431, "The headers are too large"),
    "internal_error": (500, "Something went wrong here"),
    "not_implemented": (501, "Not implemented"),
    "database_unavailable": (503, "The database is away"),
    "schema_mismatch": (503, "The database does not fit this version"),
    "too_many_waiting": (503, "Too many requests are waiting"),
    "too_many_streams": (503, "Too many streams are open"),
    "queue_full": (503, "The queue is full"),
}
BY_STATUS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "wrong_state",
    412: "precondition_failed",
    413: "body_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    417: "expectation_failed",
    422: "invalid_request",
    429: "rate_limited",
    431: "headers_too_large",
    501: "not_implemented",
    503: "database_unavailable",
}


class Problem(Exception):
    """An answer that is an error. `code` is one of KINDS; `problems` say what is wrong in a body; `more` are members
    of the document beyond the standard ones."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        problems: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status, self.title = KINDS[code]
        self.detail = detail
        self.problems = tuple(problems)
        self.headers = dict(headers or {})
        self.more = more
        if self.status == 503:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))

    def document(self, instance: str, request_id: str) -> dict[str, Any]:
        """The members of the answer. `error` and `message` repeat `title` and `detail` under older names."""
        body: dict[str, Any] = {
            "type": f"urn:taskflow:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "error": self.title,
            "message": self.detail,
            "request_id": request_id,
        }
        if self.problems:
            body["errors"] = [{"pointer": p.pointer, "code": p.code, "detail": p.detail} for p in self.problems]
        return body | {name: value for name, value in self.more.items() if value is not None}

    def response(self) -> Response:
        """The answer to the request under way."""
        # quote() may be handed anything that a client put into its path, also what is no UTF-8.
        instance = quote(request.path.encode("utf-8", "replace"))
        body = encode(self.document(instance, g.get("request_id", "")))
        return Response(body, self.status, headers=self.headers, content_type=CONTENT_TYPE)


def problem_of(error: errors.TaskflowError) -> Problem:
    """The answer that an error of taskflow becomes. An error that says nothing to a client is an internal one."""
    match error:
        case errors.TaskNotFound():
            return Problem("task_not_found", str(error))
        case errors.UniqueConflict():
            rival = error.conflicting_task_id
            return Problem("unique_conflict", str(error), conflicting_task_id=None if rival is None else str(rival))
        case errors.WrongState():
            return Problem("wrong_state", str(error), state=error.state)
        case errors.QueueFull():
            return Problem("queue_full", str(error))
        case errors.InvalidPayload():
            return Problem("invalid_payload", str(error), problems=error.problems)
        case errors.InvalidTask():
            return Problem("invalid_task", str(error))
        case errors.InvalidSchedule(field=field, code=code, detail=detail):
            problem = FieldProblem(f"/{field}", code, detail)
            return Problem("invalid_request", f"{problem.pointer}: {detail}", problems=[problem])
        case errors.DatabaseUnavailable() | errors.LoginRefused():
            return Problem("database_unavailable", "PostgreSQL cannot be reached at the moment; try again soon.")
        case errors.SchemaMismatch():
            return Problem(
                "schema_mismatch", "The database's schema does not fit this version; run `taskflow migrate`."
            )
        case _:
            return Problem("internal_error", "The request could not be served; the log says why under the request id.")
