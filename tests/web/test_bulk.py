"""POST /tasks/bulk: many tasks in one request, all or none, or what can be."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.types.json import Jsonb

from taskflow.web.tasks import bulk

BULK = "/api/v1/tasks/bulk"


def post(client: FlaskClient, tasks: list[Any], **parameters: str) -> Any:
    return client.post(BULK, json={"tasks": tasks}, query_string=parameters)


def lines(client: FlaskClient, text: str | bytes, **parameters: str) -> Any:
    return client.post(BULK, data=text, content_type="application/x-ndjson", query_string=parameters)


def stored(connection: psycopg.Connection[Any]) -> list[Any]:
    return connection.execute("SELECT id, type, payload FROM taskflow.tasks ORDER BY id").fetchall()


def test_the_answer_has_the_order_of_the_request(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    tasks = [{"type": f"t{n}", "payload": {"n": n}, "unique_key": f"k{9 - n}" if n % 2 else None} for n in range(10)]

    response = post(client, [{k: v for k, v in task.items() if v is not None} for task in tasks])

    assert response.status_code == 201
    assert response.json["created"] == 10
    types = dict(connection.execute("SELECT id::text, type FROM taskflow.tasks").fetchall())
    assert [types[task["id"]] for task in response.json["tasks"]] == [task["type"] for task in tasks]
    assert {task["state"] for task in response.json["tasks"]} == {"pending"}


def test_every_field_is_stored_as_by_a_single_post(client: FlaskClient) -> None:
    task = {
        "type": "echo", "payload": {"a": [1, {"b": None}], "big": 10**30}, "queue": "bulk-queue", "priority": "high",
        "scheduled_at": "2190-01-01T00:00:00Z", "max_retries": 2, "retry_strategy": "fixed", "retry_delay": 3,
        "max_retry_delay": 30, "timeout": 7.5, "unique_key": "u", "concurrency_key": "c", "metadata": {"m": "\u00fc"},
        "tags": ["x", "y"],
    }  # fmt: skip
    bulk = post(client, [task]).json["tasks"][0]
    assert bulk["state"] == "scheduled"
    one = client.get(f"/api/v1/tasks/{bulk['id']}").json
    other = client.post("/api/v1/tasks", json={**task, "unique_key": "other"}).json
    same = set(one) - {"id", "task_id", "job_id", "unique_key", "created_at", "updated_at"}
    assert {name: one[name] for name in same} == {name: other[name] for name in same}
    assert client.get("/api/v1/queues/bulk-queue").status_code == 200


@pytest.mark.parametrize("value", ["{}", "[]", "0"])
def test_a_list_of_very_many_values_is_refused_before_it_takes_memory(client: FlaskClient, value: str) -> None:
    body = f'{{"tasks":[{",".join([value] * bulk.MAX_VALUES)}]}}'
    tracemalloc.start()
    try:
        response = client.post(BULK, data=body, content_type="application/json")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (response.status_code, response.json["code"]) == (413, "body_too_large")
    assert "application/x-ndjson" in response.json["detail"]
    assert most < 4 * len(body)


def test_many_values_in_lines_are_no_matter(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MAX_VALUES", 10)
    tasks = [{"type": "echo", "payload": {"list": list(range(10))}}] * 3

    assert post(client, tasks).status_code == 413
    assert lines(client, "\n".join(map(json.dumps, tasks))).status_code == 201


def test_lines_are_read_like_a_list(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    response = lines(client, '{"type": "a"}\n\n  {"type": "b", "payload": {"x": "\\u00e4"}}\r\n{"type": "c"}')
    assert response.status_code == 201
    assert response.json["created"] == 3
    assert [row[1] for row in stored(connection)] == ["a", "b", "c"]


def test_nothing_is_stored_where_one_is_wrong(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    response = post(client, [{"type": "a"}, {"type": ""}, {"typ": "b"}, "text", {"type": "a", "priority": 9}])
    assert response.status_code == 422
    pointers = [problem["pointer"] for problem in response.json["errors"]]
    assert pointers == ["/tasks/1/type", "/tasks/2/type", "/tasks/2/typ", "/tasks/3", "/tasks/4/priority"]
    assert stored(connection) == []


def test_partial_stores_what_is_right_and_says_why_not_for_the_rest(
    client: FlaskClient, connection: psycopg.Connection[Any]
) -> None:
    rival = client.post("/api/v1/tasks", json={"type": "a", "unique_key": "taken"}).json["id"]
    tasks = [
        {"type": "a"},
        {"type": ""},
        {"type": "a", "unique_key": "taken", "on_conflict": "error"},
        {"type": "a", "unique_key": "taken"},
        {"type": "b", "unique_key": "new", "on_conflict": "error"},
        {"type": "b", "unique_key": "new", "on_conflict": "error"},
    ]
    response = post(client, tasks, partial="true")

    assert response.status_code == 200
    results = response.json["results"]
    assert [result["index"] for result in results] == [0, 1, 2, 3, 4, 5]
    assert [result.get("error", {}).get("code") for result in results] == [
        None, "invalid_request", "unique_conflict", None, None, "unique_conflict",
    ]  # fmt: skip
    assert results[1]["error"]["errors"][0]["pointer"] == "/tasks/1/type"
    assert "conflicting_task_id" not in results[1]["error"]
    assert results[2]["error"]["conflicting_task_id"] == rival
    assert results[5]["error"]["conflicting_task_id"] == results[4]["id"]
    assert results[3]["created"] is False
    assert (response.json["created"], response.json["failed"]) == (2, 3)
    assert len(stored(connection)) == 3


def test_a_conflict_stores_none_of_all(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    rival = client.post("/api/v1/tasks", json={"type": "a", "unique_key": "taken"}).json["id"]
    response = post(client, [{"type": "b"}, {"type": "a", "unique_key": "taken", "on_conflict": "error"}])
    assert response.status_code == 409
    assert response.json["conflicting_task_id"] == rival
    assert len(stored(connection)) == 1


def test_a_payload_is_checked_by_its_type(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    schema = {"type": "object", "required": ["to"], "properties": {"to": {"type": "string"}}}
    connection.execute("INSERT INTO taskflow.task_types (type, schema) VALUES ('mail', %s)", [Jsonb(schema)])
    response = post(client, [{"type": "mail", "payload": {"to": "x"}}, {"type": "mail", "payload": {"to": 7}}])
    assert response.status_code == 422
    assert response.json["code"] == "invalid_payload"
    assert response.json["errors"][0]["pointer"] == "/tasks/1/payload/to"


def test_ten_thousand_are_taken_and_no_more(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    task = {"type": "a"}
    assert post(client, [task] * 10_000).json["created"] == 10_000
    assert post(client, [task] * 10_001).status_code == 422
    assert lines(client, (json.dumps(task) + "\n") * 10_001).status_code == 422
    assert connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone() == (10_000,)


@pytest.mark.parametrize("body", [{}, [], {"tasks": {}}, {"tasks": None}, {"tasks": [], "more": 1}, "x", 7, None])
def test_a_body_that_is_no_list_of_tasks_is_refused(client: FlaskClient, body: Any) -> None:
    assert client.post(BULK, json=body).status_code == 422


def test_no_tasks_are_no_error(client: FlaskClient) -> None:
    assert post(client, []).json == {"created": 0, "tasks": []}
    assert lines(client, "").json == {"created": 0, "tasks": []}


def test_what_cannot_be_parsed_is_refused(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    assert lines(client, '{"type": "a"}\n{"type"').status_code == 400
    assert lines(client, b"\xff\n").status_code == 400
    assert client.post(BULK, data="{", content_type="application/json").status_code == 400
    assert client.post(BULK, data="a,b", content_type="text/csv").status_code == 415
    assert stored(connection) == []


@pytest.mark.parametrize(
    ("line", "pointer", "code", "status"),
    [
        ('{"type": "b", "payload": {"a": "\\ud800"}}', "/tasks/1/payload/a", "lone_surrogate", 422),
        ('{"type": "b", "payload": {"a": 1e400}}', "/tasks/1", "number_out_of_range", 422),
        ('{"type": "b", "type": "c"}', "/tasks/1", "duplicate_key", 400),
        ('{"type": "b", "payload": ' + '{"a":' * 101 + "1" + "}" * 102, "/tasks/1", "too_deeply_nested", 400),
        ('{"type": "b", "tags": ' + "[" * 100_000 + "]" * 100_000 + "}", "/tasks/1", "too_deeply_nested", 400),
    ],
    ids=["surrogate", "number", "key", "nesting", "recursion"],
)
def test_a_line_that_is_json_and_cannot_be_kept_is_the_error_of_its_task(
    client: FlaskClient, connection: psycopg.Connection[Any], line: str, pointer: str, code: str, status: int
) -> None:
    text = f'{{"type": "a"}}\n{line}\n{{"type": "c"}}\n'
    refused = lines(client, text)
    assert (refused.status_code, stored(connection)) == (status, [])
    assert [(found["pointer"], found["code"]) for found in refused.json["errors"]] == [(pointer, code)]

    partly = lines(client, text, partial="true")
    assert (partly.status_code, partly.json["created"], partly.json["failed"]) == (200, 2, 1)
    assert partly.json["results"][1]["error"]["errors"] == refused.json["errors"]
    assert [row[1] for row in stored(connection)] == ["a", "c"]


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"{bad", "Expecting property name enclosed in double quotes at line 4, column 2."),
        (b'{"type": "NaN", "delay": NaN}', "NaN is not JSON at line 4, column 26."),
        (b'{"type": "\xff"}', "The body is not UTF-8 at line 4."),
    ],
)
@pytest.mark.parametrize("partial", ["false", "true"])
def test_a_line_that_is_no_json_is_named(
    client: FlaskClient, connection: psycopg.Connection[Any], line: bytes, detail: str, partial: str
) -> None:
    large = b'{"type": "a", "payload": {"x": "' + b"y" * bulk.CHUNK_BYTES + b'"}}'
    response = lines(client, b"\n".join([large, b"", large, line, b'{"type": "a"}']), partial=partial)
    assert (response.status_code, response.json["detail"]) == (400, detail)
    assert stored(connection) == []


def test_a_body_beyond_the_limit_is_refused_while_it_is_read(client: FlaskClient) -> None:
    class Endless:
        read_bytes = 0

        def read(self, size: int = -1) -> bytes:
            self.read_bytes += size
            return b" " * size

        def readline(self, size: int = -1) -> bytes:
            return self.read(size)

    for content_type in ("application/x-ndjson", "application/json"):
        body = Endless()
        overrides = {"wsgi.input": body, "wsgi.input_terminated": True}
        response = client.post(BULK, content_type=content_type, environ_overrides=overrides)
        assert response.status_code == 413
        assert 0 < body.read_bytes < 64 * 1024 * 1024
    announced = {"CONTENT_LENGTH": str(33 * 1024 * 1024), "wsgi.input": Endless()}
    response = client.post(BULK, content_type="application/json", environ_overrides=announced)
    assert response.status_code == 413
    assert announced["wsgi.input"].read_bytes == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("payload", [{"a": "\x00"}, {"a": "\ud800"}, {"a\x00": 1}, {"b": {"c": ["\x00"]}}])
def test_what_postgres_cannot_store_is_refused_by_its_place(client: FlaskClient, payload: Any) -> None:
    response = post(client, [{"type": "a"}, {"type": "a", "payload": payload}])
    assert response.status_code == 422
    assert response.json["errors"][0]["pointer"].startswith("/tasks/1/payload")


def test_deep_nesting_is_refused_wherever_it_is(client: FlaskClient) -> None:
    deep = json.loads('{"a":' * 101 + "1" + "}" * 101)
    for task in ({"type": "a", "payload": deep}, {"type": "a", "metadata": deep}, {"type": "a", "tags": [deep]}):
        response = post(client, [task])
        assert (response.status_code, response.json["code"]) == (400, "too_deeply_nested")
        assert lines(client, json.dumps(task)).status_code == 400


def test_a_payload_may_be_as_large_as_alone(make_app: Callable[..., Flask]) -> None:
    client = make_app(max_payload_bytes=1000).test_client()
    fits, too_large = {"x": "y" * 900}, {"x": "y" * 1000}
    assert post(client, [{"type": "a", "payload": fits}] * 50).status_code == 201
    response = post(client, [{"type": "a", "payload": fits}, {"type": "a", "payload": too_large}])
    assert response.status_code == 422
    assert response.json["errors"] == [
        {
            "pointer": "/tasks/1/payload",
            "code": "payload_too_large",
            "detail": "has 1,008 bytes as JSON; at most 1,000 are allowed",
        }
    ]


def test_a_bulk_under_an_idempotency_key_is_done_once(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    headers = {"Idempotency-Key": "bulk-1"}
    for send in (
        lambda: client.post(BULK, json={"tasks": [{"type": "a"}] * 3}, headers=headers),
        lambda: client.post(
            BULK, data='{"type": "b"}\n', content_type="application/x-ndjson", headers={"Idempotency-Key": "bulk-2"}
        ),
    ):
        first, second = send(), send()
        assert first.status_code == second.status_code == 201
        assert first.json == second.json
        assert second.headers["Idempotency-Replayed"] == "true"
    assert len(stored(connection)) == 4


def test_the_older_name_takes_bulks_too(client: FlaskClient) -> None:
    assert client.post("/api/v1/jobs/bulk", json={"tasks": [{"job_type": "a"}]}).status_code == 201
