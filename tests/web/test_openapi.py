"""The OpenAPI document is valid, complete and served; the page that shows it needs nobody else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

import taskflow.handlers  # noqa: F401  (registers the types that come along)
from taskflow.cli.main import main
from taskflow.settings import load
from taskflow.store.api_keys import MARK, new_key
from taskflow.tasks.registry import registry
from taskflow.web import create_app
from taskflow.web.http.problems import CONTENT_TYPE, KINDS
from taskflow.web.models.base import Nothing
from taskflow.web.models.queues import PutQueue
from taskflow.web.openapi import document
from taskflow.web.openapi.codes import BEFORE_ALL, codes_of
from taskflow.web.openapi.endpoints import endpoints, undeclared
from taskflow.web.openapi.schemas import choices
from tests.web.conftest import ADMIN_KEY

# Neither the document nor these tests need a database.
APP = create_app(load(database_url="postgresql://nobody@127.0.0.1:1/none"))
ENDPOINTS = endpoints(APP)
DOCUMENT = document(APP)
# Without it the WebSocket's address answers that it is one.
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
on_each_operation = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)


def operations() -> Iterator[dict[str, Any]]:
    for path in DOCUMENT["paths"].values():
        yield from path.values()


def operation(endpoint: Any) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    return found


def resolved(item: dict[str, Any]) -> dict[str, Any]:
    """`item`, or what it refers to."""
    if "$ref" not in item:
        return item
    found: Any = DOCUMENT
    for name in item["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return dict(found)


def test_the_document_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    validate(DOCUMENT)


def test_every_view_is_declared() -> None:
    assert undeclared(APP) == []


def test_a_view_that_is_not_declared_would_be_noticed() -> None:
    app = Flask("another")
    app.add_url_rule("/forgotten", "forgotten", lambda: "")

    assert "forgotten" in undeclared(app)
    assert endpoints(app) == []


def test_every_address_with_each_of_its_methods_is_in_the_document() -> None:
    served = {
        (re.sub(r"<(?:[^:>]+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in APP.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, item in DOCUMENT["paths"].items() for method in item} == served


def test_every_operation_has_an_id_of_its_own_and_says_in_a_line_what_it_is() -> None:
    ids = [found["operationId"] for found in operations()]
    assert sorted(ids) == sorted(set(ids))
    for found in operations():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", found["operationId"])
        assert found["summary"], found["operationId"]
        assert not found["summary"].endswith(".")


@on_each_operation
def test_every_answer_and_every_error_is_in_the_document(endpoint: Any) -> None:
    responses = {int(status): resolved(found) for status, found in operation(endpoint)["responses"].items()}
    for status, model in endpoint.operation.answers.items():
        content = responses[status].get("content", {})
        if model is not None:
            schema = content["application/json"]["schema"]
            shown = {resolved(choice)["title"] for choice in schema.get("anyOf", [schema])}
            assert shown == {choice.__name__ for choice in choices(model)}
    for code in codes_of(endpoint):
        schema = responses[KINDS[code][0]]["content"][CONTENT_TYPE]["schema"]
        assert code in schema["allOf"][1]["properties"]["code"]["enum"]


def test_every_code_is_an_error_of_some_operation_or_comes_before_all() -> None:
    said = {code for endpoint in ENDPOINTS for code in codes_of(endpoint)}
    assert said | set(BEFORE_ALL) == set(KINDS)


def test_the_names_of_schemas_are_fit_to_be_names_of_types() -> None:
    for name in DOCUMENT["components"]["schemas"]:
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]*", name), f"{name}: two models have one name"


def test_every_example_fits_its_schema() -> None:
    contents = [found.get("requestBody", {}).get("content", {}) for found in operations()]
    contents += [
        resolved(response).get("content", {}) for found in operations() for response in found["responses"].values()
    ]
    examples = 0
    for content in contents:
        for described in content.values():
            if "example" in described:
                schema = {**described["schema"], "components": DOCUMENT["components"]}
                Draft202012Validator(schema).validate(described["example"])
                examples += 1
    assert examples > 20


def test_a_request_that_is_shown_for_a_type_that_comes_along_has_a_payload_that_fits() -> None:
    contents = [found.get("requestBody", {}).get("content", {}) for found in operations()]
    bodies = [content["application/json"]["example"] for content in contents if "application/json" in content]
    shown = [one for body in bodies for one in body.get("tasks", [body]) if "type" in one]
    assert {one["type"] for one in shown} >= {"email", "report"}
    for one in shown:
        handler = registry.get(one["type"])
        assert handler is not None, one
        handler.parse(one.get("payload", {}))  # raises InvalidPayload


def test_what_an_action_says_of_itself_is_of_that_action() -> None:
    said = {}
    for path, methods in DOCUMENT["paths"].items():
        verb = path.rpartition("/")[2]
        if "post" in methods and verb in ("pause", "resume", "drain", "purge"):
            schema = methods["post"]["responses"]["200"]["content"]["application/json"]["schema"]
            message = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]["message"]
            said[path] = (verb, message.get("const", ""))
    assert len(said) > 8
    of_models = {path: found for path, found in said.items() if "/schedules/" not in path}  # with the whole schedule
    assert all(message.partition(" ")[2].startswith(verb.rstrip("e")) for verb, message in of_models.values()), said


@on_each_operation
def test_the_example_of_a_body_is_one_that_is_accepted(endpoint: Any) -> None:
    if endpoint.operation.body is not Nothing:
        content = operation(endpoint)["requestBody"]["content"]
        endpoint.operation.body.model_validate_json(json.dumps(content["application/json"]["example"]))


def test_no_example_of_a_body_is_refused_by_what_it_is_sent_to(client: FlaskClient) -> None:
    existing = {"task_id": "1", "schedule_id": "hourly", "name": "default"}
    client.post("/api/v1/tasks", json={"type": "echo"})
    client.post("/api/v1/schedules", json={"name": "hourly", "type": "echo", "cron": "@hourly"})

    for endpoint in ENDPOINTS:
        for type_, described in operation(endpoint).get("requestBody", {}).get("content", {}).items():
            if "example" not in described:
                continue
            response = client.open(
                endpoint.path.format(**existing),
                method=endpoint.method,
                data=json.dumps(described["example"]),
                content_type=type_,
            )
            # 409: there is nothing to retry.
            assert response.status_code in {200, 201, 409}, f"{endpoint.name}: {response.text}"


def test_what_the_example_of_a_queue_shows_can_be_sent_back() -> None:
    found = DOCUMENT["paths"]["/api/v1/queues/{name}"]["get"]["responses"]["200"]["content"]
    shown = found["application/json"]["example"]

    PutQueue.model_validate({name: shown[name] for name in PutQueue.model_fields.keys() & shown.keys()})


def test_the_example_of_a_key_looks_like_one() -> None:
    created = DOCUMENT["paths"]["/api/v1/keys"]["post"]["responses"]["201"]["content"]["application/json"]["example"]
    real = new_key()

    assert len(created["key"]) == len(real.text)
    assert created["key"].startswith(MARK)
    assert created["prefix"] == created["key"][: len(real.prefix)]


def test_what_can_be_changed_with_if_match_says_so() -> None:
    changes = {
        "/api/v1/tasks/{task_id}": {"patch", "delete"},
        "/api/v1/tasks/{task_id}/cancel": {"post"},
        "/api/v1/tasks/{task_id}/retry": {"post"},
        "/api/v1/jobs/{task_id}": {"patch", "delete"},
        "/api/v1/jobs/{task_id}/cancel": {"post"},
        "/api/v1/jobs/{task_id}/retry": {"post"},
        "/admin/tasks/{task_id}/retry": {"post"},
        "/api/v1/queues/{name}": {"put", "patch", "delete"},
        **{f"/api/v1/queues/{{name}}/{verb}": {"post"} for verb in ("pause", "resume", "purge")},
        "/api/v1/schedules/{schedule_id}": {"patch", "delete"},
        **{f"/api/v1/schedules/{{schedule_id}}/{verb}": {"post"} for verb in ("pause", "resume")},
    }
    for path, methods in DOCUMENT["paths"].items():
        takes = {
            method
            for method, found in methods.items()
            if any(parameter["name"] == "If-Match" for parameter in found.get("parameters", ()))
        }
        assert takes == changes.get(path, set()), path
        assert takes == {method for method, found in methods.items() if "412" in found["responses"]}


def test_what_creates_something_that_has_an_etag_shows_it() -> None:
    created = {
        path
        for path, methods in DOCUMENT["paths"].items()
        if "ETag" in methods.get("post", {}).get("responses", {}).get("201", {}).get("headers", {})
    }
    assert created == {"/api/v1/tasks", "/api/v1/jobs", "/api/v1/queues", "/api/v1/schedules"}
    assert "ETag" in DOCUMENT["paths"]["/api/v1/tasks"]["post"]["responses"]["200"]["headers"]


def test_older_names_are_marked_as_such() -> None:
    task = DOCUMENT["components"]["schemas"]["Task"]["properties"]
    for name in ("task_id", "job_id", "status", "attempts"):
        assert task[name]["deprecated"]
        assert task[name]["readOnly"]


@pytest.mark.parametrize(
    ("name", "body", "fits"),
    [
        ("TaskBody", {"type": "mail"}, True),
        ("TaskBody", {"job_type": "mail"}, True),
        ("TaskBody", {"payload": {}}, False),
        ("NewSchedule", {"name": "nightly", "job_type": "mail", "cron_expr": "@daily"}, True),
        ("NewSchedule", {"name": "nightly", "cron_expr": "@daily"}, False),
    ],
)
def test_older_names_of_fields_fit_a_request(name: str, body: dict[str, Any], fits: bool) -> None:
    schema = {**DOCUMENT["components"]["schemas"][name], "components": DOCUMENT["components"]}
    assert Draft202012Validator(schema).is_valid(body) is fits


@pytest.mark.parametrize(
    "endpoint", [e for e in ENDPOINTS if e.operation.scope is not None], ids=lambda endpoint: endpoint.name
)
def test_what_has_a_scope_is_refused_without_a_key(endpoint: Any) -> None:
    client = create_app(load(auth="on", admin_key=ADMIN_KEY)).test_client()
    headers = HANDSHAKE if endpoint.path == "/ws" else None

    response = client.open(re.sub(r"{\w+}", "1", endpoint.path), method=endpoint.method, headers=headers)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert operation(endpoint)["security"][0]["bearer"] == [endpoint.operation.scope]


def test_the_document_is_served_to_all_and_only_once(make_app: Callable[..., Flask]) -> None:
    client = make_app(auth="on", admin_key=ADMIN_KEY).test_client()

    response = client.get("/openapi.json")

    assert response.json == json.loads(json.dumps(DOCUMENT))
    again = client.get("/openapi.json", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_the_page_needs_nobody_else_and_holds_no_script(client: FlaskClient) -> None:
    page = client.get("/docs")

    assert (page.status_code, page.mimetype) == (200, "text/html")
    needed = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert "openapi.json" in needed
    for address in needed:
        assert client.get(f"/{address}").status_code == 200
    assert re.findall(r"<script(?![^>]* src=)", page.text) == []
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "http" not in policy


def test_the_page_has_only_its_own_files(client: FlaskClient) -> None:
    for name in ("index.html", "..%2f..%2fdocument.py", "oauth2-redirect.html"):
        assert client.get(f"/docs/{name}").status_code == 404


def test_the_command_prints_the_document() -> None:
    done = CliRunner().invoke(main, ["openapi"])

    assert done.exit_code == 0, done.output
    assert json.loads(done.output) == json.loads(json.dumps(DOCUMENT))
