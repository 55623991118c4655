"""ETag and If-Match: who changes what somebody else has changed meanwhile is told so (RFC 9110, section 13)."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from flask import Response, request

from taskflow.web.http.encoding import encode
from taskflow.web.http.problems import Problem

# One of ours in the list that If-Match is. A weak one (W/) is none: for a change they must be the same, not alike.
LISTED = re.compile(r'(?:^|,)[ \t]*"([0-9]{1,10})-[0-9a-f]{12}"(?=[ \t]*(?:,|$))', re.ASCII)


def tagged(
    document: dict[str, Any], version: int, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """`document` as an answer with its ETag."""
    body = encode(document)
    response = Response(body, status, headers=headers, mimetype="application/json")
    response.headers["ETag"] = etag(body, version)
    response.headers["Cache-Control"] = "private, no-cache"
    if request.method in ("GET", "HEAD"):
        response.make_conditional(request)
    return response


def etag(body: bytes, version: int) -> str:
    """The version, which a change names, and a digest of the body, since what is shown changes with the time and with
    other settings, without a new version."""
    return f'"{version}-{hashlib.blake2b(body, digest_size=6).hexdigest()}"'


def expected_versions() -> list[int] | None:
    """The versions that `If-Match` lists; None: any. Give them to the statement that changes the row, and raise
    `precondition_failed()` where the row has another. Raises that `Problem` where no tag is one of ours."""
    given = request.headers.get("If-Match")
    if given is None or given.strip() == "*":
        return None
    versions = [int(version) for version in LISTED.findall(given)]
    if not versions:
        raise precondition_failed()
    return versions


def precondition_failed() -> Problem:
    """412: somebody was faster."""
    return Problem("precondition_failed", "It has been changed since you read it: read it again, then change it.")
