"""What the resources share: made once by `create_app`, found by every request."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app, g

from taskflow.settings import Settings
from taskflow.stop_flag import StopFlag
from taskflow.web.access.backpressure import Backpressure
from taskflow.web.access.keys import KeyRing
from taskflow.web.access.principal import Principal
from taskflow.web.access.redaction import Redaction
from taskflow.web.database import Database
from taskflow.web.events.hub import Hub
from taskflow.web.events.tickets import Tickets
from taskflow.web.queues.queue_registry import QueueRegistry
from taskflow.web.readiness import Readiness
from taskflow.web.reporting.figures import Figures
from taskflow.web.reporting.gauges import DatabaseGauges
from taskflow.web.reporting.http_metrics import HttpMetrics
from taskflow.web.tasks.type_registry import TypeRegistry
from taskflow.web.tasks.waiting import WaitingRoom

EXTENSION = "taskflow"
# A router gives a request up after 30 s: what is not done by then is left to the next request.
LONGEST_REQUEST_SECONDS = 20.0


@dataclass(frozen=True)
class Services:
    """One of each for an application. `closing` is set when the server begins to shut down."""

    settings: Settings
    database: Database
    types: TypeRegistry
    queues: QueueRegistry
    keys: KeyRing
    tickets: Tickets
    hub: Hub
    backpressure: Backpressure
    waiting: WaitingRoom
    readiness: Readiness
    redaction: Redaction
    figures: Figures
    gauges: DatabaseGauges
    http_metrics: HttpMetrics
    closing: StopFlag


def services() -> Services:
    """Those of the application that serves the request under way."""
    found = current_app.extensions[EXTENSION]
    assert isinstance(found, Services)
    return found


def redaction_for_caller() -> Redaction | None:
    """What hides secrets from whoever asks; None if they may see them."""
    principal: Principal = g.principal
    return None if principal.sees_secrets else services().redaction
