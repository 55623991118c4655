"""Who asks: the key of a request, and what is open without one."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import current_app, g, request

from taskflow.errors import SettingsError
from taskflow.settings import Settings
from taskflow.web.hosts import HostCheck
from taskflow.web.problems import Problem

SCOPES = frozenset({"read", "enqueue", "operate", "admin"})
CHALLENGE = 'Bearer realm="taskflow"'
# Whatever is below these is nobody's business without a key, whether there is such a path or not.
PROTECTED = ("/api/", "/admin/")


@dataclass(frozen=True, slots=True)
class Principal:
    """Whose request it is, and what they may do."""

    name: str
    scopes: frozenset[str]
    queues: frozenset[str] | None = None  # None: every queue
    shows_secrets: bool = True

    @property
    def sees_secrets(self) -> bool:
        """Whether values under keys like `password` are shown to them."""
        return self.shows_secrets and "admin" in self.scopes

    def has(self, scope: str) -> bool:
        """Whether they may do what needs `scope`; admin may do everything."""
        return scope in self.scopes or "admin" in self.scopes

    def sees(self, queue: str) -> bool:
        """Whether what lies in `queue` exists for them."""
        return self.queues is None or queue in self.queues


# With auth off everything is open; but nobody has shown a key, so secrets stay hidden.
ANYBODY = Principal("anybody", SCOPES, shows_secrets=False)
ADMIN = Principal("admin", SCOPES)


def principal() -> Principal:
    """Whose the request under way is."""
    found = g.principal
    assert isinstance(found, Principal)
    return found


def require(scope: str) -> None:
    """Raises `Problem` 403 unless the request under way may do what needs `scope`."""
    if not principal().has(scope):
        raise Problem("forbidden", f"This key lacks the scope {scope!r}.")


def require_queue(name: str) -> None:
    """Raises `Problem` 403 unless the request under way may put something into the queue. What lies in others is not
    found by who may not see it; but where a client names the queue itself, it is told why it may not."""
    if not principal().sees(name):
        raise Problem("queue_not_allowed", f"This key is limited to other queues than {name!r}.")


def is_open(view: Callable[..., Any]) -> bool:
    """Whether a view was declared as open without a key."""
    declared = getattr(view, "operation", None)
    return declared is not None and declared.scope is None


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
        return is_open(view) or (self._metrics_open and request.path == "/metrics")

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
