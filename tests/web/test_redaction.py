"""Values under keys that look like secrets are shown to nobody without the scope admin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from taskflow.secret_names import SECRET_NAMES
from taskflow.store.filters import quote
from taskflow.web.access.redaction import REDACTED, Redaction
from tests.web.conftest import Engine

SECRETS = {"password": "p", "user": {"apiKey": "k", "name": "n", "list": [{"X-Auth-Token": {"deep": 1}}]}}
LIST, USER = '[{"X-Auth-Token": {"deep": 1}}]', '{"name": "n", "apiKey": "k"}'
HIDDEN = {"password": REDACTED, "user": {"apiKey": REDACTED, "name": "n", "list": [{"X-Auth-Token": REDACTED}]}}


def test_secrets_are_hidden_in_every_answer(client: FlaskClient, engine: Engine) -> None:
    created = client.post("/api/v1/tasks", json={"type": "echo", "payload": SECRETS, "metadata": SECRETS}).json
    engine.run(result=SECRETS, logs=[{"message": "m", "fields": SECRETS}])

    task = client.get(f"/api/v1/tasks/{created['id']}").json
    executions = client.get(f"/api/v1/tasks/{created['id']}/executions").json["executions"]

    assert (created["payload"], created["metadata"]) == (HIDDEN, HIDDEN)
    assert (task["payload"], task["metadata"], task["result"]) == (HIDDEN, HIDDEN, HIDDEN)
    assert executions[0]["logs"] == [{"message": "m", "fields": HIDDEN}]


def test_what_is_hidden_is_stored_all_the_same_and_the_admin_sees_it(admin: FlaskClient) -> None:
    created = admin.post("/api/v1/tasks", json={"type": "echo", "payload": SECRETS}).json

    assert created["payload"] == SECRETS
    assert admin.get(f"/api/v1/tasks/{created['id']}").json["payload"] == SECRETS


@pytest.mark.parametrize(
    "condition",
    [
        "payload.password:p",
        "payload.user.apiKey:x,k",
        "metadata.user.list.0.X-Auth-Token.deep:1",
        f"payload.user.list:{quote(LIST)}",
        f"payload.user.list:{quote('[{' + 'x' * 5)}",
        f"payload.shown:1 metadata.user:{quote(USER)}",
    ],
)
def test_no_filter_finds_what_is_hidden(client: FlaskClient, admin: FlaskClient, condition: str) -> None:
    admin.post("/api/v1/tasks", json={"type": "echo", "payload": SECRETS, "metadata": SECRETS})

    refused = [
        client.get("/api/v1/tasks", query_string={"q": f"state:pending {condition}"}),
        client.post("/api/v1/tasks/batch/cancel", json={"filter": condition, "dry_run": True}),
    ]

    assert [(answer.status_code, answer.json["code"]) for answer in refused] == [(403, "forbidden")] * 2
    assert admin.get("/api/v1/tasks", query_string={"q": f"state:pending {condition}"}).status_code == 200


def test_the_single_parameter_finds_no_more(client: FlaskClient) -> None:
    assert client.get("/api/v1/tasks", query_string={"state": "pending", "metadata[password]": "p"}).status_code == 403
    assert client.get("/api/v1/tasks", query_string={"state": "pending", "metadata[user]": "p"}).status_code == 200


def test_the_names_are_a_setting(make_app: Callable[..., Flask]) -> None:
    client = make_app(redact="iban, card_number").test_client()

    payload = {"IBAN": "x", "cardNumber": "y", "password": "z"}

    shown = client.post("/api/v1/tasks", json={"type": "echo", "payload": payload}).json["payload"]
    assert shown == {"IBAN": REDACTED, "cardNumber": REDACTED, "password": "z"}


REPLACED = {"type": "echo", "unique_key": "u", "on_conflict": "replace", "payload": HIDDEN}
WRITES = {
    "a task's payload": ("PATCH", "/api/v1/tasks/{waiting}", {"payload": HIDDEN}, "/payload/password"),
    "a task's metadata": ("PATCH", "/api/v1/tasks/{waiting}", {"metadata": {"a": HIDDEN}}, "/metadata/a/password"),
    "a schedule": ("PATCH", "/api/v1/schedules/n", {"payload": HIDDEN}, "/payload/password"),
    "a retry": ("POST", "/api/v1/tasks/{dead}/retry", {"payload": HIDDEN}, "/payload/password"),
    "a dead letter": ("POST", "/api/v1/dlq/retry", {"task_id": "{dead}", "payload": HIDDEN}, "/payload/password"),
    "dead letters": ("POST", "/api/v1/dlq/retry", {"ids": ["{dead}"], "payload": HIDDEN}, "/payload/password"),
    "a replaced task": ("POST", "/api/v1/tasks", REPLACED, "/payload/password"),
    "replaced tasks": ("POST", "/api/v1/tasks/bulk", {"tasks": [REPLACED]}, "/tasks/0/payload/password"),
    "many": (
        "POST",
        "/api/v1/tasks/batch/retry",
        {"ids": ["{dead}"], "payload": {"l": [{"X-Auth-Token": REDACTED}]}},
        "/payload/l/0/X-Auth-Token",
    ),
}


@pytest.mark.parametrize("what", WRITES)
def test_the_mark_is_not_written_in_place_of_the_secret(
    client: FlaskClient, admin: FlaskClient, engine: Engine, what: str
) -> None:
    task = {"type": "echo", "payload": SECRETS, "metadata": SECRETS}
    dead = client.post("/api/v1/tasks", json=task).json["id"]
    engine.run("failed", error="x", final=True)
    waiting = client.post("/api/v1/tasks", json=task | {"unique_key": "u"}).json["id"]
    client.post("/api/v1/schedules", json={"name": "n", "type": "echo", "interval": 60, "payload": SECRETS})
    method, path, body, pointer = WRITES[what]
    path = path.format(waiting=waiting, dead=dead)
    body = json.loads(json.dumps(body).replace("{dead}", dead))

    refused = client.open(path, method=method, json=body)

    assert (refused.status_code, refused.json["code"]) == (422, "invalid_request")
    assert [(found["pointer"], found["code"]) for found in refused.json["errors"]] == [(pointer, "redacted")]
    for address in (f"/api/v1/tasks/{waiting}", f"/api/v1/tasks/{dead}", "/api/v1/schedules/n"):
        assert admin.get(address).json["payload"] == SECRETS
    written = admin.open(path, method=method, json=body)
    assert written.status_code == (201 if path.endswith("/bulk") else 200), "who is shown secrets may write any text"


def test_a_new_secret_and_the_mark_under_another_name_are_written(client: FlaskClient, admin: FlaskClient) -> None:
    made = client.post("/api/v1/tasks", json={"type": "echo", "payload": HIDDEN})
    path = f"/api/v1/tasks/{made.json['id']}"
    new = {"password": "other", "text": REDACTED, "list": [REDACTED]}

    assert made.status_code == 201
    assert client.patch(path, json={"payload": new}).status_code == 200
    assert admin.get(path).json["payload"] == new


@pytest.mark.parametrize(
    "key", ["password", "DB_PASSWORD", "newPassword2", "client-secret", "access.token", "Authorization", "Set-Cookie"]
)
def test_names_match_whatever_their_case_and_separators(key: str) -> None:
    assert Redaction(SECRET_NAMES)({key: 1}) == {key: REDACTED}


@pytest.mark.parametrize("key", ["user", "pass", "keyboard", "to", "", "sec ret!".replace(" ", "x")])
def test_other_names_do_not(key: str) -> None:
    assert Redaction(SECRET_NAMES)({key: 1}) == {key: 1}


def test_no_names_hide_nothing_and_nesting_has_an_end() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]

    assert Redaction([""])({"password": 1}) == {"password": 1}
    assert "too deeply" in str(Redaction([])(deep))
