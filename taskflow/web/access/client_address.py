"""Which address a request comes from: the peer's, or what a trusted proxy says of its own peer."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
IPV6_CLIENT_BITS = 64  # a client has that whole network, and could take another address for each request
MOST_HOPS = 20


class TrustedProxies:
    """Puts the client's address in the place of a trusted proxy's.

    `X-Forwarded-For` is read from its end, where the proxy next to this server has written; what a client has written
    there itself stands further left and is never reached.
    """

    def __init__(self, application: WSGIApplication, networks: Iterable[str]) -> None:
        self._application = application
        self._networks = tuple(ipaddress.ip_network(network, strict=False) for network in networks)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        """A WSGI application."""
        peer = parsed(environ.get("REMOTE_ADDR", ""))
        forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
        if forwarded and self._is_trusted(peer):
            environ["REMOTE_ADDR"] = str(self._client(peer, forwarded))
        return self._application(environ, start_response)

    def _client(self, peer: Address | None, forwarded: str) -> Address | None:
        """The first address from the right that is no trusted proxy's; what is no address ends the search."""
        for text in reversed(forwarded.split(",")[-MOST_HOPS:]):
            hop = parsed(text.strip())
            if hop is None:
                break
            peer = hop
            if not self._is_trusted(hop):
                break
        return peer

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def parsed(text: str) -> Address | None:
    """An address, also with a port, in brackets, or of IPv4 in the form of IPv6; None for anything else."""
    text = text.partition("]")[0].removeprefix("[") if text.startswith("[") else text
    if text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=4096)
def client_of(address: str | None) -> str:
    """By what requests from an address are counted: an IPv4 address, or the network of an IPv6 one."""
    found = parsed(address or "")
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, IPV6_CLIENT_BITS), strict=False))
    return str(found)
