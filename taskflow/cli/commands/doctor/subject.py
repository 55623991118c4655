"""What the checks look at: the settings and one connection to the database, and what several of them need of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import psycopg

from taskflow.cli.commands.doctor.finding import Finding
from taskflow.settings import Settings
from taskflow.store import diagnosis, maintenance, queues
from taskflow.store.connection import connect
from taskflow.store.maintenance import Upkeep

Connection = psycopg.Connection[Any]
Finder = Callable[["Subject"], Iterator[Finding]]
SAMPLE = 1000
"""Tasks of each queue and priority that are looked at, those that wait longest."""


@dataclass(frozen=True)
class Check:
    """One thing that is looked at. `of` says what it needs: the settings alone, a connection, or the schema."""

    name: str
    of: str
    find: Finder


@dataclass
class Subject:
    """`connection` None: the database cannot be reached."""

    settings: Settings
    connection: Connection | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """What was measured by the way, for those who want figures."""

    @property
    def database(self) -> Connection:
        assert self.connection is not None
        return self.connection

    def open(self) -> Connection:
        """One more connection. Behind a pooler nothing may be prepared."""
        return connect(self.settings.database_url, name="doctor", prepare_threshold=None)

    @contextmanager
    def second(self) -> Iterator[Connection]:
        """Another connection, for this block."""
        connection = self.open()
        try:
            yield connection
        finally:
            connection.close()

    def rows(self, name: str, **parameters: Any) -> list[Any]:
        """The rows of a statement of sql/queries."""
        return diagnosis.look(self.database, name, **parameters)

    @cached_property
    def upkeep(self) -> Upkeep:
        """Partitions and sizes."""
        return maintenance.look(self.database)

    @cached_property
    def workers(self) -> list[Any]:
        """The workers whose heartbeat is recent."""
        timeout = self.settings.heartbeat_timeout
        return [worker for worker in self.rows("registered_workers") if worker.silent_seconds <= timeout]

    @cached_property
    def waiting(self) -> list[Any]:
        """Rows of (queue, type, seconds): what is due, and since when."""
        return self.rows("waiting_types", sample=SAMPLE)

    @cached_property
    def paused(self) -> set[str]:
        """The queues that are paused."""
        return {name for name, queue in queues.read(self.database).items() if queue.paused}
