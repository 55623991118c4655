"""What a failed connection is: a login that is refused, or a server that is not there, or not yet."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import psycopg
import pytest
from psycopg import conninfo

from taskflow.cluster import Cluster
from taskflow.errors import DatabaseMissing, DatabaseUnavailable, LoginRefused, TaskflowError
from taskflow.store.connection import connect, connect_async, translate
from tests.cli.conftest import CommandLine
from tests.conftest import ClusterFactory

RULES = """
local all guarded scram-sha-256
local all banned reject
local all stranger peer
local template1 plain reject
local all unruled,nobody trust
local all postgres,plain,idle,many trust
"""
LOGINS = """
    CREATE ROLE guarded LOGIN PASSWORD 'right'; CREATE ROLE banned LOGIN; CREATE ROLE stranger LOGIN;
    CREATE ROLE plain LOGIN; CREATE ROLE idle NOLOGIN; CREATE ROLE many LOGIN CONNECTION LIMIT 0;
"""


@pytest.fixture
def server(cluster_factory: ClusterFactory, until: Callable[[Callable[[], object]], None]) -> Cluster:
    """A server that does not let everybody in."""
    server = cluster_factory()
    (server.data / "pg_hba.conf").write_text(RULES)
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(LOGINS)
        connection.execute("CREATE DATABASE closed")
        connection.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
    os.kill(server.pid, signal.SIGHUP)
    until(lambda: "rejects" in said(server, user="banned"))
    return server


def said(server: Cluster, **parameters: str) -> str:
    """The error at connecting, in psycopg's words; empty where there is none."""
    try:
        psycopg.connect(conninfo.make_conninfo(server.dsn(), **parameters)).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def outcome(server: Cluster, **parameters: str) -> type[TaskflowError]:
    """What both ways of connecting raise."""
    dsn = conninfo.make_conninfo(server.dsn(), **parameters)
    with pytest.raises(TaskflowError) as caught:
        connect(dsn, name="test").close()
    with pytest.raises(type(caught.value)):
        asyncio.run(connect_async(dsn, name="test"))
    if type(caught.value) is LoginRefused:
        assert "Check the user and password of DATABASE_URL." in str(caught.value)
    if isinstance(caught.value, DatabaseMissing):
        assert "Make it by CREATE DATABASE, or correct the name in DATABASE_URL." in str(caught.value)
    return type(caught.value)


def test_a_refused_login_is_told_from_a_server_that_is_away(server: Cluster) -> None:
    here, nowhere = str(server.socket_dir), str(server.directory)
    refused = {
        "wrong password": {"user": "guarded", "password": "wrong"},
        "no password": {"user": "guarded"},
        "no such user": {"user": "nobody"},
        "may not log in": {"user": "idle"},
        "rejected by a rule": {"user": "banned"},
        "no rule": {"user": "forgotten"},
        "another user of the system": {"user": "stranger"},
        "no right to connect": {"user": "plain", "dbname": "closed"},
        "refused by every host": {"user": "nobody", "host": f"{here},{here}"},
    }
    missing = {
        "no such database": {"user": "plain", "dbname": "missing"},
        "on no host": {"user": "plain", "dbname": "missing", "host": f"{here},{here}"},
    }
    away = {
        "no server": {"host": nowhere},
        "no room": {"user": "many"},
        "a database that takes none": {"user": "plain", "dbname": "template0"},
        "refused by one host, the other is away": {"user": "nobody", "host": f"{here},{nowhere}"},
        "one is away, the other refuses": {"user": "nobody", "host": f"{nowhere},{here}"},
    }
    seen = {case: outcome(server, **parameters) for case, parameters in (refused | missing | away).items()}
    assert seen == (
        dict.fromkeys(refused, LoginRefused)
        | dict.fromkeys(missing, DatabaseMissing)
        | dict.fromkeys(away, DatabaseUnavailable)
    )


def test_a_server_that_goes_or_comes_refuses_nobody(
    server: Cluster, until: Callable[[Callable[[], object]], None]
) -> None:
    assert outcome(server, user="nobody") is LoginRefused
    with psycopg.connect(server.dsn()):
        os.kill(server.pid, signal.SIGTERM)  # it waits for us
        until(lambda: "the database system is shutting down" in said(server, user="nobody"))
        assert outcome(server, user="nobody") is DatabaseUnavailable


@pytest.mark.parametrize(
    "text",
    [
        'failed: FATAL:  password authentication failed for user "u"',
        'failed: FATAL:  no pg_hba.conf entry for host "::1", user "u", database "d", no encryption',
        "failed: FATAL:  no such database: d",
        "failed: FATAL:  SASL authentication failed",
    ],
)
def test_what_is_said_over_tcp_and_by_pgbouncer_is_understood(text: str) -> None:
    line = f'connection to server at "h" (::1), port 5432 {text}'
    assert isinstance(translate(psycopg.OperationalError(f"connection failed: {line}\n{line}\n")), LoginRefused)
    other = 'connection to server at "h" (::1), port 5432 failed: FATAL:  the database system is starting up'
    assert isinstance(translate(psycopg.OperationalError(f"connection failed: {line}\n{other}\n")), DatabaseUnavailable)


@pytest.mark.parametrize(
    ("change", "refused", "fix"),
    [
        ({"user": "nobody"}, (6, "TF-LOGIN-REFUSED"), "Check user and password in DATABASE_URL; "),
        (
            {"dbname": "missing"},
            (5, "TF-DATABASE-MISSING"),
            "Correct its name in DATABASE_URL, or make it with ",
        ),
    ],
)
def test_a_command_says_what_to_look_at(dsn: str, change: dict[str, str], refused: tuple[int, str], fix: str) -> None:
    command_line = CommandLine(conninfo.make_conninfo(dsn, **change))
    for arguments in (["tasks", "list"], ["migrate"], ["maintenance"]):
        assert command_line.refused(*arguments) == refused
        assert f"\n  fix: {fix}" in command_line.result(*arguments).stderr
