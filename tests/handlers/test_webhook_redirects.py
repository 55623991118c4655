"""Redirects of the webhook type: followed as the request allows, and with nothing that is another origin's."""

from __future__ import annotations

import httpx
import pytest

from taskflow.handlers._http import Request, _redirected
from taskflow.handlers.webhook import WebhookFailed

SECRET = "s3cr3t-t0ken"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_keeps_method_and_content(run, receiver, status) -> None:
    receiver.answer("/new", 200, b"arrived")
    result = run("webhook", {"url": receiver.answer("/old", status, location="/new"), "json": {"a": 1}})
    assert result["body"] == "arrived"
    assert (receiver.received[1].method, receiver.received[1].body) == ("POST", b'{"a": 1}')
    assert receiver.received[1].headers["x-taskflow-task-id"] == "4711"


def test_see_other_is_followed_by_a_get(run, receiver) -> None:
    receiver.answer("/status", 200, b"accepted")
    run("webhook", {"url": receiver.answer("/old", 303, location="/status"), "json": {"a": 1}})
    assert (receiver.received[1].method, receiver.received[1].body) == ("GET", b"")


def test_five_redirects_are_followed_and_no_more(run, receiver) -> None:
    for number in range(6):
        receiver.answer(f"/{number}", 307, location=f"/{number + 1}")
    receiver.answer("/6", 200)
    assert run("webhook", {"url": receiver.url + "/1"})["status"] == 200
    with pytest.raises(WebhookFailed, match="redirects more than 5 times"):
        run("webhook", {"url": receiver.url + "/0"})


def test_headers_and_user_go_to_their_own_origin_only(run, receivers) -> None:
    ours, theirs = receivers(), receivers()
    ours.answer("/first", 307, location="/second")
    ours.answer("/second", 307, location=theirs.answer("/third", 200))
    url = (ours.url + "/first").replace("://", "://ann:password@")
    run("webhook", {"url": url, "headers": {"X-Api-Key": SECRET}})
    assert [request.headers.get("x-api-key") for request in ours.received] == [SECRET, SECRET]
    assert all("authorization" in request.headers for request in ours.received)
    (stranger,) = theirs.received
    assert not {"x-api-key", "authorization"} & stranger.headers.keys()


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://", "gopher://x", "http://[::"])
def test_a_redirect_to_anything_but_http_fails(run, receiver, location) -> None:
    with pytest.raises(WebhookFailed):
        run("webhook", {"url": receiver.answer("/old", 302, location=location)})


def test_no_redirect_leads_from_https_to_http() -> None:
    request = Request("POST", httpx.URL("https://a.example/"), {}, {}, None)
    with pytest.raises(httpx.UnsupportedProtocol, match="from https to http"):
        _redirected(request, httpx.Response(302, headers={"location": "http://a.example/"}))
