"""Idempotency-Key: a request that is sent again is answered as it was, and nothing is created twice.

(draft-ietf-httpapi-idempotency-key-header.) What a request creates and the answer it was given are committed in one
transaction, whose first statement takes the key: `taskflow.begin_request`. So whenever a process dies or loses its
connection there are both or neither, the commit whose outcome the client never learned included; and no key stays taken
by a request that is no more.

Only answers of success are kept. What was refused has done nothing: it may be sent again under its key, put right too.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from typing import Any

from flask import Response, g, make_response, request
from sqlalchemy import Integer, LargeBinary, Row, Text, bindparam, text, update
from sqlalchemy.dialects.postgresql import JSONB

from taskflow.schema import idempotency_keys
from taskflow.web.access.auth import principal
from taskflow.web.database import Database
from taskflow.web.http.problems import Problem
from taskflow.web.services import services

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
LONGEST_KEY = 255
KEPT_HEADERS = ("Content-Type", "Location", "ETag", "Cache-Control")
CHUNK_BYTES = 64 * 1024
IN_MEMORY_BYTES = 1024 * 1024

BEGIN = text("SELECT * FROM taskflow.begin_request(:scope, :key, :hash)").bindparams(
    bindparam("scope", type_=Text), bindparam("key", type_=Text), bindparam("hash", type_=LargeBinary)
)
FINISH = (
    update(idempotency_keys)
    .where(idempotency_keys.c.scope == bindparam("in_scope"), idempotency_keys.c.key == bindparam("of_key"))
    .values(
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


def once(view: Callable[[], Any], *, reads_body: bool) -> Response:
    """Answer the request under way by `view`, or as it was answered before under its Idempotency-Key.

    `reads_body` False: the view itself reads the body, as a stream. Raises `Problem`: 400 for a key that is none, 409
    while another request with it is in progress, 422 where it stands for another request.
    """
    key = _key()
    scope = f"{principal().client or principal().name} {request.method} {request.path}"
    # Before the transaction: however slowly a body comes, no connection to the database waits for it.
    hash_ = _hash_of_body() if reads_body else _hash_of_stream()
    database = services().database
    try:
        with database.unit():
            found = database.call(BEGIN, {"scope": scope, "key": key, "hash": hash_})[0]
            if found.outcome != "new":
                return _answered_before(found, hash_)
            response = make_response(view())
            if response.status_code >= 400:
                raise _Refused(response)
            _keep(database, scope, key, response)
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


def _hash_of_body() -> bytes:
    """What tells one request from another: its parameters and its body."""
    return hashlib.sha256(request.query_string + b"\n" + request.get_data(cache=True)).digest()


def _hash_of_stream() -> bytes:
    """The same of a body that may be large: it goes through a temporary file, from which the view then reads it."""
    hash_ = hashlib.sha256(request.query_string + b"\n")
    spool: Any = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  (the request closes it)
    while chunk := request.stream.read(CHUNK_BYTES):
        hash_.update(chunk)
        spool.write(chunk)
    spool.seek(0)
    request.environ["wsgi.input"] = spool
    request.__dict__.pop("stream", None)  # made anew, over the file
    return hash_.digest()


def _answered_before(found: Row[Any], hash_: bytes) -> Response:
    if found.outcome == "busy":
        raise Problem(
            "request_in_progress",
            f"A request with this {HEADER} is being worked on; ask again when it is done.",
            headers={"Retry-After": "1"},
        )
    if hash_ != bytes(found.request_hash):
        raise Problem(
            "idempotency_key_reused",
            f"This {HEADER} stands for another request, of which the body or the parameters were different. Give each"
            " request a key of its own.",
        )
    response = Response(bytes(found.body), found.status, headers=found.headers)
    response.headers[REPLAYED] = "true"
    return response


def _keep(database: Database, scope: str, key: str, response: Response) -> None:
    kept: Response = g.get("kept_answer", response)
    database.call(
        FINISH,
        {
            "in_scope": scope,
            "of_key": key,
            "new_status": kept.status_code,
            "new_headers": {name: kept.headers[name] for name in KEPT_HEADERS if name in kept.headers},
            "new_body": kept.get_data(),
        },
    )
