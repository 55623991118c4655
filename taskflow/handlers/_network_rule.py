"""Which addresses a webhook may connect to: public ones, and those that a setting allows.

Whoever may create a task may otherwise reach, through the worker, what only the worker should: services that trust
their network, and the metadata of the cloud, which hands out credentials (OWASP: server-side request forgery).
The networks are those of the IANA registries for special purposes (RFC 6890); they are written down here because what
`ipaddress` calls global differs between versions of Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The first that fits names the class.
CLASSES: tuple[tuple[str, tuple[Network, ...]], ...] = tuple(
    (name, tuple(map(ip_network, networks.split())))
    for name, networks in (
        ("metadata", "169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 fd00:ec2::254 fd20:ce::254"),
        ("unspecified", "0.0.0.0/8 ::/128"),
        ("loopback", "127.0.0.0/8 ::1/128"),
        ("private", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10"),
        ("link-local", "169.254.0.0/16 fe80::/10"),
        ("carrier-grade NAT", "100.64.0.0/10"),
        ("multicast", "224.0.0.0/4 ff00::/8"),
        (
            "reserved",
            "192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4",
        ),
        # Local-use NAT64 (RFC 8215) and Teredo lead to IPv4 addresses that cannot be told from here.
        ("reserved", "64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 3fff::/20 5f00::/16"),
    )
)
PUBLIC_IPV6 = IPv6Network("2000::/3")
NAT64 = IPv6Network("64:ff9b::/96")
SIX_TO_FOUR = IPv6Network("2002::/16")
COMPATIBLE = IPv6Network("::/96")
ISATAP = frozenset({0x00005EFE, 0x02005EFE})


@dataclass(frozen=True, slots=True)
class NetworkRule:
    """The rule as the settings have it: `allowed` networks beside the public ones, or any address."""

    allowed: tuple[Network, ...] = ()
    allows_any: bool = False

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """From networks and addresses as text, or `*`."""
        names = tuple(names)
        networks = tuple(ip_network(name, strict=False) for name in names if name != "*")
        return cls(networks, "*" in names)

    def refusal(self, address: str) -> str | None:
        """Why `address` may not be connected to: its class, such as `loopback`; None if it may be."""
        ip = ip_address(address.partition("%")[0])
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped  # the same address in another spelling
        if self.allows_any or any(ip in network for network in self.allowed):
            return None
        return _class_of(ip)


def _class_of(ip: Address) -> str | None:
    """The class of an address that is not public, None for one that is."""
    for name, networks in CLASSES:
        if any(ip in network for network in networks):
            return name
    if isinstance(ip, IPv4Address):
        return None
    embedded = _embedded(ip)
    if embedded is not None and (kind := _class_of(embedded)) is not None:
        return kind
    return None if ip in PUBLIC_IPV6 or ip in NAT64 else "reserved"


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that one of IPv6 leads to in the end, through a gateway or a tunnel."""
    bits = int(ip)
    if ip in NAT64 or ip in COMPATIBLE or bits >> 32 & 0xFFFFFFFF in ISATAP:
        return IPv4Address(bits & 0xFFFFFFFF)
    if ip in SIX_TO_FOUR:
        return IPv4Address(bits >> 80 & 0xFFFFFFFF)
    return None
