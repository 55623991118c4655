"""Bodies that are no JSON, or JSON that cannot be kept: refused before anything is stored."""

from __future__ import annotations

import gzip
import json
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient


def post(client: FlaskClient, body: bytes | str, content_type: str = "application/json") -> Any:
    return client.post("/api/v1/tasks", data=body, content_type=content_type)


NOT_JSON = [
    ("{", "invalid_json"),
    ("nonsense", "invalid_json"),
    ('{"type": "echo",}', "invalid_json"),
    ("{'type': 'echo'}", "invalid_json"),
    ('{"type": "echo"} {}', "invalid_json"),
    ('{"type": "echo", "delay": NaN}', "invalid_json"),
    ('{"type": "echo", "payload": {"n": -Infinity}}', "invalid_json"),
    ('{"type": "a\nb"}', "invalid_json"),
    (b"\xef\xbb\xbf{}", "invalid_json"),
    (b'{"type": "\xff"}', "invalid_json"),
    ('{"type": "echo"}'.encode("utf-16"), "invalid_json"),
    ('{"type": "echo", "type": "other"}', "duplicate_key"),
    ('{"type": "echo", "payload": {"a": [{"b": 1, "b": 2}]}}', "duplicate_key"),
    ('{"type": "echo", "payload": ' + '{"a":' * 101 + "1" + "}" * 101 + "}", "too_deeply_nested"),
    ("[" * 500_000, "too_deeply_nested"),
    ('{"type": "echo", "payload": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}}", "too_deeply_nested"),
]


@pytest.mark.parametrize(("body", "code"), NOT_JSON, ids=range(len(NOT_JSON)))
def test_what_cannot_be_parsed_is_400(
    client: FlaskClient, connection: psycopg.Connection[Any], body: bytes | str, code: str
) -> None:
    response = post(client, body)

    assert (response.status_code, response.json["code"]) == (400, code)
    assert connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone() == (0,)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ('{"type": "echo",\n "delay": NaN}', "NaN is not JSON at line 2, column 11."),
        ('{"type": "NaN \\"NaN", "payload": {"n": -Infinity}}', "-Infinity is not JSON at line 1, column 40."),
        ('{"type": "echo",\n "delay": }', "Expecting value at line 2, column 11."),
        (b'{"type": "echo",\n "queue": "\xff"}', "The body is not UTF-8 at line 2."),
        (b'\xef\xbb\xbf{"type": "echo"}', "Line 1 begins with a byte order mark, which is no JSON: leave it out."),
    ],
)
def test_it_says_where_the_body_is_no_json(client: FlaskClient, body: bytes | str, detail: str) -> None:
    assert post(client, body).json["detail"] == detail


NOT_STORABLE = [
    ('{"type": "a\\u0000b"}', "/type", "nul_character"),
    ('{"type": "echo", "payload": {"a": ["\\u0000"]}}', "/payload/a/0", "nul_character"),
    ('{"type": "echo", "payload": {"a\\u0000": 1}}', "/payload", "nul_character"),
    ('{"type": "echo", "metadata": {"a~/b": "\\ud800"}}', "/metadata/a~0~1b", "lone_surrogate"),
    ('{"type": "echo", "unique_key": "\\udc00"}', "/unique_key", "lone_surrogate"),
    ('{"type": "echo", "tags": ["a", "\\u0000"]}', "/tags/1", "nul_character"),
    ('{"type": "echo", "payload": {"n": 1e400}}', "", "number_out_of_range"),
    ('{"type": "echo", "payload": {"n": ' + "9" * 5000 + "}}", "", "number_out_of_range"),
    ("[]", "", "model_type"),
    ("null", "", "model_type"),
    ('"text"', "", "model_type"),
]


@pytest.mark.parametrize(("body", "pointer", "code"), NOT_STORABLE, ids=range(len(NOT_STORABLE)))
def test_what_parses_and_cannot_be_stored_is_422(client: FlaskClient, body: str, pointer: str, code: str) -> None:
    response = post(client, body)

    assert response.status_code == 422
    assert [(p["pointer"], p["code"]) for p in response.json["errors"]] == [(pointer, code)]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("[]", "The body: must be a JSON object"),
        ('{"type": "echo", "payload": 1}', "/payload: must be a JSON object"),
        ('{"type": "echo", "tags": {}}', "/tags: must be a JSON array"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_json(client: FlaskClient, body: str, detail: str) -> None:
    assert post(client, body).json["detail"] == detail


def test_a_parameter_that_takes_keys_says_so(client: FlaskClient) -> None:
    assert client.get("/api/v1/tasks?metadata=1").json["detail"] == "?metadata: is given as metadata[KEY]=VALUE"


def test_escapes_of_characters_that_can_be_stored_are_fine(client: FlaskClient) -> None:
    response = post(client, '{"type": "echo", "payload": {"a": "\\u00e4\\ud83d\\ude00\\u0001"}}')

    assert (response.status_code, response.json["payload"]) == (201, {"a": "ä😀\x01"})


def test_a_hundred_levels_are_accepted(client: FlaskClient) -> None:
    payload: Any = {}
    for _ in range(98):
        payload = {"a": payload}

    response = post(client, json.dumps({"type": "echo", "payload": payload}))

    assert (response.status_code, response.json["payload"]) == (201, payload)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonx"])
def test_a_body_that_is_not_sent_as_json_is_415(client: FlaskClient, content_type: str) -> None:
    response = post(client, '{"type": "echo"}', content_type)

    assert (response.status_code, response.json["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"])
def test_json_by_another_name_is_accepted(client: FlaskClient, content_type: str) -> None:
    assert post(client, '{"type": "echo"}', content_type).status_code == 201


LINE = b'{"type": "echo"}'


@pytest.mark.parametrize("path", ["tasks", "tasks/bulk"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson"])
def test_a_compressed_body_is_415_and_told_why(client: FlaskClient, path: str, content_type: str) -> None:
    for body, encoding in ((gzip.compress(LINE), "gzip"), (LINE, "br")):
        headers = {"Content-Encoding": encoding}
        response = client.post(f"/api/v1/{path}", data=body, content_type=content_type, headers=headers)
        assert (response.status_code, response.json["code"]) == (415, "unsupported_media_type")
        assert f"Content-Encoding '{encoding}'" in response.json["detail"]
        assert response.headers["Accept-Encoding"] == "identity"


def test_the_encoding_that_is_none_is_accepted(client: FlaskClient) -> None:
    headers = {"Content-Encoding": "identity"}
    assert client.post("/api/v1/tasks", json={"type": "echo"}, headers=headers).status_code == 201


def test_a_post_without_a_body_is_never_415(client: FlaskClient) -> None:
    for content_type in ("", "text/plain"):
        response = post(client, b"", content_type)
        assert (response.status_code, response.json["errors"][0]["pointer"]) == (422, "/type")
    headers = {"Content-Encoding": "gzip"}
    assert client.post("/api/v1/tasks", headers=headers).status_code == 422
    assert client.post("/api/v1/tasks/bulk", headers=headers).status_code == 422


def test_a_body_beyond_1_mib_is_413_without_being_read(client: FlaskClient) -> None:
    response = post(client, b'{"type": "' + b"x" * (1024 * 1024) + b'"}')
    assert (response.status_code, response.json["code"]) == (413, "body_too_large")

    announced = client.post(
        "/api/v1/tasks", content_type="application/json", environ_overrides={"CONTENT_LENGTH": str(10**12)}
    )
    assert announced.status_code == 413


def test_html_in_a_payload_comes_back_as_json(client: FlaskClient) -> None:
    response = client.post("/api/v1/tasks", json={"type": "<script>", "payload": {"a": "</script><img onerror=x>"}})

    assert response.mimetype == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.json["payload"] == {"a": "</script><img onerror=x>"}


def test_an_integer_may_be_written_with_a_fraction_of_zero(client: FlaskClient) -> None:
    settings = {"priority": -1, "weight": 2, "max_workers": 4, "max_retries": 3, "max_depth": 9, "rate_limit": 5}
    given = {name: float(value) for name, value in settings.items()}

    made = client.post("/api/v1/queues", json={"name": "a", **given, "type_limits": {"email": {"rate_limit": 10.0}}})
    changed = client.patch("/api/v1/queues/a", json={"weight": 7.0})

    assert (made.status_code, {name: made.json[name] for name in settings}) == (201, settings)
    assert made.json["type_limits"]["email"]["rate_limit"] == 10
    assert '"weight":7,' in changed.text
    schedule = {"name": "s", "type": "echo", "interval": 60, "max_runs": 7.0, "priority": 3.0}
    assert client.post("/api/v1/schedules", json=schedule).json["max_runs"] == 7
    assert client.post("/api/v1/schedules/preview", json={"interval": 60, "count": 2.0}).json["count"] == 2
