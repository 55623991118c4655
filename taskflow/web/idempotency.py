"""Idempotency-Key: a request that is sent again is answered as it was, and nothing is created twice.

(draft-ietf-httpapi-idempotency-key-header.) What a request creates and the answer it was given are committed in one
transaction, whose first statement takes the key: `taskflow.begin_request`. So whenever a process dies or loses its
connection there are both or neither, the commit whose outcome the client never learned included; and no key stays taken
by a request that is no more.

Only answers of success are kept. What was refused has done nothing: it may be sent again under its key, put right too.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any

from flask import Response, g, make_response, request
from sqlalchemy import Integer, LargeBinary, Row, Text, bindparam, text, update
from sqlalchemy.dialects.postgresql import JSONB

from taskflow.schema import idempotency_keys
from taskflow.web.auth import principal
from taskflow.web.database import Database
from taskflow.web.problems import Problem
from taskflow.web.services import services

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
LONGEST_KEY = 255
KEPT_HEADERS = ("Content-Type", "Location", "ETag", "Cache-Control")
CHUNK_BYTES = 64 * 1024
NOT_YET_READ = b""

BEGIN = text("SELECT * FROM taskflow.begin_request(:scope, :key, :hash)").bindparams(
    bindparam("scope", type_=Text), bindparam("key", type_=Text), bindparam("hash", type_=LargeBinary)
)
FINISH = (
    update(idempotency_keys)
    .where(idempotency_keys.c.scope == bindparam("in_scope"), idempotency_keys.c.key == bindparam("of_key"))
    .values(
        request_hash=bindparam("hash", type_=LargeBinary),
        status=bindparam("new_status", type_=Integer),
        headers=bindparam("new_headers", type_=JSONB),
        body=bindparam("new_body", type_=LargeBinary),
    )
)


class _Refused(Exception):
    """Undoes the transaction; `response` is what the client is told."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


class _Fingerprint:
    """The input of a request, which knows the hash of what was read from it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._hash = hashlib.sha256(request.query_string + b"\n")

    def read(self, size: int = -1) -> bytes:
        """Called by whoever reads the body."""
        data: bytes = self._stream.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> bytes:
        """Of the query string, and of the body as far as it was read."""
        return self._hash.digest()


def once(view: Callable[[], Any], *, reads_body: bool) -> Response:
    """Answer the request under way by `view`, or as it was answered before under its Idempotency-Key.

    `reads_body` False: the view itself reads the body as a stream, whose hash is known only at its end. Raises
    `Problem`: 400 for a key that is none, 409 while another request with it is in progress, 422 where it stands for
    another request.
    """
    key = _key()
    scope = f"{principal().client or principal().name} {request.method} {request.path}"
    environ = request.environ
    fingerprint = environ["wsgi.input"] = _Fingerprint(environ["wsgi.input"])
    if reads_body:
        request.get_data(cache=True)
    database = services().database
    try:
        with database.unit():
            hash_ = fingerprint.digest() if reads_body else NOT_YET_READ
            found = database.call(BEGIN, {"scope": scope, "key": key, "hash": hash_})[0]
            if found.outcome != "new":
                return _answered_before(found, fingerprint)
            response = make_response(view())
            if response.status_code >= 400:
                raise _Refused(response)
            _keep(database, scope, key, fingerprint.digest(), response)
            return response
    except _Refused as refused:
        return refused.response


def keep_instead(response: Response) -> None:
    """For a view whose answer holds what must not be stored: replays give `response` in its place."""
    g.kept_answer = response


def _key() -> str:
    key = request.headers[HEADER].strip()
    if not 1 <= len(key) <= LONGEST_KEY:
        raise Problem("invalid_idempotency_key", f"{HEADER} must have 1 to {LONGEST_KEY} characters.")
    return key


def _answered_before(found: Row[Any], fingerprint: _Fingerprint) -> Response:
    if found.outcome == "busy":
        raise Problem(
            "request_in_progress",
            f"A request with this {HEADER} is being worked on; ask again when it is done.",
            headers={"Retry-After": "1"},
        )
    while request.stream.read(CHUNK_BYTES):
        pass
    if not hmac.compare_digest(fingerprint.digest(), bytes(found.request_hash)):
        raise Problem(
            "idempotency_key_reused",
            f"This {HEADER} stands for another request, of which the body or the parameters were different. Give each"
            " request a key of its own.",
        )
    response = Response(bytes(found.body), found.status, headers=found.headers)
    response.headers[REPLAYED] = "true"
    return response


def _keep(database: Database, scope: str, key: str, hash_: bytes, response: Response) -> None:
    kept: Response = g.get("kept_answer", response)
    database.call(
        FINISH,
        {
            "in_scope": scope,
            "of_key": key,
            "hash": hash_,
            "new_status": kept.status_code,
            "new_headers": {name: kept.headers[name] for name in KEPT_HEADERS if name in kept.headers},
            "new_body": kept.get_data(),
        },
    )
