"""Under which ids this process is known to the database."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psycopg

from taskflow.settings import Settings
from taskflow.store import workers
from taskflow.tasks.registry import Registry

Connection = psycopg.Connection[tuple[Any, ...]]


class Identity:
    """The current worker id, and those of connections that were lost while tasks ran under them.

    A claim whose answer never came may have been committed. So every new connection gets a new id, and what the old
    one has claimed without this process knowing of it can be given back for certain.
    """

    def __init__(self, queues: Sequence[str], types: Sequence[str], concurrency: int, name: str = "") -> None:
        self._queues = queues
        self._types = types
        self._concurrency = concurrency
        self._name = name or socket.gethostname()
        self.current: int | None = None
        self.retired: set[int] = set()

    def register(self, connection: Connection) -> int:
        """Take a new id; the one before is retired."""
        if self.current is not None:
            self.retired.add(self.current)
        self.current = workers.register(
            connection,
            hostname=self._name,
            pid=os.getpid(),
            queues=self._queues or None,
            types=self._types,
            concurrency=self._concurrency,
            version=installed_version(),
            before=self.current,
        )
        return self.current

    def leave(self, connection: Connection, worker_id: int) -> None:
        """Give an id up for good: nobody beats for it any more, and misses it."""
        workers.deregister(connection, worker_id)
        self.retired.discard(worker_id)
        if self.current == worker_id:
            self.current = None

    def all(self) -> list[int]:
        """Every id that must be kept alive."""
        return [*([self.current] if self.current is not None else []), *self.retired]


def installed_version() -> str:
    """The version of this distribution, for the table of workers."""
    try:
        return version("taskflow-pg")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "0+unknown"


def type_rows(registry: Registry, types: Sequence[str], settings: Settings) -> list[dict[str, Any]]:
    """What the registry knows about the types, as rows of `taskflow.task_types`; where a handler says nothing about
    attempts and waits, what the settings say."""
    rows = []
    for handler in (registry.get(name) for name in types):
        assert handler is not None
        retry = handler.retry
        rows.append(
            {
                "type": handler.type,
                "schema": handler.payload_schema(),
                "description": (handler.function.__doc__ or "").strip().split("\n")[0] or None,
                "queue": handler.queue,
                "priority": handler.priority,
                "max_attempts": _first(handler.max_attempts, settings.max_attempts),
                "timeout": handler.timeout,
                "retry_strategy": retry.strategy if retry else None,
                "retry_delay": _first(retry.delay_seconds if retry else None, settings.retry_delay),
                "max_retry_delay": _first(retry.max_delay_seconds if retry else None, settings.max_retry_delay),
            }
        )
    return rows


def _first(own: float | None, otherwise: float | None) -> float | None:
    return otherwise if own is None else own
