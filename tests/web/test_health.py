"""Whether the process lives, the database answers, and requests can be served."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version

import pytest
from flask import Flask
from flask.testing import FlaskClient

from taskflow.web.services import EXTENSION

HEALTH = ["/health", "/api/v1/health", "/admin/health"]


@pytest.fixture
def without_database(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app(database_url="postgresql://nobody@127.0.0.1:1/none").test_client()


@pytest.mark.parametrize("path", HEALTH)
def test_healthy_while_the_database_answers(client: FlaskClient, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 200
    assert datetime.fromisoformat(response.json.pop("time")).tzinfo
    assert {name: response.json[name] for name in ("status", "database", "version")} == {
        "status": "healthy",
        "database": "connected",
        "version": version("taskflow-pg"),
    }


@pytest.mark.parametrize("path", HEALTH)
def test_unhealthy_while_it_is_away(without_database: FlaskClient, path: str) -> None:
    response = without_database.get(path)

    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    assert (response.json["status"], response.json["database"]) == ("unhealthy", "disconnected")


def test_alive_whatever_the_database_does(client: FlaskClient, without_database: FlaskClient) -> None:
    assert [c.get("/live").status_code for c in (client, without_database)] == [200, 200]


def test_ready_with_the_schema_of_this_version(client: FlaskClient) -> None:
    response = client.get("/ready")

    assert (response.status_code, response.json["status"], set(response.json)) == (200, "ready", {"status", "time"})


def test_probes_however_many_ask_the_database_at_most_every_two_seconds(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/ready").status_code == 200

    app.extensions[EXTENSION].readiness._database = None  # asking it would now be an error

    assert client.get("/ready").status_code == 200


def test_not_ready_without_the_schema(make_app: Callable[..., Flask], empty_dsn: str) -> None:
    response = make_app(database_url=empty_dsn).test_client().get("/ready")

    assert (response.status_code, response.json["status"]) == (503, "not ready")
    assert "taskflow migrate" in response.json["reason"]


def test_not_ready_without_a_database(without_database: FlaskClient) -> None:
    assert without_database.get("/ready").status_code == 503


def test_not_ready_once_the_server_shuts_down(app: Flask) -> None:
    app.extensions[EXTENSION].closing.set()

    assert app.test_client().get("/ready").status_code == 503
    assert app.test_client().get("/live").status_code == 200


def test_a_get_may_also_be_a_head(client: FlaskClient) -> None:
    response = client.head("/health")

    assert (response.status_code, response.data) == (200, b"")
