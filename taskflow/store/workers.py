"""Workers in the database: registration, heartbeat, what they can run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson
import psycopg

from taskflow.store.arrays import numbers, texts
from taskflow.store.resources import query

Connection = psycopg.Connection[tuple[Any, ...]]


class Pulse(NamedTuple):
    """The answer to a heartbeat: whether the worker is known still, what is wanted of it, which tasks to cancel."""

    known: bool
    state: str | None
    cancelled: list[int]


def register(
    connection: Connection,
    *,
    hostname: str,
    pid: int,
    queues: Sequence[str] | None,
    types: Sequence[str],
    concurrency: int,
    version: str,
    before: int | None = None,
) -> int:
    """Register a worker process and return its new id; `before` is the one it had until now."""
    parameters = (hostname, pid, texts(queues) if queues else None, texts(types), concurrency, version, before)
    row = connection.execute(query("register_worker"), parameters).fetchone()
    assert row is not None
    return int(row[0])


def register_types(connection: Connection, types: Sequence[dict[str, Any]]) -> None:
    """Write what this process can run: dicts with the columns of `taskflow.task_types`."""
    connection.execute(query("register_types"), (orjson.dumps(types).decode(),))


def deregister(connection: Connection, worker_id: int) -> None:
    """Remove a worker that has ended or given back everything."""
    connection.execute(query("deregister_worker"), (worker_id,))


def set_state(connection: Connection, worker_id: int, state: str) -> None:
    """Say what is wanted of a worker: running, paused or draining. One that drains already goes on draining."""
    connection.execute(query("set_worker_state"), (worker_id, state))


def heartbeat(connection: Connection, worker_id: int, active: int, started: Sequence[tuple[int, int, float]]) -> Pulse:
    """Say that the worker lives, and which attempts (id, attempt, seconds since the claim) have begun."""
    parameters = (worker_id, active, *(numbers([item[column] for item in sorted(started)]) for column in range(3)))
    row = connection.execute(query("heartbeat"), parameters).fetchone()
    assert row is not None
    return Pulse._make(row)
