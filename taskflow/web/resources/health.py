"""Whether the process lives, the database answers, and requests can be served."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version

from flask import Blueprint, Response
from sqlalchemy import text

from taskflow.errors import TaskflowError
from taskflow.web.http.encoding import answer
from taskflow.web.http.operation import operation
from taskflow.web.http.problems import RETRY_AFTER_SECONDS
from taskflow.web.models.health import Health, Status
from taskflow.web.services import services

PING = text("SELECT 1")
RETRY_AFTER = {"Retry-After": str(RETRY_AFTER_SECONDS)}

blueprint = Blueprint("health", __name__)


@blueprint.get("/live")
@operation(None, {200: Status})
def live() -> Response:
    """200 while the process serves; whatever else is broken, a restart would not mend it."""
    return answer({"status": "alive", "time": datetime.now(UTC)})


@blueprint.get("/health")
@blueprint.get("/api/v1/health")
@blueprint.get("/admin/health")
@operation(None, {200: Health, 503: Health})
def health() -> Response:
    """200 while PostgreSQL answers, 503 otherwise."""
    body = {"version": _version(), "time": datetime.now(UTC)}
    try:
        services().database.fetch(PING)
    except TaskflowError:
        return answer({"status": "unhealthy", "database": "disconnected", **body}, 503, RETRY_AFTER)
    return answer({"status": "healthy", "database": "connected", **body})


@blueprint.get("/ready")
@operation(None, {200: Status, 503: Status})
def ready() -> Response:
    """200 if this process should be sent requests: it is not shutting down, and the schema is one it can work with."""
    problem = "the server is shutting down" if services().closing.is_set() else services().readiness.problem()
    body = {"status": "not ready" if problem else "ready", "time": datetime.now(UTC)}
    return answer(body | {"reason": problem}, 503, RETRY_AFTER) if problem else answer(body)


@cache
def _version() -> str:
    return version("taskflow-pg")
