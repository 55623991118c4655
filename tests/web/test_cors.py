"""Web pages elsewhere: none may use the API, unless its origin is configured."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from taskflow.errors import SettingsError
from taskflow.settings import load
from tests.web.conftest import ADMIN_KEY

PAGE = "https://app.example"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
KEY = {"X-API-Key": ADMIN_KEY}


def test_off_by_default(make_app: Callable[..., Flask]) -> None:
    client = make_app(auth="on", admin_key=ADMIN_KEY).test_client()

    preflight = client.options("/api/v1/tasks", headers={"Origin": PAGE, **PREFLIGHT})
    answer = client.get("/api/v1/tasks/1", headers={"Origin": PAGE, **KEY})

    assert preflight.status_code == 401
    for headers in (preflight.headers, answer.headers):
        assert not [name for name, _ in headers if name.startswith("Access-Control-")]


def test_a_page_of_a_configured_origin_may_send_what_the_api_takes_and_read_what_it_says(
    make_app: Callable[..., Flask],
) -> None:
    client = make_app(auth="on", admin_key=ADMIN_KEY, cors_origins=f"{PAGE},http://localhost:5173").test_client()

    preflight = client.options("/api/v1/tasks", headers={"Origin": PAGE, **PREFLIGHT})
    answer = client.post("/api/v1/tasks", json={"type": "echo"}, headers={"Origin": PAGE, **KEY})
    refused = client.post("/api/v1/tasks", json={}, headers={"Origin": PAGE})

    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == PAGE
    assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
    for name in ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "X-API-Key"):
        assert name in preflight.headers["Access-Control-Allow-Headers"]
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (201, PAGE)
    assert "Location" in answer.headers["Access-Control-Expose-Headers"]
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, PAGE)
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{PAGE}.evil.example", f"{PAGE}:8443", ""])
def test_another_page_may_not(make_app: Callable[..., Flask], origin: str) -> None:
    client = make_app(auth="on", admin_key=ADMIN_KEY, cors_origins=PAGE).test_client()

    preflight = client.options("/api/v1/tasks", headers={"Origin": origin, **PREFLIGHT})
    answer = client.get("/api/v1/tasks/1", headers={"Origin": origin, **KEY})

    for headers in (preflight.headers, answer.headers):
        assert not [name for name, _ in headers if name.startswith("Access-Control-")]
        assert "Origin" in headers["Vary"]


def test_without_keys_a_page_must_be_named_any_is_not_enough(make_app: Callable[..., Flask]) -> None:
    def status(origins: str) -> int:
        client = make_app(cors_origins=origins).test_client()
        return client.get("/api/v1/tasks/1", headers={"Host": "localhost", "Origin": PAGE}).status_code

    assert [status(PAGE), status("*"), status("https://other.example")] == [404, 403, 403]


@pytest.mark.parametrize("wrong", ["app.example", "https://app.example/", "https://a.example/path", "file://x"])
def test_what_is_no_origin_is_refused_at_start(wrong: str) -> None:
    with pytest.raises(SettingsError, match="TASKFLOW_CORS_ORIGINS"):
        load(cors_origins=wrong)
