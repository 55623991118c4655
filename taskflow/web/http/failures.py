"""Whatever goes wrong leaves as a problem document: ours, Flask's own, the database's, and what nobody foresaw."""

from __future__ import annotations

import logging

from flask import Flask, Response, g, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, MethodNotAllowed, RequestEntityTooLarge
from werkzeug.routing import WebsocketMismatch

from taskflow.errors import DatabaseUnavailable, NotAllowed, SchemaMismatch, TaskflowError
from taskflow.web.http.problems import BY_STATUS, Problem, problem_of

log = logging.getLogger("taskflow.web")


def register(app: Flask) -> None:
    """Answer every error of `app` as RFC 9457 has it."""
    app.register_error_handler(Problem, Problem.response)
    app.register_error_handler(TaskflowError, _taskflow_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unforeseen)


def _taskflow_error(error: TaskflowError) -> Response:
    problem = problem_of(error)
    if isinstance(error, DatabaseUnavailable | SchemaMismatch | NotAllowed):
        log.warning("request_refused", extra=_context(error))
    elif problem.status >= 500:
        log.error("request_failed", exc_info=error, extra=_context(error))
    return problem.response()


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    headers = {}
    detail = error.description or ""
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        headers["Allow"] = ", ".join(sorted(error.valid_methods))
        detail = f"{request.method} is not possible here; {headers['Allow']} are."
    elif isinstance(error, RequestEntityTooLarge):
        detail = f"At most {request.max_content_length:,} bytes are accepted here."
    elif isinstance(error, ClientDisconnected):
        status, detail = 408, "The rest of the request did not come in time."
    elif isinstance(error, WebsocketMismatch):
        detail = (
            "There is no WebSocket at this address; /ws is one."
            if request.environ.get("HTTP_UPGRADE", "").lower() == "websocket"
            else "Open a WebSocket at this address, or GET /api/v1/events: the same as server-sent events."
        )
    elif status == 404:
        detail = "There is nothing at this address."
    code = BY_STATUS.get(status, "bad_request" if status < 500 else "internal_error")
    return Problem(code, detail, headers=headers).response()


def _unforeseen(error: Exception) -> Response:
    log.error("request_failed", exc_info=error, extra=_context(error))
    return Problem(
        "internal_error", "The request could not be served; the log says why under the request id."
    ).response()


def _context(error: Exception) -> dict[str, str]:
    return {
        "request_id": g.get("request_id", ""),
        "method": request.method,
        "path": request.path,
        "error": f"{type(error).__name__}: {error}",
    }
