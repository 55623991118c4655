"""The pool: dead connections are noticed before they are used, and the database may come and go."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy import text

from taskflow.errors import DatabaseUnavailable, TaskflowError
from taskflow.settings import load
from taskflow.store.migrate import migrate
from taskflow.web import create_app
from taskflow.web.database import Database, is_dead
from taskflow.web.services import EXTENSION


@pytest.fixture
def database(app: Flask) -> Database:
    found: Database = app.extensions[EXTENSION].database
    return found


def end_sessions(connection: psycopg.Connection[Any]) -> int:
    rows = connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'taskflow web'"
    ).fetchall()
    return len(rows)


def test_connections_that_the_server_ended_are_replaced_unnoticed(
    app: Flask, connection: psycopg.Connection[Any]
) -> None:
    client = app.test_client()
    for _ in range(3):
        assert client.post("/api/v1/tasks", json={"type": "echo"}).status_code == 201
        assert end_sessions(connection) >= 1

    assert client.get("/api/v1/tasks/1").status_code == 200


def test_a_read_whose_connection_is_lost_under_way_is_repeated(database: Database) -> None:
    # The first time it ends its own session, the second time there is nothing left to end.
    pids = database.fetch(text("SELECT pg_backend_pid()"))
    statement = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = :pid AND pid = pg_backend_pid()"
    )

    assert database.fetch(statement, {"pid": pids[0][0]}) == []


def test_a_write_whose_connection_is_lost_under_way_is_not(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable):
        database.call(text("SELECT pg_terminate_backend(pg_backend_pid())"), {})


def test_a_connection_with_a_notice_to_read_is_not_dead(connection: psycopg.Connection[Any], dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("LISTEN something")
        assert not is_dead(listener)
        connection.execute("NOTIFY something")
        assert not is_dead(listener)
        listener.close()
        assert is_dead(listener)


def test_a_server_that_became_read_only_is_left(database: Database, connection: psycopg.Connection[Any]) -> None:
    before = database.fetch(text("SELECT pg_backend_pid()"))[0][0]
    database.call(text("SET default_transaction_read_only = on"), {})
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        database.call(text("CREATE TABLE t ()"), {})

    assert database.fetch(text("SELECT pg_backend_pid()"))[0][0] != before


def test_a_statement_that_takes_too_long_is_unavailable_and_not_a_hanging_thread(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.web.database.STATEMENT_TIMEOUT", "50ms")
    database = Database(load(database_url=dsn))

    with pytest.raises(DatabaseUnavailable, match="limit"):
        database.fetch(text("SELECT pg_sleep(60)"))
    database.engine.dispose()


def test_other_errors_become_errors_of_taskflow(database: Database) -> None:
    with pytest.raises(TaskflowError), database.driver_connection() as connection:
        connection.execute("SELECT 1/0")
    with pytest.raises(TaskflowError):
        database.fetch(text("SELECT nonsense"))


def test_the_application_comes_up_without_a_database_and_needs_no_restart(
    cluster_factory: Callable[..., Any],
) -> None:
    server = cluster_factory()
    dsn = server.dsn("postgres")
    migrate(dsn)
    server.stop()
    app = create_app(load(database_url=dsn, auth="off"))
    client = app.test_client()

    def statuses() -> list[int]:
        create = client.post("/api/v1/tasks", json={"type": "echo"})
        return [create.status_code, client.get("/health").status_code, client.get("/live").status_code]

    assert statuses() == [503, 503, 200]
    server.start()
    assert statuses() == [201, 200, 200]
    server.kill()
    assert statuses() == [503, 503, 200]
    server.start()
    assert statuses() == [201, 200, 200]
    assert client.get("/api/v1/tasks/1").status_code == 200  # what was acknowledged is there
    app.extensions[EXTENSION].database.engine.dispose()


def test_connections_stay_within_the_bound(make_app: Callable[..., Flask], connection: psycopg.Connection[Any]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    app = make_app(web_connections=2)
    with ThreadPoolExecutor(16) as threads:
        created = list(
            threads.map(
                lambda _: app.test_client().post("/api/v1/tasks", json={"type": "echo"}).status_code, range(100)
            )
        )

    assert created == [201] * 100
    assert connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'taskflow web' AND datname = current_database()"
    ).fetchone() == (2,)


def test_applications_that_are_gone_leave_no_files_open() -> None:
    settings = load(database_url="postgresql://nobody@127.0.0.1:1/none")

    def open_files() -> int:
        gc.collect()
        return len(os.listdir("/dev/fd"))

    before = open_files()
    for _ in range(10):
        create_app(settings, resources=["health"])

    assert open_files() < before + 10
