"""/api/v1/stats and /api/v1/metrics: the whole in numbers."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response
from sqlalchemy import func, select

from taskflow.schema import queues, schedules
from taskflow.web.access.auth import principal
from taskflow.web.http.encoding import answer
from taskflow.web.http.operation import operation
from taskflow.web.models.statistics import Metrics, Statistics
from taskflow.web.queues import queue_rows
from taskflow.web.reporting import statistics
from taskflow.web.services import services

MOUNTS = {"statistics": "/api/v1"}
NAMES = select(queues.c.name)
SCHEDULES = select(
    schedules.c.queue,
    func.count().label("total_schedules"),
    func.count().filter(schedules.c.enabled).label("enabled_schedules"),
    func.count().filter(~schedules.c.enabled).label("disabled_schedules"),
    func.coalesce(func.sum(schedules.c.run_count), 0).label("total_runs"),
).group_by(schedules.c.queue)

blueprint = Blueprint("statistics", __name__)


@blueprint.get("/stats")
@operation("read", {200: Statistics})
def stats() -> Response:
    """All tasks in numbers

    What lives is counted, what has ended is at most some seconds old. Throughput is that of the last five minutes,
    latency is how long attempts took within the last hour.
    """
    return answer(statistics.whole())


@blueprint.get("/metrics")
@operation("read", {200: Metrics})
def metrics() -> Response:
    """Every queue in numbers, and the schedules

    For programs that read JSON; Prometheus reads /metrics.
    """
    queue_rows.adopt()
    names, parameters = queue_rows.visible(NAMES)
    rows = services().database.fetch(names, parameters)
    return answer(
        {
            "queue_stats": statistics.of_queues(row.name for row in rows),
            "schedule_stats": _schedules(),
            "timestamp": datetime.now(UTC),
        }
    )


def _schedules() -> dict[str, int]:
    rows = [row._mapping for row in services().database.fetch(SCHEDULES) if principal().sees(row.queue)]
    figures = ("total_schedules", "enabled_schedules", "disabled_schedules", "total_runs")
    return {name: sum(int(row[name]) for row in rows) for name in figures}
