"""The webhook type against a real server on the loopback interface."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import traceback
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from taskflow.errors import DeadLetter, Retry, Signal
from taskflow.handlers.webhook import WebhookFailed
from taskflow.tasks.registry import registry

SECRET = "s3cr3t-t0ken"
LIMIT = 64 * 1024


# what is sent


def test_a_url_is_enough_and_posts_the_empty_json(run, receiver) -> None:
    run("webhook", {"url": receiver.answer("/hook", 204)})
    (request,) = receiver.received
    assert (request.method, request.path, request.body) == ("POST", "/hook", b"{}")
    assert request.headers["content-type"] == "application/json"


def test_the_receiver_can_tell_a_retry_from_a_new_task(run, receiver) -> None:
    url = receiver.answer("/hook", 200)
    for number in (1, 2):
        run("webhook", {"url": url}, number=number)
    assert [request.headers["x-taskflow-task-id"] for request in receiver.received] == ["4711", "4711"]
    assert [request.headers["x-taskflow-attempt"] for request in receiver.received] == ["1", "2"]


@pytest.mark.parametrize("document", [{"ü": [1, None, {"deep": True}]}, [], "text", 7, None, False])
def test_json_is_sent_as_it_is_given_null_included(run, receiver, document) -> None:
    run("webhook", {"url": receiver.answer("/hook", 200), "json": document})
    assert json.loads(receiver.received[0].body) == document
    assert receiver.received[0].headers["content-type"] == "application/json"


def test_a_body_is_sent_as_text(run, receiver) -> None:
    run("webhook", {"url": receiver.answer("/hook", 200), "body": "grüße"})
    assert receiver.received[0].body == "grüße".encode()
    assert receiver.received[0].headers["content-type"] == "text/plain; charset=utf-8"


def test_headers_are_added_and_may_name_the_content_type(run, receiver) -> None:
    headers = {"content-type": "application/xml", "X-Colour": " blue ", "user-agent": "shop/1"}
    run("webhook", {"url": receiver.answer("/hook", 200), "body": "<a/>", "headers": headers})
    got = receiver.received[0].headers
    assert (got["content-type"], got["x-colour"], got["user-agent"]) == ("application/xml", "blue", "shop/1")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
def test_methods_without_content_send_none(run, receiver, method) -> None:
    run("webhook", {"url": receiver.answer("/hook", 200), "method": method})
    (request,) = receiver.received
    assert (request.method, request.body) == (method, b"")
    assert "content-type" not in request.headers


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_other_methods_with_content_work_alike(run, receiver, method) -> None:
    run("webhook", {"url": receiver.answer("/hook", 200), "method": method, "json": [1]})
    assert (receiver.received[0].method, receiver.received[0].body) == (method, b"[1]")


def test_user_and_password_of_the_url_log_in(run, receiver) -> None:
    url = receiver.answer("/hook", 200).replace("://", "://ann:pa%40ss@")
    run("webhook", {"url": url})
    assert receiver.received[0].headers["authorization"] == "Basic " + base64.b64encode(b"ann:pa@ss").decode()


# what comes back


def test_the_result_says_what_the_receiver_answered(run, receiver) -> None:
    url = receiver.answer("/hook", 201, b'{"id": 7}', content_type="application/json", set_cookie="a=b", etag='"1"')
    result = run("webhook", {"url": url})
    assert result["status"] == 201
    assert result["body"] == '{"id": 7}'
    assert result["truncated"] is False
    assert result["duration_ms"] >= 0
    assert result["headers"]["content-type"] == "application/json"
    assert result["headers"]["etag"] == '"1"'
    assert "set-cookie" not in result["headers"]


def test_an_answer_of_exactly_the_limit_is_kept_whole(run, receiver) -> None:
    result = run("webhook", {"url": receiver.answer("/hook", 200, b"x" * LIMIT)})
    assert (len(result["body"]), result["truncated"]) == (LIMIT, False)


def test_an_endless_answer_is_cut_at_the_limit(run, receiver) -> None:
    sent = 0

    def endless(request: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.send_response(200)
        request.end_headers()
        while sent < 10**9:
            sent += request.wfile.write(b"x" * 10_000)

    result = run("webhook", {"url": receiver.respond("/hook", endless)})
    assert (len(result["body"]), result["truncated"]) == (LIMIT, True)
    assert sent < 10**8


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_answer_is_unpacked_no_further_than_the_limit(run, receiver, encoding) -> None:
    bomb = (gzip.compress if encoding == "gzip" else zlib.compress)(b"x" * 50_000_000)
    result = run("webhook", {"url": receiver.answer("/hook", 200, bomb, content_encoding=encoding)})
    assert (result["body"], result["truncated"]) == ("x" * LIMIT, True)


def test_a_delivery_does_not_fail_over_an_answer_that_cannot_be_unpacked(run, receiver) -> None:
    result = run("webhook", {"url": receiver.answer("/hook", 200, b"no gzip", content_encoding="gzip")})
    assert (result["status"], result["body"]) == (200, "")


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        (b"a\0b", "utf-8", "a\ufffdb"),
        (b"\xff\xfe", "utf-8", "\ufffd\ufffd"),
        (b"gr\xfc\xdfe", "ISO-8859-1", "grüße"),
        (b"\\ud800", "unicode_escape", "\\ud800"),
        (b"x", "no-such-charset", "x"),
    ],
)
def test_any_answer_becomes_text_that_can_be_stored(run, receiver, body, charset, text) -> None:
    url = receiver.answer("/hook", 200, body, content_type=f"text/plain; charset={charset}")
    result = run("webhook", {"url": url})["body"]
    assert result == text
    result.encode("utf-8")


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (
            {"name": "Jörg & Co", "count": 2, "price": 1.5, "new": True},
            "name=J%C3%B6rg+%26+Co&count=2&price=1.5&new=true",
        ),
        ({"tag": ["a", "b", False], "none": []}, "tag=a&tag=b&tag=false"),
        ({}, ""),
    ],
)
def test_data_is_sent_as_a_form(run, receiver, data, sent) -> None:
    run("webhook", {"url": receiver.answer("/hook", 200), "data": data})
    (request,) = receiver.received
    assert request.body.decode() == sent
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"


def test_http_is_the_same_type_by_another_name(run, receiver) -> None:
    result = run("http", {"url": receiver.answer("/hook", 200, b"yes"), "method": "GET"})
    assert (result["status"], result["body"]) == (200, "yes")
    assert registry.get("http").payload_schema() == registry.get("webhook").payload_schema()
    assert (registry.get("http").type, registry.get("webhook").type) == ("http", "webhook")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (204, 204),
        (404, [200, 404]),
        (404, "4xx"),
        (500, ["2xx", "500-503"]),
        (503, ["2XX", "500-503"]),
        (302, [302]),
    ],
)
def test_an_expected_status_is_a_success(run, receiver, status, expected) -> None:
    location = {"location": "/elsewhere"} if status == 302 else {}
    url = receiver.answer("/hook", status, b"", **location)
    assert run("webhook", {"url": url, "expected_status": expected})["status"] == status
    assert len(receiver.received) == 1


@pytest.mark.parametrize(("status", "expected"), [(202, [200]), (200, "201-299"), (304, "2xx"), (300, None)])
def test_an_answer_that_is_no_error_and_not_expected_is_left_to_the_policy(run, receiver, status, expected) -> None:
    fields = {} if expected is None else {"expected_status": expected}
    with pytest.raises(WebhookFailed, match=f"answered {status} .*not in expected_status"):
        run("webhook", {"url": receiver.answer("/hook", status), **fields})


# errors


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 422, 451])
def test_a_request_that_the_receiver_calls_wrong_is_final(run, receiver, status) -> None:
    url = receiver.answer("/hook", status, b"the field \0 is missing", retry_after="5")
    with pytest.raises(DeadLetter, match=f"answered {status} .*: the field . is missing") as caught:
        run("webhook", {"url": url})
    assert "\0" not in str(caught.value)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_an_error_that_may_pass_is_left_to_the_policy(run, receiver, status) -> None:
    with pytest.raises(WebhookFailed, match=f"POST {receiver.url} answered {status}") as caught:
        run("webhook", {"url": receiver.answer("/hook", status)})
    assert not isinstance(caught.value, Signal)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_retry_after_is_obeyed(run, receiver, status) -> None:
    with pytest.raises(Retry) as caught:
        run("webhook", {"url": receiver.answer("/hook", status, retry_after="17")})
    assert caught.value.after_seconds == 17


def test_the_error_quotes_no_more_than_the_beginning_of_a_long_answer(run, receiver) -> None:
    with pytest.raises(WebhookFailed) as caught:
        run("webhook", {"url": receiver.answer("/hook", 500, b"x" * 10_000_000)})
    assert len(str(caught.value)) < 1000


@pytest.mark.usefixtures("receivers")
def test_a_refused_connection_is_left_to_the_policy(run) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port meanwhile
        with pytest.raises(WebhookFailed, match=r"POST http://127.0.0.1:\d+ failed: "):
            run("webhook", {"url": f"http://127.0.0.1:{closed.getsockname()[1]}/x"})


def test_a_host_without_address_is_left_to_the_policy(run) -> None:
    with pytest.raises(WebhookFailed, match=r"POST http://nowhere\.invalid failed: "):
        run("webhook", {"url": "http://nowhere.invalid/"})


def test_a_server_that_hangs_up_is_left_to_the_policy(run, receiver) -> None:
    def hang_up(request: BaseHTTPRequestHandler) -> None:
        request.close_connection = True

    with pytest.raises(WebhookFailed):
        run("webhook", {"url": receiver.respond("/hook", hang_up)})


def test_a_server_that_never_answers_is_given_up(run, receiver) -> None:
    url = receiver.respond("/hook", lambda request: receiver.release.wait(60))
    with pytest.raises(WebhookFailed, match=r"no full answer within 0\.2 seconds"):
        run("webhook", {"url": url, "timeout": 0.2})


def test_a_server_that_drips_is_given_up_too(run, receiver) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not receiver.release.wait(0.02):
            request.wfile.write(b".")

    with pytest.raises(WebhookFailed, match="no full answer"):
        run("webhook", {"url": receiver.respond("/hook", drip), "timeout": 0.5})


# secrets


def echo_everything(request: BaseHTTPRequestHandler) -> None:
    """Quote the request in headers and body, as debugging pages do."""
    text = "\n".join(f"{name}: {value}" for name, value in request.headers.items()) + request.path
    request.send_response(int(request.path.rpartition("/")[2][:3]))
    request.send_header("X-Request-Id", request.headers.get("Authorization", "-"))
    request.end_headers()
    request.wfile.write(text.encode())


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {SECRET}"},
        {"X-Api-Key": SECRET},
        {"Cookie": f"session={SECRET}"},
        {"My-Token": SECRET},
    ],
)
def test_secrets_of_headers_are_in_no_result_and_no_error(run, receiver, status, headers) -> None:
    url = receiver.respond(f"/{status}", echo_everything)
    assert SECRET not in outcome_of(run, {"url": url, "headers": headers})
    assert SECRET in str(receiver.received[0].headers)


@pytest.mark.parametrize("status", [200, 404, 500])
def test_secrets_of_the_url_are_in_no_result_and_no_error(run, receiver, status) -> None:
    url = receiver.respond(f"/{status}", echo_everything).replace("://", f"://ann:{SECRET}@")
    outcome = outcome_of(run, {"url": url})
    assert SECRET not in outcome
    assert base64.b64encode(f"ann:{SECRET}".encode()).decode() not in outcome


def test_errors_name_the_server_only_since_path_and_query_may_be_secret(run, receiver) -> None:
    url = receiver.answer(f"/{SECRET}", 404) + f"?key={SECRET}#{SECRET}"
    assert SECRET not in outcome_of(run, {"url": url})
    assert SECRET not in outcome_of(run, {"url": f"http://ann:{SECRET}@nowhere.invalid/{SECRET}"})


def test_the_path_is_in_no_log_though_what_others_send_is(run, receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    url = receiver.answer(f"/{SECRET}", 302, location=f"/{SECRET}/next")
    receiver.answer(f"/{SECRET}/next", 200)
    run("webhook", {"url": url, "headers": {"X-Api-Key": SECRET}})
    assert SECRET not in caplog.text
    httpx.get(receiver.answer("/open", 200), trust_env=False)
    assert "/open" in caplog.text


def outcome_of(run: Callable[..., Any], payload: dict[str, Any]) -> str:
    """All that a worker would store: the result, or the traceback."""
    try:
        return str(run("webhook", payload))
    except (DeadLetter, WebhookFailed) as error:
        return "".join(traceback.format_exception(error))
