"""Payloads are validated by what workers registered, without anybody's code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.types.json import Jsonb

from taskflow.web.tasks import type_registry

MAIL = {
    "type": "object",
    "properties": {"to": {"type": "string"}, "items": {"type": "array", "items": {"type": "integer"}}},
    "required": ["to"],
    "additionalProperties": False,
}


def register(connection: psycopg.Connection[Any], type_: str, schema: Any) -> None:
    connection.execute(
        "SELECT taskflow.register_types(%s)", [Jsonb([{"type": type_, "schema": schema, "max_attempts": 2}])]
    )


def create(client: FlaskClient, type_: str, payload: dict[str, Any]) -> Any:
    return client.post("/api/v1/tasks", json={"type": type_, "payload": payload})


def test_a_payload_that_fits_is_accepted(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    register(connection, "mail", MAIL)

    response = create(client, "mail", {"to": "a@example.com", "items": [1, 2]})

    assert (response.status_code, response.json["max_attempts"]) == (201, 2)


def test_one_that_does_not_is_422_with_every_place(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    register(connection, "mail", MAIL)

    response = create(client, "mail", {"items": [1, "2"], "x": 1})

    assert (response.status_code, response.json["code"]) == (422, "invalid_payload")
    assert {(p["pointer"], p["code"]) for p in response.json["errors"]} == {
        ("/payload", "required"),
        ("/payload", "additionalProperties"),
        ("/payload/items/1", "type"),
    }
    assert connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone() == (0,)


def test_a_new_payload_of_a_retry_is_validated_too(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    register(connection, "mail", MAIL)
    task_id = create(client, "mail", {"to": "a"}).json["id"]
    client.post(f"/api/v1/tasks/{task_id}/cancel")

    assert client.post(f"/api/v1/tasks/{task_id}/retry", json={"payload": {}}).status_code == 422
    assert client.post(f"/api/v1/tasks/{task_id}/retry", json={"payload": {"to": "b"}}).status_code == 200


SECRET = "PPP"
ODD = {"secret": SECRET, "n": [SECRET, {"a": SECRET}]}
KEYWORDS: dict[str, tuple[dict[str, Any], Any]] = {
    "type": ({"type": "number"}, ODD),
    "items": ({"prefixItems": [True], "items": False}, [1, ODD]),
    "unevaluatedItems": ({"prefixItems": [True], "unevaluatedItems": False}, [1, ODD]),
    "contains": ({"contains": {"type": "null"}}, [ODD]),
    "minContains": ({"contains": {"type": "object"}, "minContains": 2}, [ODD]),
    "maxContains": ({"contains": {"type": "object"}, "maxContains": 1}, [ODD, ODD]),
    "const": ({"const": 1}, ODD),
    "enum": ({"enum": [1]}, SECRET),
    "pattern": ({"pattern": "^a"}, SECRET),
    "minLength": ({"minLength": 9}, SECRET),
    "maxLength": ({"maxLength": 1}, SECRET),
    "minItems": ({"minItems": 3}, [ODD]),
    "maxItems": ({"maxItems": 0}, [ODD]),
    "uniqueItems": ({"uniqueItems": True}, [ODD, ODD]),
    "minProperties": ({"minProperties": 9}, ODD),
    "maxProperties": ({"maxProperties": 1}, ODD),
    "additionalProperties": ({"additionalProperties": False}, ODD),
    "unevaluatedProperties": ({"unevaluatedProperties": False}, ODD),
    "required": ({"required": ["b"]}, ODD),
    "dependentRequired": ({"dependentRequired": {"n": ["b"]}}, ODD),
    "minimum": ({"minimum": 90_000}, 80_808),
    "maximum": ({"maximum": 1}, 80_808),
    "exclusiveMinimum": ({"exclusiveMinimum": 90_000}, 80_808),
    "exclusiveMaximum": ({"exclusiveMaximum": 1}, 80_808),
    "multipleOf": ({"multipleOf": 5}, 80_808),
    "not": ({"not": {}}, ODD),
    "anyOf": ({"anyOf": [{"type": "null"}]}, ODD),
    "oneOf": ({"oneOf": [{}, {}]}, ODD),
    "false": (False, ODD),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_what_is_wrong_is_said_without_the_value(
    client: FlaskClient, connection: psycopg.Connection[Any], keyword: str
) -> None:
    """It may be a secret that is stored, as a schedule's; and it may be long."""
    schema, value = KEYWORDS[keyword]
    register(connection, "odd", {"properties": {"v": schema}})

    response = create(client, "odd", {"v": value})

    [problem] = response.json["errors"]
    assert (response.status_code, problem["code"]) == (422, keyword)
    assert problem["pointer"] == ("/payload" if keyword == "false" else "/payload/v")  # that has no place of its own
    assert SECRET not in response.text
    assert "80808" not in response.text
    assert len(problem["detail"]) > 10


def test_a_schedules_secrets_are_not_told_by_a_type_that_they_do_not_fit(
    client: FlaskClient, admin: FlaskClient, connection: psycopg.Connection[Any]
) -> None:
    register(connection, "nap", {"properties": {"seconds": {"type": "number"}}, "required": ["seconds"]})
    payload = {"seconds": {"password": SECRET}}
    made = admin.post("/api/v1/schedules", json={"name": "n", "type": "free", "interval": 60, "payload": payload})

    refused = client.patch(f"/api/v1/schedules/{made.json['id']}", json={"type": "nap"})

    assert (refused.status_code, refused.json["code"]) == (422, "invalid_payload")
    assert refused.json["detail"] == "/payload/seconds: is not of type 'number'"
    assert SECRET not in refused.text


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ({"additionalProperties": {"type": "number"}}, "type"),
        ({"additionalProperties": False}, "additionalProperties"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"propertyNames": {"maxLength": 2}}, "maxLength"),
    ],
)
def test_the_names_inside_of_a_secret_are_hidden_with_it(
    client: FlaskClient, connection: psycopg.Connection[Any], schema: dict[str, Any], code: str
) -> None:
    register(connection, "nap", {"properties": {"password": schema}})

    refused = create(client, "nap", {"password": {SECRET: "x"}})

    assert [(found["pointer"], found["code"]) for found in refused.json["errors"]] == [("/payload/password", code)]
    assert SECRET not in refused.text


def test_an_unknown_type_and_one_without_a_schema_take_any_payload(
    client: FlaskClient, connection: psycopg.Connection[Any]
) -> None:
    register(connection, "free", None)

    assert create(client, "free", {"a": 1}).status_code == 201
    assert create(client, "unknown", {"a": 1}).status_code == 201


def test_an_unknown_type_is_refused_by_setting(
    make_app: Callable[..., Flask], connection: psycopg.Connection[Any]
) -> None:
    register(connection, "known", None)
    client = make_app(reject_unknown_types=True).test_client()

    assert create(client, "known", {}).status_code == 201
    response = create(client, "unknown", {})
    assert (response.status_code, response.json["code"]) == (422, "unknown_type")
    assert response.json["errors"][0]["pointer"] == "/type"


def test_a_type_that_was_deployed_later_counts_without_a_restart(
    client: FlaskClient, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert type_registry.MAX_AGE_SECONDS < 5
    monkeypatch.setattr(type_registry, "MAX_AGE_SECONDS", 0)
    assert create(client, "mail", {}).status_code == 201

    register(connection, "mail", MAIL)

    assert create(client, "mail", {}).status_code == 422


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "no such type"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"properties": {"a": {"pattern": "("}}},
        "text",
    ],
)
def test_a_schema_that_is_none_keeps_no_task_out(
    client: FlaskClient, connection: psycopg.Connection[Any], schema: Any
) -> None:
    register(connection, "odd", schema)

    assert create(client, "odd", {"a": "b"}).status_code == 201
