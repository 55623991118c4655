"""The bells: who sleeps on which queue. The protocol is told in sql/functions/ring.sql."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from taskflow.store.arrays import texts
from taskflow.store.resources import query

Connection = psycopg.Connection[tuple[Any, ...]]

WAKE, BELL, CONTROL = "taskflow_wake", "taskflow_bell", "taskflow_control"
EVERY_QUEUE = "*"
"""The bell of workers that serve every queue."""


class Bells(NamedTuple):
    """What became of asking for bells: ours now, another sleeper's, or refused by an inserter still open."""

    held: list[str]
    taken: list[str]
    busy: list[str]


def take(connection: Connection, queues: Sequence[str]) -> Bells:
    """Ask for the bells of queues that this session does not hold; never for one it holds, they are counted."""
    row = connection.execute(query("take_bells"), (texts(queues),)).fetchone()
    assert row is not None
    return Bells._make(row)


def give(connection: Connection, queues: Sequence[str]) -> None:
    """Give bells up that this session holds."""
    connection.execute(query("give_bells"), (texts(queues),))


def listen(connection: Connection) -> None:
    """Receive wake-ups, bells given up, and hints from operators on this connection."""
    for channel in (WAKE, BELL, CONTROL):
        connection.execute(f"LISTEN {channel}")


def probe(connection: Connection, token: str) -> None:
    """Send a control notification that only tells the listener with this token that notifications arrive."""
    connection.execute("SELECT pg_notify(%s, %s)", (CONTROL, token))
