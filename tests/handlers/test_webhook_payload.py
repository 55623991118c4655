"""What a payload of the webhook type may be, and what is refused."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from taskflow.errors import InvalidPayload
from taskflow.handlers._webhook_payload import Webhook

SECRET = "s3cr3t-t0ken"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "http:///path",
        "http://exa mple.com/",
        "http://example.com/\r\nX-Evil: 1",
        "http://example.com:99999/",
        "http://example.com:0/",
        "http://a..b/",
        f"http://{'a' * 64}.example/",
        "http://example.com/" + "x" * 8192,
        7,
        None,
    ],
)
def test_only_sound_http_urls_are_accepted(run, url) -> None:
    with pytest.raises(InvalidPayload) as caught:
        run("webhook", {"url": url})
    assert [problem.pointer for problem in caught.value.problems] == ["/url"]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "1\r\nX-Evil: 1"},
        {"X-A": "1\n"},
        {"X-A": "1\0"},
        {"X-A": "ü"},
        {"X-A: 1\r\nX-Evil": "1"},
        {"": "1"},
        {"X A": "1"},
        {"X-A": 1},
        {"X-A": "x" * 8193},
        {"x-a": "1", "X-A": "2"},
        {"Host": "other.example"},
        {"content-length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "upgrade"},
        {"X-Taskflow-Task-Id": "1"},
        {"Webhook-Signature": "v1,x"},
        {f"X-{number}": "1" for number in range(51)},
    ],
)
def test_headers_cannot_smuggle_anything(run, headers) -> None:
    with pytest.raises(InvalidPayload):
        run("webhook", {"url": "http://127.0.0.1:9/", "headers": headers})


@pytest.mark.parametrize(
    "fields",
    [
        {"json": {}, "body": ""},
        {"json": None, "body": ""},
        {"method": "post"},
        {"method": "TRACE"},
        {"body": {}},
        {"timeout": 0},
        {"timeout": 601},
        {"timeout": "5"},
        {"retries": 3},
        {"document": {}},
        {"json": {}, "data": {}},
        {"data": {}, "body": ""},
        {"data": {"a": None}},
        {"data": {"a": {}}},
        {"data": []},
        {"expected_status": []},
        {"expected_status": 99},
        {"expected_status": "6xx"},
        {"expected_status": "2xx "},
        {"expected_status": ["204-200"]},
        {"expected_status": [True]},
        {"expected_status": 200.0},
        {"sign_with": ""},
        {"sign_with": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
        {"sign_with": "a b"},
    ],
)
def test_fields_that_are_unknown_wrong_or_at_odds_are_refused(run, fields) -> None:
    with pytest.raises(InvalidPayload):
        run("webhook", {"url": "http://127.0.0.1:9/", **fields})


def test_a_refused_payload_is_not_quoted(run) -> None:
    payload = {"url": f"http://ann:{SECRET}@a..b/", "headers": {"Authorization": f"{SECRET}\n"}}
    with pytest.raises(InvalidPayload) as caught:
        run("webhook", payload)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "payload",
    [
        {"url": "http://"},
        {"url": "http:///path"},
        {"url": "https://?x"},
        *({"url": "http://a", "headers": {name: "1"}} for name in ("Host", "cOnTeNt-LeNgTh", "Webhook-ID", "te")),
    ],
)
def test_what_a_pattern_can_tell_is_in_the_schema_too(run, payload) -> None:
    """By which the API refuses it, before there is a task."""
    schema = Draft202012Validator(Webhook.model_json_schema())
    assert not schema.is_valid(payload)
    assert schema.is_valid({"url": "http://a", "headers": {"X-Host": "1", "Hosts": "1", "Accept": "*/*"}})
    with pytest.raises(InvalidPayload):
        run("webhook", payload)
