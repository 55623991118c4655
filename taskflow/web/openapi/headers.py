"""Headers of answers, described once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

HEADERS = {
    "ETag": "names this state of it: for If-Match and If-None-Match",
    "Idempotency-Replayed": "`true`: the answer that the first request with this key was given",
    "Link": 'the next page, as `<address>; rel="next"`; absent on the last one',
    "Location": "the address of what was created",
    "RateLimit": 'what you have left, as `"default";r=<requests>;t=<seconds until all are back>`',
    "RateLimit-Policy": 'how often you may ask, as `"default";q=<requests>;w=<seconds>`',
    "Retry-After": "ask again after so many seconds",
    "WWW-Authenticate": "how to say who you are",
    "X-Request-ID": "the id of the request, as you gave it or made here",
}


# On every answer; those about the rate where there is a limit.
ALWAYS = ("X-Request-ID", "RateLimit", "RateLimit-Policy")


def descriptions() -> dict[str, Any]:
    """What the document has under components/headers."""
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()}


def references(names: Iterable[str]) -> dict[str, Any]:
    """The headers of a response."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
