"""Which address a request is counted by."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from taskflow.errors import SettingsError
from taskflow.settings import load
from taskflow.web.access.client_address import TrustedProxies, client_of

PROXIES = ("10.0.0.0/8", "fd00::/8", "192.0.2.7")


def address(peer: str, forwarded: str) -> str:
    seen = []
    proxies = TrustedProxies(lambda environ, _start: seen.append(environ["REMOTE_ADDR"]) or [], PROXIES)
    proxies({"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}, lambda *_: None)
    return seen[0]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("198.51.100.1", "203.0.113.9", "198.51.100.1"),  # nobody who is trusted says so
        ("10.1.2.3", "203.0.113.9", "203.0.113.9"),
        ("192.0.2.7", "203.0.113.9:4711", "203.0.113.9"),
        ("::ffff:10.1.2.3", "203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.1.2.3", "203.0.113.9, 10.9.9.9, fd00::1", "203.0.113.9"),
        ("10.1.2.3", "10.9.9.9", "10.9.9.9"),  # within the own network
        ("10.1.2.3", "", "10.1.2.3"),
    ],
)
def test_the_address_is_the_last_one_that_is_no_trusted_proxy(peer: str, forwarded: str, client: str) -> None:
    assert address(peer, forwarded) == client


@pytest.mark.parametrize("forged", ["127.0.0.1", "10.0.0.1", "1.1.1.1, 2.2.2.2", "x", "''; DROP TABLE", "\x00", ",,,"])
def test_what_the_client_writes_itself_is_never_reached(forged: str) -> None:
    assert address("10.1.2.3", f"{forged}, 203.0.113.9") == "203.0.113.9"


def test_what_is_no_address_ends_the_search_at_the_proxy_that_wrote_it() -> None:
    assert address("10.1.2.3", "203.0.113.9, unknown") == "10.1.2.3"
    assert address("10.1.2.3", "203.0.113.9, unknown, 10.9.9.9") == "10.9.9.9"


def test_a_client_has_a_whole_ipv6_network() -> None:
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff:1") != client_of("2001:db8:0:1::1")
    assert client_of("203.0.113.9") != client_of("203.0.113.10")


def test_by_default_nobody_is_believed(make_app: Callable[..., Flask]) -> None:
    def answers(app: Flask) -> list[int]:
        client = app.test_client()
        return [
            client.get(
                "/api/v1/tasks/1", headers={"X-Forwarded-For": f"203.0.113.{n}", "Host": "localhost"}
            ).status_code
            for n in range(3)
        ]

    assert answers(make_app(rate_limit=1)) == [404, 429, 429]
    assert answers(make_app(rate_limit=1, trusted_proxies="127.0.0.1")) == [404, 404, 404]


def test_a_setting_that_is_no_network_is_refused_at_start() -> None:
    with pytest.raises(SettingsError, match="TASKFLOW_TRUSTED_PROXIES"):
        load(trusted_proxies="10.0.0.0/8,router.internal")
