from __future__ import annotations

import psycopg
import pytest
import structlog
from structlog.testing import capture_logs

from taskflow.errors import DatabaseUnavailable, LoginRefused
from taskflow.store.outage import Outage, reason_of


def test_an_outage_is_logged_when_it_begins_and_when_it_has_ended() -> None:
    with capture_logs() as logs:
        outage = Outage(structlog.get_logger(), plan="trying again")
        outage.ended()
        for number in range(5):
            outage.failed(psycopg.OperationalError(f"gone {number}"))
        assert outage.lasts
        outage.ended()
        outage.ended()
    assert logs == [
        {"event": "database_unavailable", "error": "gone 0", "next": "trying again", "log_level": "warning"},
        {"event": "database_back", "log_level": "info"},
    ]


def test_several_connections_have_one_outage_which_ends_when_the_last_is_back() -> None:
    with capture_logs() as logs:
        outage = Outage(structlog.get_logger(), plan="trying again")
        for _ in range(2):
            for name in ("leader", "upkeep"):
                outage.failed(psycopg.OperationalError("gone"), connection=name)
        outage.ended("leader")
        outage.failed(psycopg.OperationalError("gone"), connection="upkeep")
        assert [(line["event"], line["connection"]) for line in logs] == [("database_unavailable", "leader")]
        outage.ended("upkeep")
    assert [line["event"] for line in logs] == ["database_unavailable", "database_back"]


def test_what_refuses_after_it_was_away_is_said_anew() -> None:
    with capture_logs() as logs:
        outage = Outage(structlog.get_logger(), plan="trying again")
        for error in (DatabaseUnavailable("away"), LoginRefused("no such role"), LoginRefused("no such role")):
            outage.failed(error, farewell="shutting down" if isinstance(error, DatabaseUnavailable) else "")
    assert [(line["event"], line["error"]) for line in logs] == [
        ("database_unavailable", "shutting down; away"),
        ("database_refuses", "no such role"),
    ]


def test_a_reason_is_one_line(connection: psycopg.Connection) -> None:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT missing.schema()")
    assert reason_of(caught.value) == 'schema "missing" does not exist'
    connection.execute("SET ROLE taskflow_producer")
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT taskflow.acquire_lease('leader', 'x', 1)")
    assert reason_of(caught.value) == (
        "permission denied for function acquire_lease. Grant the login the role taskflow_worker: `taskflow grants`"
        " prints the statements that make it."
    )
    assert reason_of(psycopg.OperationalError("closed\n\tunexpectedly\n")) == "closed unexpectedly"
    assert reason_of(RuntimeError()) == "RuntimeError"
