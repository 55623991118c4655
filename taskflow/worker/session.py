"""A connection that is opened anew when it was lost, with growing pauses, until it is no longer wanted."""

from __future__ import annotations

import random
from collections.abc import Callable
from threading import Event
from typing import Any

import psycopg

from taskflow.errors import TaskflowError
from taskflow.store.connection import connect, settle_session
from taskflow.store.outage import Outage
from taskflow.telemetry import get_logger

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0

Connection = psycopg.Connection[tuple[Any, ...]]


class Session:
    """One connection of a worker. An outage is logged once when it begins and once when it ends, not per try.

    It has ended when a statement has succeeded, not when a connection was opened: a server with a full disk takes
    connections all the time, and to come back at once each time would be a storm.
    """

    def __init__(
        self,
        dsn: str,
        name: str,
        gone: Event,
        prepare: Callable[[Connection], None] | None = None,
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        self._dsn = dsn
        self._name = name
        self._gone = gone
        self._prepare = prepare
        self._connection: Connection | None = None
        self._pause = 0.0
        self._longest_pause = min(longest_pause_seconds, LONGEST_PAUSE_SECONDS)
        self._outage = Outage(get_logger(name), plan="trying again until it is back; running tasks go on")
        self.prepare_threshold: int | None = None

    def open(self) -> Connection | None:
        """The connection, opened if need be. None: it cannot be had now; the pause before the next try is over then."""
        if self._connection is not None:
            return self._connection
        if self._pause:
            self._gone.wait(self._pause * random.uniform(0.5, 1.0))
        try:
            connection = self._connect()
        except (TaskflowError, psycopg.Error) as error:
            self._failed(error)
            return None
        self._connection = connection
        return connection

    def works(self) -> None:
        """The connection has done what it is for; to be called whenever it has, it is cheap."""
        if self._outage.lasts:
            self._outage.ended()
            self._pause = 0.0

    def lost(self, error: Exception) -> None:
        """The connection is of no use any more: close it, so that the next `open` makes a new one."""
        self.close()
        self._failed(error)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> Connection:
        connection = connect(self._dsn, name=self._name, prepare_threshold=self.prepare_threshold)
        try:
            settle_session(connection)
            if self._prepare is not None:
                self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _failed(self, error: Exception) -> None:
        self._outage.failed(error)
        self._pause = min(self._longest_pause, self._pause * 2 or FIRST_PAUSE_SECONDS)
