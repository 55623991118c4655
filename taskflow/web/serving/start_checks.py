"""What is said once, when a server starts, of what it can start with and will not be of use with."""

from __future__ import annotations

import threading
from typing import Any

import psycopg

from taskflow.errors import SchemaMismatch, TaskflowError
from taskflow.settings import Settings
from taskflow.store.compatibility import schema_problem
from taskflow.store.connection import connect, errors_translated
from taskflow.store.outage import Outage
from taskflow.telemetry import get_logger

SHORTEST_GOOD_KEY = 16


def warn_of_short_key(settings: Settings) -> None:
    """Whether the first key is easily guessed."""
    if settings.auth == "on" and 0 < len(settings.admin_key) < SHORTEST_GOOD_KEY:
        get_logger("server").warning(
            "admin_key_short", setting="TASKFLOW_ADMIN_KEY", shorter_than=SHORTEST_GOOD_KEY, listens_on=settings.host
        )


def look_at_database(worker: Any, dsn: str) -> None:
    """Called in every process that gunicorn has started: the first of all looks whether the database is of use, in the
    background. Not the process that forks them: it must have no threads."""
    if worker.age == 1:
        threading.Thread(target=warn_of_database, args=(dsn,), name="database check", daemon=True).start()


def warn_of_database(dsn: str) -> None:
    """Log why the database cannot be used, if it cannot."""
    try:
        with connect(dsn, name="server") as connection, errors_translated():
            problem = schema_problem(connection)
        if problem is not None:
            raise SchemaMismatch(problem)
    except (psycopg.Error, TaskflowError) as error:
        Outage(get_logger("server"), plan="answering 503 until it is back").failed(error)
