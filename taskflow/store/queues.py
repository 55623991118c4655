"""The settings of queues, as a worker needs them."""

from __future__ import annotations

from typing import Any, NamedTuple

import psycopg

from taskflow.store.resources import query

Connection = psycopg.Connection[tuple[Any, ...]]


class QueueSettings(NamedTuple):
    """A row of `taskflow.queues`; a queue without one has these defaults."""

    name: str
    priority: int = 0
    paused: bool = False
    timeout_seconds: float = 300.0
    weight: int = 1
    max_workers: int | None = None
    limited: bool = False
    """Whether `claim_limited` claims from it."""


def read(connection: Connection) -> dict[str, QueueSettings]:
    """The settings of all queues that have any."""
    return {row[0]: QueueSettings._make(row) for row in connection.execute(query("queue_settings"))}
