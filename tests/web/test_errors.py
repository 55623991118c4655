"""Every error is a problem document of RFC 9457, whoever raised it, and says nothing about the inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from taskflow import errors
from taskflow.web.http.problems import BY_STATUS, KINDS, Problem, problem_of
from taskflow.web.resources import tasks
from taskflow.web.services import EXTENSION

MEMBERS = {"type", "title", "status", "detail", "instance", "error", "message", "code", "request_id"}


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.mimetype) == (status, "application/problem+json")
    body: dict[str, Any] = response.json
    assert set(body) >= MEMBERS
    assert (body["status"], body["code"]) == (status, code)
    assert (body["error"], body["message"]) == (body["title"], body["detail"])
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


def test_an_unknown_address(client: FlaskClient) -> None:
    for path in ("/", "/api/v1/nothing", "/api/v1/tasks/", "//api/v1/tasks", "/api/v1/tasks/1/x", "/%00", "/a" * 2000):
        body = assert_problem(client.get(path), 404, "not_found")
        assert "\x00" not in body["instance"]


def test_another_method_is_told_what_is_possible(client: FlaskClient) -> None:
    response = client.delete("/api/v1/tasks")

    assert_problem(response, 405, "method_not_allowed")
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


def test_a_websocket_and_what_is_none_are_told_apart(client: FlaskClient) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    plain = assert_problem(client.get("/ws"), 400, "bad_request")
    assert plain["detail"] == "Open a WebSocket at this address, or GET /api/v1/events: the same as server-sent events."
    other = assert_problem(client.get("/live", headers=upgrade), 400, "bad_request")
    assert other["detail"] == "There is no WebSocket at this address; /ws is one."


def test_what_nobody_foresaw_is_500_without_a_word_about_it(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(_: object) -> None:
        raise RuntimeError("SELECT password FROM users")

    monkeypatch.setattr(tasks.params, "task_id", explode)

    response = app.test_client().get("/api/v1/tasks/1")

    body = assert_problem(response, 500, "internal_error")
    assert "SELECT" not in response.text
    assert "Traceback" not in response.text
    [record] = [r for r in caplog.records if r.message == "request_failed"]
    assert record.__dict__["request_id"] == body["request_id"]
    assert record.exc_info


def test_an_error_of_the_database_is_answered_without_its_sql(client: FlaskClient, connection: Any) -> None:
    connection.execute("ALTER TABLE taskflow.tasks_live ADD CONSTRAINT secret_rule CHECK (type <> 'bad')")
    response = client.post("/api/v1/tasks", json={"type": "bad"})
    assert_problem(response, 422, "invalid_task")

    connection.execute("ALTER FUNCTION taskflow.read_task(bigint) RENAME TO gone")
    response = client.get("/api/v1/tasks/1")
    assert_problem(response, 503, "schema_mismatch")
    assert "read_task" not in response.text


def test_a_right_that_the_servers_login_lacks_is_logged_and_not_shown(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for error in (errors.NotAllowed("permission denied for table tasks"), errors.TaskflowError("a secret")):

        def refuse(_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(tasks.params, "task_id", refuse)
        response = app.test_client().get("/api/v1/tasks/1")

        assert_problem(response, 500, "internal_error")
        assert str(error) not in response.text
        assert str(error) in str(caplog.records[-1].__dict__["error"])


def test_a_request_id_is_taken_over_if_it_is_harmless(client: FlaskClient) -> None:
    assert client.get("/live", headers={"X-Request-ID": "abc-123"}).headers["X-Request-ID"] == "abc-123"
    for harmful in ("a b", "x" * 129, '"', "ä", "<script>"):
        assert client.get("/live", headers={"X-Request-ID": harmful}).headers["X-Request-ID"] != harmful


def test_every_answer_says_that_it_is_not_to_be_kept(client: FlaskClient) -> None:
    for path in ("/live", "/nothing", "/metrics"):
        assert client.get(path).headers["Cache-Control"] == "no-store"


def test_without_a_database_every_resource_answers_503_and_when_to_ask_again(make_app: Callable[..., Flask]) -> None:
    client = make_app(database_url="postgresql://nobody@127.0.0.1:1/none").test_client()
    asked = [
        client.post("/api/v1/tasks", json={"type": "echo"}),
        client.get("/api/v1/tasks/1"),
        client.get("/api/v1/tasks/1?wait=1"),
        client.get("/api/v1/tasks/1/executions"),
        client.post("/api/v1/tasks/1/cancel"),
        client.post("/api/v1/tasks/1/retry"),
    ]

    for response in asked:
        assert_problem(response, 503, "database_unavailable")
        assert response.headers["Retry-After"] == "1"
        assert "127.0.0.1" not in response.text


def test_a_pool_that_is_used_up_is_503(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskflow.web.database.POOL_TIMEOUT_SECONDS", 0.05)
    app = make_app(web_connections=1)

    with app.extensions[EXTENSION].database.driver_connection():
        response = app.test_client().get("/api/v1/tasks/1")

    assert_problem(response, 503, "database_unavailable")


def test_every_error_of_taskflow_has_an_answer() -> None:
    answers = {
        errors.TaskNotFound(1): (404, "task_not_found"),
        errors.WrongState("no", state="running"): (409, "wrong_state"),
        errors.UniqueConflict("no", conflicting_task_id=7): (409, "unique_conflict"),
        errors.InvalidTask("no"): (422, "invalid_task"),
        errors.InvalidPayload("no", [errors.FieldProblem("/a", "b", "c")]): (422, "invalid_payload"),
        errors.DatabaseUnavailable("postgres://secret"): (503, "database_unavailable"),
        errors.SchemaMismatch("secret"): (503, "schema_mismatch"),
        errors.NotAllowed("secret"): (500, "internal_error"),
        errors.LoginRefused("secret"): (503, "database_unavailable"),
        errors.TaskflowError("secret"): (500, "internal_error"),
    }
    for error, (status, code) in answers.items():
        problem = problem_of(error)
        assert (problem.status, problem.code) == (status, code)
        assert "secret" not in problem.detail


def test_codes_and_statuses_agree() -> None:
    for status, code in BY_STATUS.items():
        assert KINDS[code][0] == status
    assert Problem("too_many_waiting", "no").headers == {"Retry-After": "1"}
