"""The application: services made, rules for every request laid down, resources mounted."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection
from types import ModuleType

from flask import Flask

from taskflow.settings import Settings
from taskflow.stop_flag import StopFlag
from taskflow.web import resources as all_resources
from taskflow.web.access.auth import Authentication
from taskflow.web.access.backpressure import Backpressure
from taskflow.web.access.client_address import TrustedProxies
from taskflow.web.access.cors import Cors
from taskflow.web.access.keys import KeyRing
from taskflow.web.access.rate_limit import RateLimit
from taskflow.web.access.redaction import Redaction
from taskflow.web.database import Database
from taskflow.web.events.hub import Hub
from taskflow.web.events.tickets import Tickets
from taskflow.web.http import failures, requests_log
from taskflow.web.queues.queue_registry import QueueRegistry
from taskflow.web.readiness import Readiness
from taskflow.web.reporting.figures import Figures
from taskflow.web.reporting.gauges import DatabaseGauges
from taskflow.web.reporting.http_metrics import HttpMetrics
from taskflow.web.services import EXTENSION, Services
from taskflow.web.tasks.type_registry import TypeRegistry
from taskflow.web.tasks.waiting import WaitingRoom

MAX_BODY_BYTES = 1024 * 1024
# Threads that requests which wait leave to all others.
THREADS_KEPT_FREE = 16


def create_app(
    settings: Settings, rate_limit: RateLimit | None = None, *, resources: Collection[str] | None = None
) -> Flask:
    """The WSGI application for `settings`. It comes up without a database, and answers 503 until there is one.

    `rate_limit`: one that several processes share; None: this application counts for itself. `resources`: the modules
    of resources that it has; None: all of them.
    """
    app = Flask("taskflow.web", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.merge_slashes = False  # a path with two slashes is another path, not worth a redirect
    # The order of these is the order in which a request meets them: it has an id before anything can refuse it.
    requests_log.register(app)
    failures.register(app)
    http_metrics = HttpMetrics(app)
    shared = app.extensions[EXTENSION] = _services(settings, http_metrics)
    Cors(settings.cors_origins).register(app)
    counting = rate_limit or RateLimit(settings.rate_limit)
    app.before_request(Authentication(settings, shared.keys, shared.tickets, counting))
    app.after_request(counting.headers)
    if settings.trusted_proxies:
        app.wsgi_app = TrustedProxies(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    _mount_resources(app, resources)
    return app


def _services(settings: Settings, http_metrics: HttpMetrics) -> Services:
    database = Database(settings)
    closing = StopFlag()
    keys = KeyRing(database, settings.admin_key)
    redaction = Redaction(settings.redact)
    return Services(
        settings=settings,
        database=database,
        types=TypeRegistry(database, redaction, reject_unknown=settings.reject_unknown_types),
        queues=QueueRegistry(database),
        keys=keys,
        tickets=Tickets(database, keys),
        hub=Hub(settings.database_url, closing, capacity=settings.max_streams, gauge=http_metrics.streams),
        backpressure=Backpressure(database, settings.max_depth),
        waiting=WaitingRoom(database, max(2, settings.web_threads - THREADS_KEPT_FREE), closing),
        readiness=Readiness(database),
        redaction=redaction,
        figures=Figures(database, heartbeat_timeout=settings.heartbeat_timeout),
        gauges=DatabaseGauges(database, heartbeat_timeout=settings.heartbeat_timeout),
        http_metrics=http_metrics,
        closing=closing,
    )


def resource_modules(only: Collection[str] | None = None) -> list[ModuleType]:
    """The modules of all resources, or of some, imported. A third of what a process takes to start is this: who forks
    several calls it before."""
    names = [found.name for found in pkgutil.iter_modules(all_resources.__path__)]
    wanted = [name for name in names if only is None or name in only]
    return [importlib.import_module(f"{all_resources.__name__}.{name}") for name in wanted]


def _mount_resources(app: Flask, only: Collection[str] | None) -> None:
    for module in resource_modules(only):
        for name, prefix in getattr(module, "MOUNTS", {module.blueprint.name: None}).items():
            app.register_blueprint(module.blueprint, name=name, url_prefix=prefix)
