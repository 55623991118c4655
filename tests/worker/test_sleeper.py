"""How long a claimer sleeps."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from taskflow.store import bells
from taskflow.worker.listener import Listener
from taskflow.worker.sleeper import Sleeper

Connection = psycopg.Connection[tuple[Any, ...]]
SECONDS = 0.3


def slept_seconds(sleeper: Sleeper, connection: Connection) -> float:
    started = time.monotonic()
    assert sleeper.sleep(connection, SECONDS) == []
    return time.monotonic() - started


def test_who_cannot_be_notified_and_asks_for_no_bell_sleeps_until_the_next_look(connection: Connection) -> None:
    assert slept_seconds(Sleeper(Listener()), connection) > SECONDS - 0.01


def test_a_bell_refused_on_a_connection_that_was_lost_shortens_no_sleep(connection: Connection, dsn: str) -> None:
    sleeper = Sleeper(Listener())
    with psycopg.connect(dsn) as inserter:
        inserter.execute("INSERT INTO taskflow.tasks (type) VALUES ('noop')")
        sleeper.prepare(connection, [bells.EVERY_QUEUE])
        assert slept_seconds(sleeper, connection) < SECONDS / 2
    sleeper.forget()
    assert slept_seconds(sleeper, connection) > SECONDS - 0.01
