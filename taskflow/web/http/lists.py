"""Pages of a list: a cursor is the place of the last item shown, so that no page is found by counting through others.

A cursor is opaque to clients. It holds values only, which go to the statement as parameters.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from flask import Response, request

from taskflow.errors import FieldProblem
from taskflow.web.http.encoding import answer, encode
from taskflow.web.http.problems import Problem


def cursor_after(*place: Any) -> str:
    """The cursor for what follows `place`: numbers, texts and times."""
    return base64.urlsafe_b64encode(encode(place)).decode().rstrip("=")


def place_of(cursor: str | None, *kinds: type) -> Sequence[Any] | None:
    """What `cursor_after` was given; None for the first page. Raises `Problem` 422 unless it is of these kinds."""
    if cursor is None:
        return None
    try:
        place = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        raise unreadable() from None
    if not isinstance(place, list) or len(place) != len(kinds):
        raise unreadable()
    if not all(_fits(value, kind) for value, kind in zip(place, kinds, strict=True)):
        raise unreadable()
    return place


def page(name: str, items: list[Any], next_cursor: str | None, **more: Any) -> Response:
    """A page as an answer: `{name: items, count, next_cursor, ...}`, with a Link header to the next one."""
    headers = {}
    if next_cursor is not None:
        parameters = [(key, value) for key, value in request.args.items(multi=True) if key not in ("cursor", "offset")]
        headers["Link"] = f'<{request.path}?{urlencode([*parameters, ("cursor", next_cursor)])}>; rel="next"'
    return answer({name: items, "count": len(items), "next_cursor": next_cursor, **more}, 200, headers)


def _fits(value: Any, kind: type) -> bool:
    if type(value) is not kind:  # not isinstance(): True is an int to Python only
        return False
    # A bigint of PostgreSQL ends earlier than an integer of Python.
    return not (isinstance(value, int) and not -(2**63) <= value < 2**63) and not (
        isinstance(value, str) and "\x00" in value
    )


def unreadable() -> Problem:
    """422: a cursor that no list has given."""
    problem = FieldProblem("?cursor", "invalid_cursor", "is none that this list has given")
    return Problem("invalid_request", "?cursor: is none that this list has given", problems=[problem])
