"""A context whose connection is real: for handlers that work in the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg

import taskflow.handlers  # noqa: F401  (registers the types)
from taskflow.settings import process_settings
from taskflow.tasks.context import Context
from taskflow.tasks.registry import registry
from taskflow.tasks.task import ClaimedTask


class ConnectedAttempt:
    """Keeps what the handler reports, and opens connections as a worker does."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.progress: list[tuple[int, str | None]] = []

    def report_progress(self, percent: int, message: str | None) -> None:
        self.progress.append((percent, message))

    def is_cancelled(self) -> bool:
        return False

    def log(self, entry: bytes) -> None:
        """No test asks what these handlers log."""

    @contextmanager
    def open_connection(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.dsn) as connection:
            yield connection


def run_with(attempt: ConnectedAttempt, type: str, payload: dict[str, Any], *, task_id: int = 4711) -> Any:
    """Run a handler in this process."""
    handler = registry.get(type)
    assert handler is not None
    process_settings.cache_clear()  # each run is one of a process of its own, with its environment
    claimed = ClaimedTask(task_id, 1, type, "default", 1, datetime.now(UTC), {}, {}, 60.0, 0)
    return handler.function(handler.parse(payload), Context(claimed, attempt, time.time() + 60))
