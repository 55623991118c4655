"""Which web pages elsewhere may use the API from a browser: none, unless the operator names their origins.

Keys travel in a header that the page itself must know, never in cookies, so nothing is allowed "with credentials".
"""

from __future__ import annotations

from collections.abc import Iterable

from flask import Flask, Response, request

ANY = "*"
METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
SENT = "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-API-Key, X-Request-ID"
SHOWN = "ETag, Idempotency-Replayed, Link, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID"
PREFLIGHT_SECONDS = 600


class Cors:
    """Answers preflight requests, and marks what a page of `origins` may read."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def register(self, app: Flask) -> None:
        """To be called before the authentication is registered: a preflight shows no key."""
        if self._origins:
            app.before_request(self.preflight)
            app.after_request(self.mark)

    def preflight(self) -> Response | None:
        """The answer to a browser that asks what it may send; None for every other request."""
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        response = Response(status=204)
        if self._allowed() is not None:
            response.headers["Access-Control-Allow-Methods"] = METHODS
            response.headers["Access-Control-Allow-Headers"] = SENT
            response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_SECONDS)
        return response

    def mark(self, response: Response) -> Response:
        """Say in an answer who may read it."""
        response.headers.add("Vary", "Origin")  # a cache must not give one origin the answer for another
        allowed = self._allowed()
        if allowed is not None:
            response.headers["Access-Control-Allow-Origin"] = allowed
            response.headers["Access-Control-Expose-Headers"] = SHOWN
        return response

    def _allowed(self) -> str | None:
        origin = request.headers.get("Origin")
        if origin in self._origins:
            return origin
        return ANY if origin is not None and ANY in self._origins else None
