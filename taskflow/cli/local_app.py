"""The application of the server inside a command: no key, no limit of requests, no log, and errors as they are."""

from __future__ import annotations

import logging

from flask import Flask, Response, g

from taskflow.errors import DatabaseUnavailable, NotAllowed, SchemaMismatch, TaskflowError
from taskflow.settings import load
from taskflow.web import create_app
from taskflow.web.access.principal import SCOPES, Principal
from taskflow.web.http.problems import problem_of
from taskflow.web.services import EXTENSION

# What the server keeps to itself, and whoever has the database may know.
TOLD = (DatabaseUnavailable, SchemaMismatch, NotAllowed)


def local_app(database_url: str, resources: tuple[str, ...], actor: str, *, shows_secrets: bool) -> Flask:
    """An application over the database that does everything for `actor`."""
    # What it would log is raised, and the command says it.
    logging.getLogger("taskflow").addHandler(logging.NullHandler())
    settings = load(database_url=database_url, auth="off", rate_limit=0.0, web_connections=2)
    app = create_app(settings, resources=resources)
    somebody = Principal(actor, SCOPES, shows_secrets=shows_secrets)

    def is_somebody() -> None:
        g.principal = somebody

    app.before_request(is_somebody)
    app.register_error_handler(TaskflowError, _told)
    app.register_error_handler(Exception, _raised)
    app.config["PROPAGATE_EXCEPTIONS"] = True
    return app


def closed(app: Flask) -> None:
    """Close the connections of an application."""
    services = app.extensions[EXTENSION]
    services.closing.set()
    services.database.engine.dispose()


def _told(error: TaskflowError) -> Response:
    problem = problem_of(error)
    if isinstance(error, TOLD) or problem.status >= 500:
        raise error
    return problem.response()


def _raised(error: Exception) -> Response:
    raise error
