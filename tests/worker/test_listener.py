"""The listener under a flood: anybody who may connect may notify anything."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from taskflow.worker import listener as module
from taskflow.worker.listener import Listener

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The listener's clock, moved by hand: on a busy machine a flood arrives so slowly that much of it is forgiven."""
    moment = [1000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: moment[0]))
    return moment


def flood(connection: Connection, count: int) -> None:
    connection.execute("SELECT pg_notify('taskflow_wake', n::text) FROM generate_series(1, %s) n", (count,))


def listens(connection: Connection) -> bool:
    row = connection.execute("SELECT count(*) FROM pg_listening_channels()").fetchone()
    assert row is not None
    return bool(row[0])


def hear_all(listener: Listener, connection: Connection, count: int) -> None:
    """Wait until this many have arrived: a flood comes in several reads."""
    heard = 0
    while heard < count:
        heard += len(listener.wait(connection, 5))


def test_a_flood_ends_the_listening_and_the_waits_are_short_meanwhile(connection: Connection, dsn: str) -> None:
    listener = Listener()
    with psycopg.connect(dsn, autocommit=True) as other:
        listener.attach(connection)
        flood(other, module.FLOOD + 1)
        hear_all(listener, connection, module.FLOOD + 1)
        assert listener.wait(connection, 60) == []  # else this takes a minute
        assert not listens(connection)
    listener.close()


def test_after_the_flood_it_listens_again(connection: Connection, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEAF_SECONDS", 0.0)
    listener = Listener()
    with psycopg.connect(dsn, autocommit=True) as other:
        listener.attach(connection)
        flood(other, module.FLOOD + 1)
        hear_all(listener, connection, module.FLOOD + 1)
        listener.wait(connection, 0)
        assert not listens(connection)
        listener.wait(connection, 0)
        assert listens(connection)
        flood(other, 1)
        assert listener.wait(connection, 5) == [("taskflow_wake", "1")]
    listener.close()


def test_many_notifications_are_no_flood(connection: Connection, dsn: str) -> None:
    listener = Listener()
    with psycopg.connect(dsn, autocommit=True) as other:
        listener.attach(connection)
        flood(other, module.FLOOD - 1)
        hear_all(listener, connection, module.FLOOD - 1)
        listener.wait(connection, 0)
        assert listens(connection)
    listener.close()


def test_a_slow_reader_knows_a_flood_as_well(connection: Connection, dsn: str, now: list[float]) -> None:
    """A busy machine takes seconds over what it is sent: it is a flood nevertheless."""
    listener = Listener()
    with psycopg.connect(dsn, autocommit=True) as other:
        listener.attach(connection)
        for _ in range(2):
            flood(other, 8000)
            connection.execute("SELECT 1")  # its answer stands behind them
            now[0] += 3.0
            listener.wait(connection, 0)
        assert not listens(connection)
    listener.close()


def test_many_notifications_over_a_long_time_are_no_flood(connection: Connection, dsn: str, now: list[float]) -> None:
    listener = Listener()
    with psycopg.connect(dsn, autocommit=True) as other:
        listener.attach(connection)
        for _ in range(40):  # half of what is allowed: what is read late counts for the next quarter of a second
            flood(other, module.FLOOD // 2 - 1)
            hear_all(listener, connection, module.FLOOD // 2 - 1)
            now[0] += 0.25
        listener.wait(connection, 0)
        assert listens(connection)
    listener.close()


def test_whoever_wakes_it_after_its_end_writes_to_nobody() -> None:
    """A slot's thread may outlive the claimer, and the numbers of a closed pipe are given to what is opened next."""
    listener = Listener()
    listener.close()
    reader, writer = os.pipe()
    try:
        os.set_blocking(reader, False)
        listener.wake()
        listener.close()
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
    finally:
        os.close(reader)
        os.close(writer)
