"""/metrics for Prometheus."""

from __future__ import annotations

from flask import Blueprint, Response, request

from taskflow.web.access.auth import require_every_queue
from taskflow.web.http.operation import operation
from taskflow.web.reporting.http_metrics import exposition
from taskflow.web.services import services

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
@operation("read", {200: None}, produces="text/plain")
def metrics() -> Response:
    """HTTP requests of this server, and the gauges of the database: of all queues, so not for a key limited to some."""
    require_every_queue()
    shared = services()
    body, content_type = exposition(request.headers.get("Accept"), shared.http_metrics, shared.gauges)
    return Response(body, content_type=content_type)
