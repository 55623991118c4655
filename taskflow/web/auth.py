"""Who asks: the key of a request, and what is open without one."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import current_app, g, request

from taskflow.errors import SettingsError
from taskflow.settings import Settings
from taskflow.web.hosts import HostCheck
from taskflow.web.problems import Problem

SCOPES = frozenset({"read", "enqueue", "operate", "admin"})
CHALLENGE = 'Bearer realm="taskflow"'
# Whatever is below these is nobody's business without a key, whether there is such a path or not.
PROTECTED = ("/api/", "/admin/")
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose request it is, and what they may do."""

    name: str
    scopes: frozenset[str]

    @property
    def sees_secrets(self) -> bool:
        """Whether values under keys like `password` are shown to them."""
        return "admin" in self.scopes


# With auth off everything is open; but nobody has shown a key, so secrets stay hidden.
ANYBODY = Principal("anybody", SCOPES - {"admin"})
ADMIN = Principal("admin", SCOPES)


def public(view: View) -> View:
    """Mark a view as open without a key."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


class Authentication:
    """Decides for every request whose it is; to be called before the request is handled."""

    def __init__(self, settings: Settings) -> None:
        self._off = settings.auth == "off"
        self._metrics_open = settings.metrics_open
        self._admin_digest = _digest(settings.admin_key.encode()) if settings.admin_key else None
        self._hosts = HostCheck(settings.allowed_hosts)

    def __call__(self) -> None:
        """Set `g.principal`. Raises `Problem` 401, or 403 where auth is off and the request comes from elsewhere."""
        g.principal = ANYBODY
        if self._is_open():
            return
        if self._off:
            self._hosts(request.headers.get("Host"), request.headers.get("Origin"))
        else:
            g.principal = self._principal()

    def _is_open(self) -> bool:
        if request.url_rule is None:
            return not request.path.startswith(PROTECTED)
        view = current_app.view_functions[request.url_rule.endpoint]
        return getattr(view, "is_public", False) or (self._metrics_open and request.path == "/metrics")

    def _principal(self) -> Principal:
        key = _key_of_request()
        if self._admin_digest is None:
            raise _unauthorized(
                "No key is set up. Start the server with TASKFLOW_ADMIN_KEY=<a long random text>, or for use on this"
                " machine alone with TASKFLOW_AUTH=off."
            )
        if key is None:
            raise _unauthorized("Send the key as Authorization: Bearer KEY, or as X-API-Key: KEY.")
        # Digests have one length, so that the time of the comparison says nothing about the key.
        if not hmac.compare_digest(_digest(key), self._admin_digest):
            raise _unauthorized("This key is not valid.")
        return ADMIN


def check_exposure(settings: Settings) -> None:
    """Refuse to serve the network without a key. Raises `SettingsError` that says what to do."""
    if settings.auth == "on" and not settings.admin_key and not is_loopback(settings.host):
        raise SettingsError(
            [
                f"TASKFLOW_ADMIN_KEY: without a key the server does not listen on {settings.host}, which others can"
                " reach. Set TASKFLOW_ADMIN_KEY to a long random text (openssl rand -hex 32), or listen on 127.0.0.1,"
                " or, where something in front of it checks who asks, set TASKFLOW_AUTH=off."
            ]
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _key_of_request() -> bytes | None:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    key = credentials.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key", "").strip()
    return key.encode("latin-1", "replace") or None  # as the bytes came: WSGI hands them over as latin-1


def _unauthorized(detail: str) -> Problem:
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": CHALLENGE})


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
