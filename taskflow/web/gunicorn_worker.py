"""The process that serves requests: gunicorn's threads, with our shutdown, our limits and our form of errors."""

from __future__ import annotations

import socket
import struct
import uuid
from types import FrameType
from typing import Any

from gunicorn import util
from gunicorn.http import errors as http_errors
from gunicorn.workers.gthread import ThreadWorker

from taskflow.web.encoding import encode
from taskflow.web.problems import CONTENT_TYPE, KINDS, Problem
from taskflow.web.services import EXTENSION

# A client that sends nothing for so long in the middle of a request loses its thread.
SILENCE_SECONDS = 15


class Worker(ThreadWorker):  # type: ignore[misc]
    """gthread; only what is said here is different."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM: not ready any more, and nobody is kept waiting; then finish what is under way."""
        application = getattr(self, "wsgi", None)  # a process that still starts has none
        if application is not None:
            application.extensions[EXTENSION].closing.set()
        super().handle_exit(sig, frame)

    def handle(self, conn: Any) -> Any:
        """Serve one request of a connection."""
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SILENCE_SECONDS, 0))
        return super().handle(conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """What is no HTTP, or too long, never reaches the application: answer as the application would."""
        problem = _problem(exc)
        if problem is None:
            super().handle_error(req, client, addr, exc)
            return
        self.log.debug("refused a request: %s", exc)
        try:
            util.write(client, _response(problem))
        except OSError:
            self.log.debug("the client was gone before it was told")


def _problem(error: BaseException) -> Problem | None:
    match error:
        case http_errors.LimitRequestLine():
            return Problem("uri_too_long", "The request line is longer than this server reads.")
        case http_errors.LimitRequestHeaders():
            return Problem("headers_too_large", "There are more headers, or longer ones, than this server reads.")
        case http_errors.UnsupportedTransferCoding():
            return Problem("not_implemented", "The body has a transfer coding that this server does not know.")
        case http_errors.ParseException():
            return Problem("bad_request", "The request is not valid HTTP.")
        case _:
            return None


def _response(problem: Problem) -> bytes:
    request_id = uuid.uuid4().hex
    status, title = KINDS[problem.code]
    body = encode(problem.document("", request_id))
    head = (
        f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\n\r\n"
    )
    return head.encode() + body
