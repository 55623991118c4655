"""Where webhooks may go: the rule, and that it holds for the address that is really connected to."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskflow.errors import DeadLetter, SettingsError
from taskflow.handlers._network_rule import NetworkRule
from taskflow.handlers.webhook import WebhookFailed
from taskflow.settings import load
from tests.handlers.certificates import Authority
from tests.handlers.receiver import Receiver, start_receiver

REFUSED = {
    "loopback": "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 ::127.0.0.1 2002:7f00:1:: 64:ff9b::127.0.0.1",
    "unspecified": "0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0",
    "private": "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 fc00::1 fd12:3456::1 fec0::1 ::ffff:10.0.0.1"
    " 2002:a00:1:: 64:ff9b::192.168.0.1 2a00::5efe:10.0.0.1 2a00::200:5efe:10.0.0.1",
    "link-local": "169.254.1.1 fe80::1 fe80::1%eth0 ::ffff:169.254.1.1",
    "metadata": "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 fd00:ec2::254 fd20:ce::254"
    " ::ffff:169.254.169.254 2002:a9fe:a9fe:: 64:ff9b::a9fe:a9fe",
    "carrier-grade NAT": "100.64.0.1 100.127.255.255",
    "multicast": "224.0.0.1 239.255.255.255 ff02::1 ff0e::1",
    "reserved": "192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 240.0.0.1 255.255.255.255 2001::1 2001:db8::1"
    " 64:ff9b:1::1 100::1 3fff::1 4000::1 ::8.8.8.8",
}
PUBLIC = "8.8.8.8 1.1.1.1 172.15.0.1 172.32.0.1 100.63.0.1 100.128.0.1 2606:4700::1111 64:ff9b::8.8.8.8 ::ffff:8.8.8.8"


@pytest.mark.parametrize(
    ("kind", "address"), [(kind, address) for kind, addresses in REFUSED.items() for address in addresses.split()]
)
def test_what_is_not_public_is_refused_in_every_spelling(kind: str, address: str) -> None:
    assert NetworkRule().refusal(address) == kind
    assert NetworkRule.of(["*"]).refusal(address) is None


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_are_not_refused(address: str) -> None:
    assert NetworkRule().refusal(address) is None


def test_a_setting_allows_networks_and_no_more() -> None:
    rule = NetworkRule.of(["10.1.0.0/16", "::1"])
    assert [rule.refusal(address) for address in ("10.1.2.3", "::ffff:10.1.2.3", "::1")] == [None] * 3
    assert rule.refusal("10.2.0.1") == "private"
    assert rule.refusal("127.0.0.1") == "loopback"
    assert rule.refusal("64:ff9b::10.1.2.3") == "private"  # another way to it, which nobody allowed


@pytest.fixture
def forbidden(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """A receiver on the loopback that no setting allows."""
    monkeypatch.delenv("TASKFLOW_WEBHOOK_ALLOW")
    receiver.answer("/hook", 200, b"inside")
    return receiver


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0", "[::1]", "[::ffff:127.0.0.1]", "127.0.0.1."],
)
def test_this_machine_is_refused_for_good_and_the_error_names_class_and_setting(run, forbidden, host) -> None:
    url = forbidden.url.replace("127.0.0.1", host) + "/hook"
    with pytest.raises((DeadLetter, WebhookFailed)) as caught:
        run("webhook", {"url": url})
    assert forbidden.received == []
    if isinstance(caught.value, DeadLetter):  # a resolver may know some of these spellings not at all
        assert "TASKFLOW_WEBHOOK_ALLOW" in str(caught.value)
        assert "a loopback address" in str(caught.value) or "an unspecified address" in str(caught.value)
    else:
        assert host in ("[::1]", "127.0.0.1.", "localhost")


def test_a_redirect_leads_nowhere_that_is_refused(run, receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_WEBHOOK_ALLOW", "127.0.0.1")
    receiver.answer("/hook", 200, b"inside")
    target = receiver.url.replace("127.0.0.1", "127.0.0.2") + "/hook"
    with pytest.raises(DeadLetter, match=r"127\.0\.0\.2 has a loopback address"):
        run("webhook", {"url": receiver.answer("/old", 307, location=target)})
    assert [request.path for request in receiver.received] == ["/old"]


Resolver = Callable[..., list[str]]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """Let a name have these addresses: one list a look-up; gives a list of the names that were looked up."""
    asked: list[str] = []
    genuine = socket.getaddrinfo

    def prepare(name: str, *answers: list[str]) -> list[str]:
        remaining = list(answers)

        def getaddrinfo(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
            if host not in (name, name.encode()):
                return genuine(host, port, *arguments, **options)
            asked.append(name)
            addresses = remaining.pop(0)
            return [entry for address in addresses for entry in genuine(address, port, type=socket.SOCK_STREAM)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return prepare


def test_a_name_is_looked_up_once_and_the_checked_address_is_connected_to(
    run, receiver, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKFLOW_WEBHOOK_ALLOW", "127.0.0.1")
    asked = resolver("hooks.example", ["127.0.0.1"], ["127.0.0.2"])
    url = receiver.answer("/hook", 200).replace("127.0.0.1", "hooks.example")
    run("webhook", {"url": url})
    assert asked == ["hooks.example"]
    assert receiver.received[0].headers["host"] == url.split("/")[2]


def test_a_name_that_leads_inside_is_refused_without_telling_the_address(run, forbidden, resolver: Resolver) -> None:
    resolver("hooks.example", ["127.0.0.1"])
    with pytest.raises(DeadLetter, match=r"hooks\.example has a loopback address") as caught:
        run("webhook", {"url": forbidden.url.replace("127.0.0.1", "hooks.example") + "/hook"})
    assert "127.0.0.1" not in str(caught.value)
    assert forbidden.received == []


def test_of_several_addresses_only_those_that_may_be_reached_are_tried_and_the_next_if_one_is_dead(
    run, receiver, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKFLOW_WEBHOOK_ALLOW", "127.0.0.1,127.0.0.3")
    resolver("hooks.example", ["127.0.0.2", "127.0.0.3", "127.0.0.1"])
    url = receiver.answer("/hook", 200).replace("127.0.0.1", "hooks.example")
    run("webhook", {"url": url, "json": {"a": 1}})  # nobody listens on 127.0.0.3
    assert [request.body for request in receiver.received] == [b'{"a": 1}']


def test_tls_asks_for_the_name_and_checks_it_though_it_connects_to_an_address(
    run, receivers, resolver: Resolver, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    names: list[str | None] = []
    context = authority.server_context("hooks.example")
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    receiver, server = start_receiver(context)
    receiver.answer("/hook", 200, b"encrypted")
    try:
        url = receiver.url.replace("127.0.0.1", "hooks.example") + "/hook"
        resolver("hooks.example", ["127.0.0.1"])
        assert run("webhook", {"url": url})["body"] == "encrypted"
        assert names == ["hooks.example"]

        resolver("other.example", ["127.0.0.1"])
        with pytest.raises(WebhookFailed, match="certificate"):
            run("webhook", {"url": url.replace("hooks.", "other.")})
    finally:
        server.shutdown()
        server.server_close()


def test_a_proxy_of_the_environment_is_not_used_and_a_failure_says_so(
    run, forbidden, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, forbidden.url)
    with pytest.raises(DeadLetter, match="a private address"):
        run("webhook", {"url": "http://10.0.0.1/hook"})
    with pytest.raises(WebhookFailed, match=r"HTTP_PROXY and the like are not used.*TASKFLOW_WEBHOOK_PROXY"):
        run("webhook", {"url": "http://nowhere.invalid/hook"})
    assert forbidden.received == []


def test_a_proxy_of_the_settings_gets_what_may_go_out_and_looks_up_names_itself(
    run, forbidden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKFLOW_WEBHOOK_PROXY", forbidden.url.replace("://", "://ann:pr0xy-password@"))
    forbidden.answers["http://nowhere.invalid/hook"] = forbidden.answers["/hook"]
    assert run("webhook", {"url": "http://nowhere.invalid/hook"})["status"] == 200
    assert "proxy-authorization" in forbidden.received[0].headers
    with pytest.raises(DeadLetter, match="a private address"):
        run("webhook", {"url": "http://10.0.0.1/hook"})
    assert len(forbidden.received) == 1
    assert "pr0xy-password" not in repr(load())


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALLOW", "10.0.0.0/33"), ("ALLOW", "example.com"), ("PROXY", "proxy:3128"), ("PROXY", "socks5://proxy")],
)
def test_settings_that_mean_nothing_are_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TASKFLOW_WEBHOOK_{name}", value)
    with pytest.raises(SettingsError, match=f"TASKFLOW_WEBHOOK_{name}"):
        load()
