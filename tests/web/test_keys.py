"""API keys over HTTP: made, shown once, limited, revoked."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from taskflow.web.access import keys
from tests.web.conftest import ADMIN_KEY

REVOKED_WITHIN_SECONDS = 1.0


@pytest.fixture
def application(make_app: Callable[..., Flask]) -> Flask:
    return make_app(auth="on", admin_key=ADMIN_KEY)


@pytest.fixture
def admin(application: Flask) -> FlaskClient:
    return with_key(application, ADMIN_KEY)


def with_key(app: Flask, key: str) -> FlaskClient:
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


def create(admin: FlaskClient, *scopes: str, **more: Any) -> dict[str, Any]:
    response = admin.post("/api/v1/keys", json={"name": "a service", "scopes": list(scopes), **more})
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json
    return found


def status_of(client: FlaskClient) -> int:
    return client.get("/api/v1/tasks/1").status_code


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


class TestMaking:
    def test_a_key_is_256_random_bits_shown_once_and_stored_as_a_hash(
        self, admin: FlaskClient, connection: psycopg.Connection[Any]
    ) -> None:
        made = create(admin, "read", queues=["b", "a"])

        assert made["key"].startswith("tf_")
        assert len(made["key"]) == 3 + 43  # 32 bytes in base64
        assert made["prefix"] == made["key"][:11]
        assert (made["scopes"], made["queues"], made["state"]) == (["read"], ["a", "b"], "active")
        shown = [admin.get(f"/api/v1/keys/{made['id']}").text, admin.get("/api/v1/keys").text]
        assert not any(made["key"] in text for text in shown)
        row = connection.execute("SELECT hash, k::text FROM taskflow.api_keys k WHERE id = %s", [made["id"]]).fetchone()
        assert row is not None
        assert row[0] == hashlib.sha256(made["key"].encode()).digest()
        assert made["key"] not in row[1]
        assert create(admin, "read")["key"] != made["key"]

    def test_it_can_be_used_at_once_and_its_use_is_noted(self, application: Flask, admin: FlaskClient) -> None:
        made = create(admin, "read")
        client = with_key(application, made["key"])

        assert status_of(client) == 404

        assert admin.get(f"/api/v1/keys/{made['id']}").json["last_used_at"] is not None
        assert made["last_used_at"] is None

    def test_one_that_another_process_has_made_can_be_used_at_once(
        self, admin: FlaskClient, make_app: Callable[..., Flask]
    ) -> None:
        assert status_of(admin) == 404
        other = make_app(auth="on")
        for _ in range(5):
            assert status_of(with_key(other, create(admin, "read")["key"])) == 404

    def test_many_requests_may_be_the_first_with_it(self, admin: FlaskClient, make_app: Callable[..., Flask]) -> None:
        assert status_of(admin) == 404
        other, key = make_app(auth="on"), create(admin, "read")["key"]
        together = threading.Barrier(24)

        def use(_: int) -> int:
            client = with_key(other, key)
            together.wait(20)
            return status_of(client)

        with ThreadPoolExecutor(24) as threads:
            assert set(threads.map(use, range(24))) == {404}

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"scopes": ["read"]}, "/name"),
            ({"name": "", "scopes": ["read"]}, "/name"),
            ({"name": "n"}, "/scopes"),
            ({"name": "n", "scopes": []}, "/scopes"),
            ({"name": "n", "scopes": ["root"]}, "/scopes/0"),
            ({"name": "n", "scopes": ["read"], "queues": []}, "/queues"),
            ({"name": "n", "scopes": ["read"], "queues": ["a b"]}, "/queues/0"),
            ({"name": "n", "scopes": ["read", "admin"], "queues": ["a"]}, "/queues"),
            ({"name": "n", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
            ({"name": "n", "scopes": ["read"], "expires_in": 0}, "/expires_in"),
            ({"name": "n", "scopes": ["read"], "expires_at": "2100-01-01T00:00:00Z", "expires_in": 5}, "/expires_in"),
            ({"name": "n", "scopes": ["read"], "hash": "x"}, "/hash"),
        ],
    )
    def test_a_wrong_body_is_refused_with_its_pointer(
        self, admin: FlaskClient, body: dict[str, Any], pointer: str
    ) -> None:
        response = admin.post("/api/v1/keys", json=body)

        assert response.status_code == 422
        assert [problem["pointer"] for problem in response.json["errors"]] == [pointer]

    def test_sent_again_under_its_idempotency_key_it_is_not_made_twice_nor_shown_again(
        self, admin: FlaskClient, connection: psycopg.Connection[Any]
    ) -> None:
        body = {"name": "n", "scopes": ["read"]}
        first, second = (
            admin.post("/api/v1/keys", json=body, headers={"Idempotency-Key": "one"}).json for _ in range(2)
        )

        assert second == first | {"key": None}
        stored = connection.execute("SELECT body FROM taskflow.idempotency_keys").fetchall()
        assert not any(first["key"].encode() in body for (body,) in stored)

    def test_the_list_has_pages(self, admin: FlaskClient) -> None:
        ids = [create(admin, "read")["id"] for _ in range(4)]

        first = admin.get("/api/v1/keys?limit=3").json
        second = admin.get(f"/api/v1/keys?limit=3&cursor={first['next_cursor']}").json

        assert [key["id"] for key in first["keys"]] == ids[:0:-1]
        assert [key["name"] for key in second["keys"]] == ["a service", "admin"]
        assert second["next_cursor"] is None

    @pytest.mark.parametrize("key_id", ["0", "999", "x", "1" + "0" * 30, "%00", "..", "1%20OR%201=1"])
    def test_an_unknown_one_is_404(self, admin: FlaskClient, key_id: str) -> None:
        assert admin.get(f"/api/v1/keys/{key_id}").status_code == 404
        assert admin.delete(f"/api/v1/keys/{key_id}").status_code == 404


class TestNotingUse:
    """That may fail or be left out; the request never does."""

    def test_nobody_waits_for_a_row_that_somebody_else_holds(
        self, application: Flask, admin: FlaskClient, connection: psycopg.Connection[Any]
    ) -> None:
        made = create(admin, "read")
        started = time.monotonic()

        with connection.transaction():
            connection.execute("SELECT FROM taskflow.api_keys WHERE id = %s FOR UPDATE", [made["id"]])
            assert status_of(with_key(application, made["key"])) == 404

        assert time.monotonic() - started < 5
        assert admin.get(f"/api/v1/keys/{made['id']}").json["last_used_at"] is None

    def test_what_keeps_it_from_being_noted_is_logged(
        self,
        application: Flask,
        admin: FlaskClient,
        connection: psycopg.Connection[Any],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        made = create(admin, "read")
        connection.execute("ALTER TABLE taskflow.api_keys ADD CHECK (last_used_at IS NULL) NOT VALID")

        assert status_of(with_key(application, made["key"])) == 404

        assert "key_use_not_recorded" in caplog.messages


class TestLimits:
    @pytest.mark.parametrize(
        ("scope", "allowed"),
        [
            ("read", {"get"}),
            ("enqueue", {"create"}),
            ("operate", {"cancel"}),
            ("admin", {"get", "create", "cancel", "keys", "audit"}),
        ],
    )
    def test_a_key_may_do_what_its_scope_says_and_nothing_else(
        self, application: Flask, admin: FlaskClient, scope: str, allowed: set[str]
    ) -> None:
        client = with_key(application, create(admin, scope)["key"])

        answers = {
            "get": client.get("/api/v1/tasks/1"),
            "create": client.post("/api/v1/tasks", json={"type": "echo"}),
            "cancel": client.post("/api/v1/tasks/1/cancel"),
            "keys": client.get("/api/v1/keys"),
            "audit": client.get("/api/v1/audit"),
        }

        assert {name for name, answer in answers.items() if answer.status_code != 403} == allowed
        assert {answer.json["code"] for answer in answers.values() if answer.status_code == 403} <= {"forbidden"}

    def test_what_lies_in_other_queues_does_not_exist_for_a_limited_key(
        self, application: Flask, admin: FlaskClient
    ) -> None:
        client = with_key(application, create(admin, "read", "enqueue", "operate", queues=["mine"])["key"])
        mine, other = (
            admin.post("/api/v1/tasks", json={"type": "echo", "queue": queue}).json["id"] for queue in ("mine", "other")
        )

        assert client.get(f"/api/v1/tasks/{mine}").status_code == 200
        for path in (f"/api/v1/tasks/{other}", f"/api/v1/tasks/{other}/executions"):
            assert client.get(path).json["code"] == "task_not_found"
        for action in ("cancel", "retry"):
            assert client.post(f"/api/v1/tasks/{other}/{action}", json={}).json["code"] == "task_not_found"
        assert client.post("/api/v1/tasks", json={"type": "echo", "queue": "mine"}).status_code == 201
        refused = client.post("/api/v1/tasks", json={"type": "echo"})
        assert (refused.status_code, refused.json["code"]) == (403, "queue_not_allowed")

    def test_a_limited_key_cannot_make_itself_an_unlimited_one(
        self, application: Flask, admin: FlaskClient, connection: psycopg.Connection[Any]
    ) -> None:
        made = create(admin, "read", queues=["mine"])
        # The API makes no such key; SQL may.
        connection.execute("UPDATE taskflow.api_keys SET scopes = '{admin}' WHERE id = %s", [made["id"]])
        client = with_key(application, made["key"])

        for answer in (
            client.post("/api/v1/keys", json={"name": "n", "scopes": ["admin"]}),
            client.get("/api/v1/keys"),
            client.get(f"/api/v1/keys/{made['id']}"),
            client.delete(f"/api/v1/keys/{made['id']}"),
            client.get("/api/v1/audit"),
        ):
            assert (answer.status_code, answer.json["code"]) == (403, "forbidden")

    def test_secrets_are_shown_to_admins_only(self, application: Flask, admin: FlaskClient) -> None:
        client = with_key(application, create(admin, "read")["key"])
        body = {"type": "echo", "payload": {"password": "x"}}
        task = admin.post("/api/v1/tasks", json=body).json

        assert task["payload"] == {"password": "x"}
        assert client.get(f"/api/v1/tasks/{task['id']}").json["payload"] == {"password": "[redacted]"}


class TestEnding:
    def test_a_revoked_key_opens_nothing_a_second_later(self, application: Flask, admin: FlaskClient) -> None:
        made = create(admin, "read")
        client = with_key(application, made["key"])
        assert status_of(client) == 404

        for _ in range(2):
            assert admin.delete(f"/api/v1/keys/{made['id']}").json == {"message": "key revoked", "id": made["id"]}

        wait_until(lambda: status_of(client) == 401, REVOKED_WITHIN_SECONDS)
        assert admin.get(f"/api/v1/keys/{made['id']}").json["state"] == "revoked"

    def test_a_key_opens_nothing_after_its_end(
        self, application: Flask, admin: FlaskClient, connection: psycopg.Connection[Any]
    ) -> None:
        made = create(admin, "read", expires_in=3600)
        client = with_key(application, made["key"])
        assert status_of(client) == 404

        connection.execute("UPDATE taskflow.api_keys SET expires_at = now() WHERE id = %s", [made["id"]])

        wait_until(lambda: status_of(client) == 401, REVOKED_WITHIN_SECONDS)
        assert admin.get(f"/api/v1/keys/{made['id']}").json["state"] == "expired"

    def test_changes_are_in_the_audit_log_with_their_actor(self, admin: FlaskClient) -> None:
        made = create(admin, "read")
        admin.delete(f"/api/v1/keys/{made['id']}")

        entries = admin.get("/api/v1/audit").json["entries"]

        assert [(e["actor"], e["action"], e["target"]) for e in entries] == [
            ("admin", "key.revoke", made["id"]),
            ("admin", "key.create", made["id"]),
        ]
        assert made["key"] not in str(entries)


class TestFirstKey:
    """TASKFLOW_ADMIN_KEY."""

    def keys(self, connection: psycopg.Connection[Any]) -> list[Any]:
        return connection.execute(
            "SELECT name, scopes, revoked_at IS NULL FROM taskflow.api_keys ORDER BY id"
        ).fetchall()

    def test_it_is_stored_once_however_many_servers_start_with_it(
        self, make_app: Callable[..., Flask], connection: psycopg.Connection[Any]
    ) -> None:
        for _ in range(3):
            assert status_of(with_key(make_app(auth="on", admin_key=ADMIN_KEY), ADMIN_KEY)) == 404

        assert self.keys(connection) == [("admin", ["admin"], True)]

    def test_another_value_takes_its_place(
        self, make_app: Callable[..., Flask], connection: psycopg.Connection[Any]
    ) -> None:
        assert status_of(with_key(make_app(auth="on", admin_key=ADMIN_KEY), ADMIN_KEY)) == 404
        later = make_app(auth="on", admin_key="another-key-of-the-tests")

        assert status_of(with_key(later, "another-key-of-the-tests")) == 404
        assert status_of(with_key(later, ADMIN_KEY)) == 401
        assert [live for _, _, live in self.keys(connection)] == [False, True]

    def test_revoked_it_stays_revoked_after_a_restart(self, make_app: Callable[..., Flask]) -> None:
        admin = with_key(make_app(auth="on", admin_key=ADMIN_KEY), ADMIN_KEY)
        made = create(admin, "admin")
        [first] = [key for key in admin.get("/api/v1/keys").json["keys"] if key["name"] == "admin"]
        admin.delete(f"/api/v1/keys/{first['id']}")

        restarted = make_app(auth="on", admin_key=ADMIN_KEY)

        assert status_of(with_key(restarted, ADMIN_KEY)) == 401
        assert status_of(with_key(restarted, made["key"])) == 404

    def test_other_keys_need_it_no_more(self, make_app: Callable[..., Flask], admin: FlaskClient) -> None:
        made = create(admin, "read")

        assert status_of(with_key(make_app(auth="on"), made["key"])) == 404


def test_guesses_cost_the_database_next_to_nothing(application: Flask, admin: FlaskClient) -> None:
    assert status_of(admin) == 404
    statements: list[str] = []
    database = application.extensions["taskflow"].database
    read = database.fetch
    database.fetch = lambda *arguments: statements.append(str(arguments[0])) or read(*arguments)
    started = time.monotonic()

    for number in range(300):
        assert status_of(with_key(application, f"tf_guess{number}")) == 401

    assert len(statements) <= 12 + 12 * (time.monotonic() - started)


def test_a_database_that_takes_its_time_is_not_asked_for_each_guess(
    application: Flask, admin: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert status_of(admin) == 404
    database = application.extensions["taskflow"].database
    read, looks = database.fetch, []

    def slow(statement: Any, *parameters: Any) -> Any:
        if statement is keys.IS_LIVE:
            looks.append(time.monotonic())
            read(text("SELECT pg_sleep(0.1)"))
        return read(statement, *parameters)

    monkeypatch.setattr(database, "fetch", slow)
    for number in range(20):
        assert status_of(with_key(application, f"tf_guess{number}")) == 401

    assert 1 <= len(looks) <= 1 + (time.monotonic() - looks[0]) / (keys.REST_FACTOR * 0.1 - keys.LOOKS_AHEAD_SECONDS)
