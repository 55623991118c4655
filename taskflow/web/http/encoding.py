"""JSON out: fast, and exact also for what PostgreSQL holds and a 64-bit number cannot."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Response
from werkzeug.datastructures import Headers

PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~-]*", re.ASCII)


def encode(value: Any) -> bytes:
    """`value` as JSON in UTF-8. Times become RFC 3339; they must be in UTC, see `utc`."""
    try:
        return orjson.dumps(value, option=orjson.OPT_UTC_Z)
    except TypeError:  # an integer beyond 64 bits, or more than 254 levels: orjson refuses both
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default).encode()


def decode_stored(text: str | bytes) -> Any:
    """What PostgreSQL holds as jsonb. Any producer may store what Python cannot hold: that is said in its place."""
    try:
        return json.loads(text)
    except RecursionError:
        return "[nested too deeply to be shown]"
    except ValueError:
        return "[a number too long to be shown]"


def utc(time: datetime | None) -> datetime | None:
    """The same moment in UTC; None stays None."""
    return None if time is None else time.astimezone(UTC)


class JsonResponse(Response):
    """An answer whose headers are final as a rule: its length was set with its body, and a Location is a plain path. To
    look for what there may be to correct took a twentieth of the time of a request."""

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """Called by Werkzeug when the answer is sent."""
        if self.status_code in (200, 201) and PLAIN_PATH.fullmatch(self.headers.get("Location", "")):
            return self.headers
        return super().get_wsgi_headers(environ)


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return JsonResponse(encode(body), status, headers=headers, mimetype="application/json")


def _default(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no JSON form")
