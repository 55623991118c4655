"""The id of every request, and at level debug one line about it."""

from __future__ import annotations

import logging
import os
import re
import time

from flask import Flask, Response, g, request

HEADER = "X-Request-ID"
ACCEPTED = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)

log = logging.getLogger("taskflow.web.access")


def register(app: Flask) -> None:
    """Take over or make an id for every request of `app`, send it back, and log what became of the request."""
    app.before_request(_begin)
    app.after_request(_end)


def new_id() -> str:
    """For a request that brings none."""
    return os.urandom(16).hex()


def _begin() -> None:
    given = request.headers.get(HEADER)
    # Taken over only if it is harmless in a log line and in a header.
    g.request_id = given if given and ACCEPTED.fullmatch(given) else new_id()
    g.started = time.perf_counter()


def _end(response: Response) -> Response:
    headers = response.headers
    headers[HEADER] = g.get("request_id", "")
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Cache-Control", "no-store")
    if log.isEnabledFor(logging.DEBUG):
        log.debug(
            "request",
            extra={
                "request_id": g.get("request_id", ""),
                "method": request.method,
                "path": request.path,  # without the query: it may hold a secret
                "status": response.status_code,
                "duration_ms": round((time.perf_counter() - g.get("started", time.perf_counter())) * 1000, 2),
                "bytes": response.content_length,
                "remote": request.remote_addr,
                "user_agent": (request.user_agent.string or "")[:200],
            },
        )
    return response
