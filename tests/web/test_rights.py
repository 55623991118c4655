"""A server that connects as a member of taskflow_server, and no more, can do all that operators ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.conninfo import make_conninfo

from tests.web.conftest import Engine
from tests.web.test_dead_letters import die


@pytest.fixture
def client(make_app: Callable[..., Flask], connection: psycopg.Connection[Any], dsn: str) -> Iterator[FlaskClient]:
    connection.execute("CREATE ROLE a_server LOGIN IN ROLE taskflow_server")
    app = make_app(database_url=make_conninfo(dsn, user="a_server"))
    yield app.test_client()
    app.extensions["taskflow"].database.engine.dispose()
    connection.execute("DROP OWNED BY a_server")
    connection.execute("DROP ROLE a_server")


def test_queues_and_statistics(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    connection.execute("INSERT INTO taskflow.tasks (type, queue) VALUES ('echo', 'fresh'), ('echo', 'mail')")

    for method, path, body, status in [
        ("GET", "/api/v1/queues", None, 200),
        ("POST", "/api/v1/queues", {"name": "new"}, 201),
        ("PUT", "/api/v1/queues/other", {"weight": 2}, 201),
        ("PATCH", "/api/v1/queues/other", {"weight": 3}, 200),
        ("POST", "/api/v1/queues/mail/pause", None, 200),
        ("GET", "/api/v1/queues/mail/stats", None, 200),
        ("GET", "/api/v1/stats", None, 200),
        ("GET", "/api/v1/metrics", None, 200),
        ("GET", "/admin/queues", None, 200),
        ("POST", "/api/v1/queues/mail/purge", None, 200),
        ("DELETE", "/admin/queues/normal", None, 200),
        ("DELETE", "/api/v1/queues/mail", None, 200),
        ("DELETE", "/api/v1/queues/fresh?force=true", None, 200),
    ]:
        response = client.open(path, method=method, json=body)
        assert response.status_code == status, (method, path, response.json)


def test_what_if_match_locks(client: FlaskClient) -> None:
    task = client.post("/api/v1/tasks", json={"type": "echo"})
    queue = client.get("/api/v1/queues/default")
    for path, read in [(f"/api/v1/tasks/{task.json['id']}/cancel", task), ("/api/v1/queues/default/purge", queue)]:
        assert client.post(path, headers={"If-Match": read.headers["ETag"]}).status_code == 200


def test_dead_letters(client: FlaskClient, connection: psycopg.Connection[Any], engine: Engine) -> None:
    first, second, _, _ = (die(connection, engine, f"error {number}") for number in range(4))

    for method, path, body, status in [
        ("GET", "/api/v1/dlq?q=error:error", None, 200),
        ("GET", "/api/v1/dlq/groups", None, 200),
        ("POST", f"/admin/tasks/{first}/retry", None, 200),
        ("POST", "/api/v1/dlq/retry", {"task_id": second}, 200),
        ("POST", "/api/v1/dlq/retry", {"ids": ["3"], "per_second": 1, "payload": {"n": 1}}, 200),
        ("DELETE", "/api/v1/dlq?all=true", None, 200),
    ]:
        response = client.open(path, method=method, json=body)
        assert response.status_code == status, (method, path, response.json)
