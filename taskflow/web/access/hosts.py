"""Without keys, the Host and Origin headers tell the owner of this machine from a web page that he happens to visit.

A page elsewhere can send requests to 127.0.0.1 (the browser adds an Origin that gives it away), and can have its own
name resolve to 127.0.0.1 (DNS rebinding; then the Host is that name).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from taskflow.web.http.problems import Problem

ANY = "*"


class HostCheck:
    """Allows the names of this machine for itself, and `allowed` beside them ("*": any).

    Pages of `origins` may ask too, each written as browsers do; "*" among them means nothing here."""

    def __init__(self, allowed: Iterable[str], origins: Iterable[str] = ()) -> None:
        self._allowed = frozenset(name.lower() for name in allowed)
        self._origins = frozenset(origins)

    def __call__(self, host: str | None, origin: str | None) -> None:
        """Raises `Problem` 403. A request without Host is no browser's: HTTP/1.0, a script."""
        if ANY in self._allowed:
            return
        if host is not None and not self._is_allowed(_hostname(f"//{host}")):
            raise self._refusal("Host", host)
        if origin is not None and origin not in self._origins and not self._is_allowed(_hostname(origin)):
            raise self._refusal("Origin", origin)

    def _is_allowed(self, name: str | None) -> bool:
        if name is None:
            return False
        if name in self._allowed or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def _refusal(self, header: str, value: str) -> Problem:
        return Problem(
            "host_not_allowed",
            f"The server runs without keys and answers only this machine; the {header} {value[:200]!r} is another."
            " TASKFLOW_ALLOWED_HOSTS lists further names.",
        )


def _hostname(address: str) -> str | None:
    try:
        name = urlsplit(address).hostname
    except ValueError:
        return None
    return name.rstrip(".").lower() if name else None
