"""Who may ask, with keys and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from taskflow.errors import SettingsError
from taskflow.settings import load
from taskflow.web.access.auth import check_exposure, is_loopback
from tests.web.conftest import ADMIN_KEY

PROTECTED = [
    "/api/v1/tasks/1",
    "/api/v1/jobs/1",
    "/api/v1/tasks/1/executions",
    "/metrics",
    "/api/v1/nothing",
    "/admin/x",
]
OPEN = ["/live", "/health", "/api/v1/health", "/admin/health", "/ready"]


@pytest.fixture
def locked(make_app: Callable[..., Flask]) -> FlaskClient:
    return make_app(auth="on", admin_key=ADMIN_KEY).test_client()


class TestKeys:
    def test_without_a_key_nothing_but_health_is_open(self, locked: FlaskClient) -> None:
        for path in PROTECTED:
            response = locked.get(path)
            assert (path, response.status_code, response.json["code"]) == (path, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"].startswith("Bearer ")
        assert locked.post("/api/v1/tasks", json={"type": "echo"}).status_code == 401
        assert [locked.get(path).status_code for path in OPEN] == [200] * len(OPEN)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": f"Bearer {ADMIN_KEY}"},
            {"Authorization": f"bearer   {ADMIN_KEY} "},
            {"X-API-Key": ADMIN_KEY},
            {"X-API-Key": ADMIN_KEY, "Authorization": "Basic dTpw"},
        ],
    )
    def test_the_key_opens_by_either_header(self, locked: FlaskClient, headers: dict[str, str]) -> None:
        assert locked.post("/api/v1/tasks", json={"type": "echo"}, headers=headers).status_code == 201

    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer"},
            {"Authorization": f"Basic {ADMIN_KEY}"},
            {"Authorization": ADMIN_KEY},
            {"X-API-Key": ADMIN_KEY + "x"},
            {"X-API-Key": ADMIN_KEY[:-1]},
            {"X-API-Key": ""},
            {"X-API-Key": "ü"},
            {"X-API-Key": "x" * 5000},
        ],
    )
    def test_another_key_does_not(self, locked: FlaskClient, headers: dict[str, str]) -> None:
        response = locked.get("/api/v1/tasks/1", headers=headers)

        assert response.status_code == 401
        assert ADMIN_KEY not in response.text

    def test_a_key_in_the_address_does_not(self, locked: FlaskClient) -> None:
        assert locked.get(f"/api/v1/tasks/1?api_key={ADMIN_KEY}").status_code == 401

    def test_a_server_without_any_key_says_what_to_do(self, make_app: Callable[..., Flask]) -> None:
        response = make_app(auth="on").test_client().get("/api/v1/tasks/1", headers={"X-API-Key": "anything"})

        assert response.status_code == 401
        assert "TASKFLOW_ADMIN_KEY" in response.json["detail"]
        assert "TASKFLOW_AUTH=off" in response.json["detail"]

    def test_metrics_are_open_by_setting(self, make_app: Callable[..., Flask]) -> None:
        assert (
            make_app(auth="on", admin_key=ADMIN_KEY, metrics_open=True).test_client().get("/metrics").status_code == 200
        )

    def test_keys_are_what_counts_and_not_the_host(self, admin: FlaskClient) -> None:
        assert admin.post("/api/v1/tasks", json={"type": "echo"}, headers={"Host": "tasks.example"}).status_code == 201


class TestWithoutKeys:
    @pytest.mark.parametrize(
        "headers",
        [
            {"Host": "localhost:8080"},
            {"Host": "127.0.0.1"},
            {"Host": "127.1.2.3:80"},
            {"Host": "[::1]:8080"},
            {"Host": "LOCALHOST."},
            {"Host": "app.localhost"},
            {"Host": "localhost", "Origin": "http://localhost:5173"},
            {"Host": "localhost", "Origin": "http://[::1]"},
        ],
    )
    def test_this_machine_is_served(self, client: FlaskClient, headers: dict[str, str]) -> None:
        assert client.post("/api/v1/tasks", json={"type": "echo"}, headers=headers).status_code == 201

    @pytest.mark.parametrize(
        "headers",
        [
            {"Host": "evil.example"},
            {"Host": "localhost.evil.example"},
            {"Host": "127.0.0.1.evil.example"},
            {"Host": "192.168.1.7:8080"},
            {"Host": "[::2]"},
            {"Host": "[::1"},
            {"Host": "a@evil.example"},
            {"Host": "localhost", "Origin": "https://evil.example"},
            {"Host": "localhost", "Origin": "null"},
            {"Host": "localhost", "Origin": "http://localhost@evil.example"},
            {"Host": "localhost", "Origin": ""},
        ],
    )
    def test_a_page_elsewhere_is_not(self, client: FlaskClient, headers: dict[str, str]) -> None:
        response = client.post("/api/v1/tasks", json={"type": "echo"}, headers=headers)

        assert (response.status_code, response.json["code"]) == (403, "host_not_allowed")
        assert client.get("/metrics", headers=headers).status_code == 403

    def test_probes_may_use_any_name(self, client: FlaskClient) -> None:
        assert [client.get(path, headers={"Host": "10.0.0.7"}).status_code for path in OPEN] == [200] * len(OPEN)

    def test_further_names_are_allowed_by_setting(self, make_app: Callable[..., Flask]) -> None:
        def status(allowed: str, **headers: str) -> int:
            app = make_app(allowed_hosts=allowed)
            return app.test_client().post("/api/v1/tasks", json={"type": "echo"}, headers=headers).status_code

        assert status("taskflow,tasks.example", Host="Tasks.Example:80", Origin="https://tasks.example") == 201
        assert status("taskflow", Host="tasks.example") == 403
        assert status("*", Host="tasks.example", Origin="https://evil.example") == 201


class TestExposure:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
    def test_without_a_key_the_network_is_not_served(self, host: str) -> None:
        with pytest.raises(SettingsError, match="TASKFLOW_ADMIN_KEY"):
            check_exposure(load(host=host))

    @pytest.mark.parametrize(
        "settings",
        [
            {"host": "127.0.0.1"},
            {"host": "::1"},
            {"host": "localhost"},
            {"host": "0.0.0.0", "admin_key": "k"},
            {"host": "0.0.0.0", "auth": "off"},
        ],
    )
    def test_otherwise_it_is(self, settings: dict[str, Any]) -> None:
        check_exposure(load(**settings))

    def test_a_key_in_the_database_is_enough_until_it_is_revoked(
        self, dsn: str, connection: psycopg.Connection[Any]
    ) -> None:
        settings = load(host="0.0.0.0", database_url=dsn)
        with pytest.raises(SettingsError, match="holds no API key"):
            check_exposure(settings)
        connection.execute(
            "INSERT INTO taskflow.api_keys (name, prefix, hash, scopes) VALUES ('n', 'p', 'h', '{read}')"
        )
        check_exposure(settings)
        connection.execute("UPDATE taskflow.api_keys SET revoked_at = now()")
        with pytest.raises(SettingsError, match="taskflow keys create"):
            check_exposure(settings)

    def test_names_of_this_machine(self) -> None:
        assert [is_loopback(host) for host in ("localhost", "127.9.9.9", "[::1]", "localhost.example")] == [
            True,
            True,
            True,
            False,
        ]
