"""Idempotency-Key: whatever happens to a request and to its answer, what it creates is created once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient

from taskflow.errors import DatabaseUnavailable
from taskflow.web.access import idempotency
from taskflow.web.http.encoding import answer
from taskflow.web.openapi.explanations import EXPLANATIONS
from taskflow.web.services import EXTENSION
from tests.web.conftest import ADMIN_KEY
from tests.web.test_server import SECONDS, RunningServer, Start, start  # noqa: F401  (a fixture)

PATH = "/api/v1/tasks"


def create(client: FlaskClient, key: str, body: Any = None, path: str = PATH, **headers: str) -> Any:
    return client.post(path, json=body or {"type": "echo"}, headers={"Idempotency-Key": key, **headers})


def tasks(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone()
    assert row is not None
    return int(row[0])


class TestReplay:
    def test_the_same_request_gets_the_first_answer_again(
        self, client: FlaskClient, connection: psycopg.Connection[Any]
    ) -> None:
        first, second = create(client, "k"), create(client, "k")

        assert (second.status_code, second.data) == (first.status_code, first.data)
        assert second.headers["Location"] == first.headers["Location"]
        assert second.headers["Content-Type"] == first.headers["Content-Type"]
        assert second.headers["Idempotency-Replayed"] == "true"
        assert "Idempotency-Replayed" not in first.headers
        assert second.headers["X-Request-ID"] != first.headers["X-Request-ID"]
        assert tasks(connection) == 1

    def test_it_is_the_first_answer_whatever_became_of_the_task(self, client: FlaskClient, engine: Any) -> None:
        first = create(client, "k").json
        engine.run()

        assert create(client, "k").json == first

    @pytest.mark.parametrize(
        ("path", "body"),
        [(PATH, {"type": "other"}), (PATH, {"type": "echo", "payload": {}}), (PATH + "?", {"type": "sleep"})],
    )
    def test_another_body_is_422(
        self, client: FlaskClient, connection: psycopg.Connection[Any], path: str, body: Any
    ) -> None:
        create(client, "k")
        response = create(client, "k", body, path)

        assert (response.status_code, response.json["code"]) == (422, "idempotency_key_reused")
        assert tasks(connection) == 1

    def test_a_key_stands_for_one_method_and_path_of_one_api_key(
        self, make_app: Callable[..., Flask], connection: psycopg.Connection[Any]
    ) -> None:
        app = make_app(auth="on", admin_key=ADMIN_KEY)
        client = app.test_client()
        made = client.post(
            "/api/v1/keys", json={"name": "n", "scopes": ["enqueue"]}, headers={"X-API-Key": ADMIN_KEY}
        ).json
        other = make_app(auth="on", admin_key=ADMIN_KEY).test_client()

        answers = [
            create(client, "k", **{"X-API-Key": ADMIN_KEY}),
            create(client, "k", path="/api/v1/jobs", **{"X-API-Key": ADMIN_KEY}),
            create(other, "k", **{"X-API-Key": made["key"]}),
        ]

        assert [answer.status_code for answer in answers] == [201] * 3
        assert tasks(connection) == 3
        assert "to this address" in EXPLANATIONS["idempotency_key_reused"]

    def test_without_a_key_nothing_is_kept(self, client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
        for _ in range(2):
            assert client.post(PATH, json={"type": "echo"}).status_code == 201
        assert tasks(connection) == 2
        assert connection.execute("SELECT count(*) FROM taskflow.idempotency_keys").fetchone() == (0,)

    def test_after_24_hours_the_key_is_free_again_whether_or_not_a_leader_has_removed_it(
        self, client: FlaskClient, connection: psycopg.Connection[Any]
    ) -> None:
        first = create(client, "k").json
        age = "UPDATE taskflow.idempotency_keys SET created_at = now() - interval '%s'"
        connection.execute((age % "23 hours 59 minutes").encode())
        assert create(client, "k").json == first
        connection.execute((age % "24 hours 1 second").encode())
        assert create(client, "k").json["id"] != first["id"]
        connection.execute((age % "24 hours 1 second").encode())
        assert connection.execute("SELECT taskflow.expire_rows()").fetchone() == (1,)

    @pytest.mark.parametrize("key", ["", " ", "x" * 256])
    def test_what_is_no_key_is_400(self, client: FlaskClient, key: str) -> None:
        response = create(client, key)
        assert (response.status_code, response.json["code"]) == (400, "invalid_idempotency_key")

    @pytest.mark.parametrize("key", ["x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "'; DROP TABLE", "ü"])
    def test_any_text_is_one(self, client: FlaskClient, key: str) -> None:
        first = create(client, key)
        assert first.status_code == 201
        assert create(client, key).json == first.json


class TestRefusals:
    def test_what_was_refused_may_be_put_right_under_its_key(
        self, client: FlaskClient, connection: psycopg.Connection[Any]
    ) -> None:
        assert create(client, "k", {"type": ""}).status_code == 422
        assert create(client, "k", {"type": "echo", "delay": -1}).status_code == 422
        assert create(client, "k").status_code == 201
        assert tasks(connection) == 1

    def test_a_conflict_leaves_nothing_behind(self, client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
        body = {"type": "echo", "unique_key": "u", "on_conflict": "error"}
        assert create(client, "one", body).status_code == 201
        assert create(client, "two", body).json["code"] == "unique_conflict"
        assert connection.execute("SELECT key FROM taskflow.idempotency_keys").fetchall() == [("one",)]


class TestConcurrency:
    def test_of_fifty_at_once_one_creates_and_the_others_get_its_answer_or_409(
        self, app: Flask, connection: psycopg.Connection[Any]
    ) -> None:
        gate = threading.Barrier(50)

        def send(_: int) -> Any:
            client = app.test_client()
            gate.wait()
            return create(client, "k")

        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(send, range(50)))

        assert tasks(connection) == 1
        assert {a.status_code for a in answers} <= {201, 409}
        assert len({a.json["id"] for a in answers if a.status_code == 201}) == 1
        assert sum(a.status_code == 201 and "Idempotency-Replayed" not in a.headers for a in answers) == 1
        assert {(a.json["code"], a.headers["Retry-After"]) for a in answers if a.status_code == 409} <= {
            ("request_in_progress", "1")
        }

    def test_while_the_first_is_in_progress_the_second_is_told_at_once(
        self, app: Flask, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun, go_on = threading.Event(), threading.Event()
        registry = app.extensions[EXTENSION].types
        check = registry.check

        def slow(*arguments: Any) -> None:
            begun.set()
            assert go_on.wait(SECONDS)
            check(*arguments)

        monkeypatch.setattr(registry, "check", slow)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(create, app.test_client(), "k")
            assert begun.wait(SECONDS)
            second = create(app.test_client(), "k")
            other_body = create(app.test_client(), "k", {"type": "other"})
            go_on.set()
            assert first.result().status_code == 201

        assert [a.json["code"] for a in (second, other_body)] == ["request_in_progress"] * 2
        assert create(app.test_client(), "k").json["id"] == first.result().json["id"]


class TestCrashes:
    def test_a_commit_whose_outcome_is_unknown_creates_nothing_twice(
        self, app: Flask, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The connection breaks after the commit, before its answer: the client is told 503, and asks again."""
        database = app.extensions[EXTENSION].database
        unit = type(database).unit

        @contextmanager
        def broken(self: Any) -> Iterator[None]:
            with unit(self):
                yield
            raise DatabaseUnavailable("the connection was lost")

        monkeypatch.setattr(type(database), "unit", broken)
        assert create(app.test_client(), "k").status_code == 503
        monkeypatch.setattr(type(database), "unit", unit)
        again = create(app.test_client(), "k")

        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
        assert tasks(connection) == 1

    def test_what_fails_before_the_commit_has_done_nothing_and_the_key_is_free(
        self, app: Flask, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise RuntimeError("in the middle")

        with monkeypatch.context() as patch:
            patch.setattr(idempotency, "_keep", fail)
            assert create(app.test_client(), "k").status_code == 500
        assert tasks(connection) == 0

        assert create(app.test_client(), "k").status_code == 201

    def test_a_server_that_is_killed_in_the_middle_leaves_no_key_taken(
        self,
        start: Start,  # noqa: F811
        dsn: str,
        connection: psycopg.Connection[Any],
    ) -> None:
        server = start(dsn, WEB_CONCURRENCY="1")

        def send(server: RunningServer) -> httpx.Response:
            headers = {"Idempotency-Key": "k"}
            return httpx.post(server.url + PATH, json={"type": "echo"}, headers=headers, timeout=SECONDS)

        with ThreadPoolExecutor(1) as pool, psycopg.connect(dsn) as blocker:
            blocker.execute("LOCK taskflow.tasks_live IN SHARE MODE")  # the task cannot be inserted
            first = pool.submit(send, server)
            waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ILIKE '%enqueue%'"
            while not connection.execute(waiting).fetchall():
                assert not first.done(), first.result().text
            for pid in children_of(server.process.pid):
                os.kill(pid, signal.SIGKILL)
            server.process.kill()
            server.process.wait()
            with pytest.raises(httpx.HTTPError):
                first.result()
            blocker.rollback()
        gone = "SELECT FROM pg_stat_activity WHERE application_name = 'taskflow web' AND datname = current_database()"
        while connection.execute(gone).fetchall():
            pass

        assert send(start(dsn, WEB_CONCURRENCY="1")).status_code == 201
        assert tasks(connection) <= 2
        assert connection.execute("SELECT status FROM taskflow.idempotency_keys").fetchall() == [(201,)]


class TestStreams:
    """A view that reads the body itself, piece by piece, as bulk does."""

    @pytest.fixture
    def client(self, make_app: Callable[..., Flask]) -> FlaskClient:
        app = make_app()
        made: list[int] = []

        def view() -> Response:
            made.append(sum(1 for _ in iter(lambda: request.stream.read(1000), b"")))
            return answer({"made": len(made), "pieces": made[-1]}, 201)

        app.add_url_rule("/stream", "stream", lambda: idempotency.once(view, reads_body=False), methods=["POST"])
        return app.test_client()

    def send(self, client: FlaskClient, body: bytes) -> Any:
        return client.post("/stream", data=body, headers={"Idempotency-Key": "k"})

    def test_the_whole_body_counts(self, client: FlaskClient) -> None:
        body = b"x" * 100_000
        first, second = self.send(client, body), self.send(client, body)
        other = self.send(client, body[:-1] + b"y")
        shorter = self.send(client, body[:-1])

        assert (first.json, second.data) == ({"made": 1, "pieces": 100}, first.data)
        assert second.headers["Idempotency-Replayed"] == "true"
        assert [a.json["code"] for a in (other, shorter)] == ["idempotency_key_reused"] * 2

    @pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
    def test_bulk_is_created_once(
        self, make_app: Callable[..., Flask], connection: psycopg.Connection[Any], content_type: str
    ) -> None:
        client = make_app().test_client()
        lines = [b'{"type": "echo", "payload": {"text": "%s"}}' % (b"x" * 2000)] * 1000  # more than is held in memory
        body = b"\n".join(lines) if "nd" in content_type else b'{"tasks": [' + b",".join(lines) + b"]}"

        def send(path: str = "/api/v1/tasks/bulk") -> Any:
            return client.post(path, data=body, content_type=content_type, headers={"Idempotency-Key": "k"})

        first, second = send(), send()

        assert (first.status_code, first.json["created"]) == (201, 1000)
        assert (second.data, second.headers["Idempotency-Replayed"]) == (first.data, "true")
        assert send("/api/v1/tasks/bulk?partial=true").json["code"] == "idempotency_key_reused"
        assert tasks(connection) == 1000

    def test_partial_bulk_keeps_what_is_right_in_one_transaction_with_its_answer(
        self, client: FlaskClient, make_app: Callable[..., Flask], connection: psycopg.Connection[Any]
    ) -> None:
        wanted = [{"type": "echo"}, {"type": ""}, {"type": "echo", "unique_key": "u", "on_conflict": "error"}] * 2

        def send() -> Any:
            headers = {"Idempotency-Key": "k"}
            return (
                make_app()
                .test_client()
                .post("/api/v1/tasks/bulk?partial=true", json={"tasks": wanted}, headers=headers)
            )

        first, second = send(), send()

        assert (first.status_code, first.json["created"], first.json["failed"]) == (200, 3, 3)
        assert second.data == first.data
        assert tasks(connection) == 3


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]
