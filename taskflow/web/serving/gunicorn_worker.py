"""The process that serves requests: gunicorn's threads, with our shutdown, our limits and our form of errors."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from functools import partial
from types import FrameType
from typing import Any

from gunicorn import util
from gunicorn.http import errors as http_errors
from gunicorn.workers.gthread import TConn, ThreadWorker

from taskflow.web.events.sse import PATH as PATH_OF_STREAMS
from taskflow.web.http import requests_log
from taskflow.web.http.encoding import encode
from taskflow.web.http.problems import CONTENT_TYPE, KINDS, Problem
from taskflow.web.services import EXTENSION
from taskflow.web.serving.lingering import Lingering
from taskflow.web.serving.slow_clients import SILENCE_SECONDS, Inflow

# One thread in so many may wait for bytes of a client at once.
SLOW_CLIENTS_OF_THREADS = 4


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
        if not conn.initialized:
            conn.init = partial(self._init, conn)
            conn.close = partial(self._close, conn)
        elif (inflow := _inflow_of(conn)) is not None:
            inflow.begin()
        return super().handle(conn)

    def init_process(self) -> None:
        """Called by gunicorn in the new process."""
        self._slow_clients = threading.Semaphore(max(2, self.cfg.threads // SLOW_CLIENTS_OF_THREADS))
        self._lingering = Lingering()
        self._lingering.start()
        super().init_process()

    def run(self) -> None:
        """Serve until told to stop."""
        super().run()
        self._lingering.finish()

    def enqueue_req(self, conn: Any) -> None:
        """A connection that has sent nothing yet waits beside those kept alive, and not in a thread."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        conn.timeout = time.monotonic() + SILENCE_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Serve one request whose head has been read. A stream has its connection for itself, and says so: kept alive
        after it, the connection would make a server that ends wait for the client's next request."""
        if req.path == PATH_OF_STREAMS:
            req.force_close()
        return super().handle_request(req, conn)

    def _close(self, conn: Any, graceful: bool = False) -> None:
        """In the place of a close that would wait for the client, and have all the others wait."""
        if graceful:
            self._lingering.close(conn.sock)
        else:
            TConn.close(conn)

    def _init(self, conn: Any) -> None:
        TConn.init(conn)
        unreader = getattr(conn.parser, "unreader", None)  # HTTP/2 has none
        if unreader is not None:
            unreader.sock = Inflow(conn.sock, self._slow_clients)

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


def _inflow_of(conn: Any) -> Inflow | None:
    found = getattr(getattr(conn.parser, "unreader", None), "sock", None)
    return found if isinstance(found, Inflow) else None


def _problem(error: BaseException) -> Problem | None:
    match error:
        case http_errors.LimitRequestLine():
            return Problem("uri_too_long", "The request line is longer than this server reads.")
        case http_errors.LimitRequestHeaders():
            return Problem("headers_too_large", "There are more headers, or longer ones, than this server reads.")
        case http_errors.UnsupportedTransferCoding():
            return Problem("not_implemented", "The body has a transfer coding that this server does not know.")
        case http_errors.ExpectationFailed():
            return Problem("expectation_failed", "The only expectation that this server meets is 100-continue.")
        case http_errors.ParseException():
            return Problem("bad_request", "The request is not valid HTTP.")
        case _:
            return None


def _response(problem: Problem) -> bytes:
    request_id = requests_log.new_id()
    status, title = KINDS[problem.code]
    body = encode(problem.document("", request_id))
    head = (
        f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\n\r\n"
    )
    return head.encode() + body
