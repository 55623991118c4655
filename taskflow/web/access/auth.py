"""Who asks and what they may do: the key of a request, what is open without one, and where a server may listen."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from flask import current_app, g, request

from taskflow.errors import SettingsError, TaskflowError
from taskflow.settings import Settings
from taskflow.store import api_keys
from taskflow.web.access.client_address import client_of
from taskflow.web.access.hosts import HostCheck
from taskflow.web.access.keys import ApiKey, KeyRing
from taskflow.web.access.principal import ANYBODY, SCOPES, Principal
from taskflow.web.access.rate_limit import RateLimit
from taskflow.web.events.tickets import Tickets
from taskflow.web.http.problems import Problem

CHALLENGE = 'Bearer realm="taskflow"'
# Whatever is below these is nobody's business without a key, whether there is such a path or not.
PROTECTED = ("/api/", "/admin/")
# Probes come from where clients come from too, and who refuses one has a healthy server restarted.
NEVER_COUNTED = frozenset({"/live", "/ready"})
# It has to tell that the database is away, so there a key is taken that was valid before.
METRICS = "/metrics"

__all__ = [
    "ANYBODY",
    "SCOPES",
    "Authentication",
    "Principal",
    "check_exposure",
    "is_loopback",
    "is_open",
    "principal",
    "require",
    "require_every_queue",
    "require_queue",
]


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


def require_every_queue() -> None:
    """Raises `Problem` 403 for a key that is limited to some queues: it could make itself one that is not."""
    if principal().queues is not None:
        raise Problem("forbidden", "This key is limited to some queues, and what is asked for concerns all of them.")


def is_open(view: Callable[..., Any]) -> bool:
    """Whether a view was declared as open without a key."""
    declared = getattr(view, "operation", None)
    return declared is not None and declared.scope is None


class Authentication:
    """Decides for every request whose it is; to be called before the request is handled."""

    def __init__(self, settings: Settings, keys: KeyRing, tickets: Tickets, rate_limit: RateLimit) -> None:
        self._off = settings.auth == "off"
        self._metrics_open = settings.metrics_open
        self._keys = keys
        self._tickets = tickets
        self._rate_limit = rate_limit
        self._hosts = HostCheck(settings.allowed_hosts, settings.cors_origins)

    def __call__(self) -> None:
        """Set `g.principal`. Raises `Problem`: 401; 429; 403 where auth is off and the request comes from elsewhere."""
        g.principal = ANYBODY
        if self._off:
            self._count(None)
            if not self._is_open():
                self._hosts(request.headers.get("Host"), request.headers.get("Origin"))
            return
        is_open = self._is_open()
        shown = None if is_open else _key_of_request()
        key = self._find(shown) if shown else None if is_open else self._key_of_ticket()
        # A request that shows no key that is valid is counted by its address, so that guessing is limited as well.
        self._count(None if key is None else key.principal)
        if key is None and shown:
            key = self._keys.find_newer(shown)
        if key is not None:
            g.principal = key.principal
        elif not is_open:
            raise self._refusal(shown)

    def _find(self, shown: bytes) -> ApiKey | None:
        try:
            return self._keys.find(shown)
        except TaskflowError:
            known = self._keys.find_last_known(shown) if request.path == METRICS else None
            if known is None:
                raise
            return known

    def _key_of_ticket(self) -> ApiKey | None:
        ticket = self._tickets.of_request()
        if ticket is None:
            return None
        # Looking it up takes a statement, which who has guessed too often already is not to cause.
        self._rate_limit.check(client_of(request.remote_addr))
        return self._tickets.key_of(ticket)

    def _is_open(self) -> bool:
        if request.url_rule is None:
            return not request.path.startswith(PROTECTED)
        view = current_app.view_functions[request.url_rule.endpoint]
        return is_open(view) or (self._metrics_open and request.path == METRICS)

    def _count(self, whose: Principal | None) -> None:
        if request.path in NEVER_COUNTED:
            return
        client = whose.client if whose is not None else None
        self._rate_limit(client or client_of(request.remote_addr))

    def _refusal(self, shown: bytes | None) -> Problem:
        if shown is None:
            return _unauthorized("Send the key as Authorization: Bearer KEY, or as X-API-Key: KEY.")
        if not self._keys.has_any():
            return _unauthorized(
                "No key is set up. Make one with `taskflow keys create`, or start the server with TASKFLOW_ADMIN_KEY=<a"
                " long random text>, or for use on this machine alone with TASKFLOW_AUTH=off."
            )
        return _unauthorized("This key is not valid.", ', error="invalid_token"')


def check_exposure(settings: Settings) -> None:
    """Refuse to serve the network while nobody has a key. Raises `SettingsError` that says what to do."""
    if settings.auth == "off" or settings.admin_key or is_loopback(settings.host):
        return
    try:
        if api_keys.any_live(settings.database_url):
            return
        reason = "the database holds no API key"
    except TaskflowError as error:
        reason = f"whether the database holds an API key could not be found out ({error})"
    raise SettingsError(
        [
            f"TASKFLOW_ADMIN_KEY: is not set, and {reason}. Without any key the server does not listen on"
            f" {settings.host}, which others can reach. Set TASKFLOW_ADMIN_KEY to a long random text (openssl rand -hex"
            " 32), or make a key with `taskflow keys create`, or listen on 127.0.0.1, or, where something in front of"
            " it checks who asks, set TASKFLOW_AUTH=off."
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


def _unauthorized(detail: str, error: str = "") -> Problem:
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": CHALLENGE + error})
