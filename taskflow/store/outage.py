"""An outage of the database as the log tells it: a line when it begins and one when it has ended, not one a try."""

from __future__ import annotations

from threading import Lock

import psycopg
from structlog.typing import FilteringBoundLogger

from taskflow.errors import DatabaseUnavailable
from taskflow.store.connection import CONNECTION_LOST

ROLE_NEEDED = "Grant the login the role taskflow_worker: `taskflow grants` prints the statements that make it."


class Outage:
    """Whether the database cannot be used at the moment, by one connection or by any of several with names.

    `database_unavailable`: nobody answers, or only to say that it cannot be. `database_refuses`: it answers, and
    somebody has to change something. `plan`: what is done until it has ended.
    """

    def __init__(self, log: FilteringBoundLogger, *, plan: str) -> None:
        self._log = log
        self._plan = plan
        self._lock = Lock()
        self._down: dict[str, str] = {}  # connection → what was said of it, or of another one

    @property
    def lasts(self) -> bool:
        """Whether it has begun and not ended."""
        return bool(self._down)

    def failed(self, error: Exception, *, connection: str = "", farewell: str = "") -> None:
        """A try has failed; said where it is the first, or where it is refused now and was unanswered, or the reverse.

        `farewell`: what the server said when it closed the connection.
        """
        unanswered = isinstance(error, (*CONNECTION_LOST, DatabaseUnavailable))
        event = "database_unavailable" if unanswered else "database_refuses"
        with self._lock:
            is_known = event in self._down.values()
            self._down[connection] = event
        if not is_known:
            reason = reason_of(error)
            reason = reason if farewell in reason else f"{farewell}; {reason}"
            fields = {"connection": connection} if connection else {}
            self._log.warning(event, error=reason, next=self._plan, **fields)

    def ended(self, connection: str = "") -> None:
        """What failed has succeeded, or is not wanted any more; to be called whenever that is so, it is cheap."""
        if not self._down:
            return
        with self._lock:
            is_over = self._down.pop(connection, None) is not None and not self._down
        if is_over:
            self._log.info("database_back")


def reason_of(error: BaseException) -> str:
    """An error in one line, without the place in a statement that PostgreSQL adds; for a missing right with the role
    that a worker or leader needs."""
    if not isinstance(error, psycopg.Error):
        return str(error).strip() or type(error).__name__
    said = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
    return f"{said}. {ROLE_NEEDED}" if isinstance(error, psycopg.errors.InsufficientPrivilege) else said
