"""Whether the schema in the database is one that this version can work with."""

from __future__ import annotations

import threading
import time

from taskflow.errors import TaskflowError
from taskflow.store.compatibility import is_current
from taskflow.web.database import Database

MAX_AGE_SECONDS = 2.0


class Readiness:
    """Asks at most every two seconds, however often and from wherever probes come."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._problem: str | None = None

    def problem(self) -> str | None:
        """Why no request can be served, in words for everybody; None if they can."""
        with self._lock:
            if time.monotonic() - self._asked_at >= MAX_AGE_SECONDS:
                self._problem = self._ask()
                self._asked_at = time.monotonic()
            return self._problem

    def _ask(self) -> str | None:
        try:
            with self._database.driver_connection() as connection:
                fits = is_current(connection)
        except TaskflowError:
            return "the database cannot be reached"
        return None if fits else "the schema in the database does not fit this version: run `taskflow migrate`"
