"""The schedules that code defines, `@task(..., cron="0 7 * * 1-5")`, written to the database at a worker's start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskflow.store import schedules
from taskflow.store.schedules import Connection
from taskflow.tasks.handler import AnyHandler
from taskflow.tasks.registry import Registry
from taskflow.telemetry import get_logger

EVENTS = {"created": "schedule_created", "changed": "schedule_changed", "removed": "schedule_removed"}


class Recurring:
    """Written once by each process: a connection that is opened anew does not bring back what an operator or a newer
    worker has changed meanwhile."""

    def __init__(self, registry: Registry, types: Sequence[str]) -> None:
        self._types = types
        self._rows = schedule_rows(registry, types)
        self._written = False

    def write(self, connection: Connection) -> None:
        """Create, change and remove the schedules of the types that this worker serves, as its code has them."""
        if self._written:
            return
        for name, what in schedules.sync(connection, self._rows, self._types):
            if what == "taken":
                get_logger("worker").warning(
                    "schedule_name_taken",
                    schedule=name,
                    reason="somebody has made a schedule of this name, so that of the code is not written",
                )
            else:
                get_logger("worker").info(EVENTS[what], schedule=name)
        self._written = True


def schedule_rows(registry: Registry, types: Sequence[str]) -> list[dict[str, Any]]:
    """What the registry knows about the schedules of the types, as rows of `taskflow.schedules`."""
    handlers = (registry.get(name) for name in types)
    return [_row(handler) for handler in handlers if handler is not None and handler.recurrence is not None]


def _row(handler: AnyHandler) -> dict[str, Any]:
    assert handler.recurrence is not None
    retry = handler.retry
    options = {
        "max_attempts": handler.max_attempts,
        "timeout": handler.timeout,
        "retry_strategy": retry.strategy if retry else None,
        "retry_delay": retry.delay_seconds if retry else None,
        "max_retry_delay": retry.max_delay_seconds if retry else None,
    }
    return {
        "name": handler.type,
        "type": handler.type,
        "queue": handler.queue,
        "priority": handler.priority,
        "options": {name: value for name, value in options.items() if value is not None},
        **handler.recurrence.columns(),
    }
