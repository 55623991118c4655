"""The way to a webhook's receiver: look its name up once, refuse what may not be reached, connect to what was checked.

A name that is looked up a second time, to connect, may then lead elsewhere (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence

import httpx

from taskflow.handlers._network_rule import NetworkRule

CONNECT_SECONDS = 5.0  # for each address but the last
LOOK_UP_SECONDS = 2.0  # behind a proxy, where there may be nobody to answer
PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy")
PROXY_HINT = " (HTTP_PROXY and the like are not used for webhooks; TASKFLOW_WEBHOOK_PROXY is)"


class AddressRefused(Exception):
    """The receiver's address is not public, and no setting allows it."""

    def __init__(self, host: str, kind: str) -> None:
        # Not the address of a name: it would tell whoever chose the name about the inside of this network.
        article = "an" if kind[0] in "aeiou" else "a"
        super().__init__(
            f"{host} has {article} {kind} address, and webhooks go to public ones only; "
            "the worker's setting TASKFLOW_WEBHOOK_ALLOW allows further networks"
        )


class Direct(httpx.AsyncBaseTransport):
    """Connects to addresses that `rule` lets pass, the first that answers; TLS and `Host` keep the name."""

    def __init__(self, rule: NetworkRule, inner: httpx.AsyncBaseTransport) -> None:
        self._rule = rule
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        addresses = await allowed_addresses(self._rule, request.url)
        host = request.url.raw_host.decode("ascii")
        for number, address in enumerate(addresses, 1):
            attempt = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,  # `Host` is among them already
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            if number < len(addresses):
                attempt.extensions["timeout"] = {**request.extensions.get("timeout", {}), "connect": CONNECT_SECONDS}
            try:
                return await self._inner.handle_async_request(attempt)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if number == len(addresses):
                    raise type(error)(f"{error or type(error).__name__}{proxy_hint()}") from error
        raise httpx.ConnectError(f"{request.url.host} has no address")

    async def aclose(self) -> None:
        await self._inner.aclose()


class Proxied(httpx.AsyncBaseTransport):
    """Connects through a proxy, which looks the name up itself: what is refused here is only what can be seen."""

    def __init__(self, rule: NetworkRule, inner: httpx.AsyncBaseTransport) -> None:
        self._rule = rule
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        with contextlib.suppress(httpx.ConnectError, TimeoutError):  # a name that only the proxy knows
            await asyncio.wait_for(allowed_addresses(self._rule, request.url), LOOK_UP_SECONDS)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def allowed_addresses(rule: NetworkRule, url: httpx.URL) -> Sequence[str]:
    """The addresses of the URL's host that may be connected to, in the resolver's order.

    Raises `AddressRefused` if it has only others, `httpx.ConnectError` if it has none.
    """
    host = url.raw_host.decode("ascii")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, url.port or 80, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpx.ConnectError(f"{getattr(error, 'strerror', None) or error}{proxy_hint()}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    refusals = {address: rule.refusal(address) for address in addresses}
    allowed = [address for address in addresses if refusals[address] is None]
    if addresses and not allowed:
        raise AddressRefused(url.host, next(kind for kind in refusals.values() if kind))
    return allowed


def proxy_hint() -> str:
    """A reminder for those whose environment names a proxy."""
    return PROXY_HINT if any(os.environ.get(name) for name in PROXY_VARIABLES) else ""
