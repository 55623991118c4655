"""Server-sent events (WHATWG HTML, section 9.2): one JSON object a message, a comment as ping."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from taskflow.web.events import sockets
from taskflow.web.events.clock import StreamClock
from taskflow.web.events.stream import Stream

PATH = "/api/v1/events"
CONTENT_TYPE = "text/event-stream; charset=utf-8"
RETRY_MS = 2000
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def lines(stream: Stream, clock: StreamClock, connection: socket.socket | None) -> Iterator[bytes]:
    """What to send, as it comes, until the stream ends or the client has gone. `connection` is looked at for that;
    without one it is noticed when something is sent."""
    if connection is not None:
        sockets.prepare(connection)
    yield b"retry: %d\n\n" % RETRY_MS
    while clock.over() is None:
        if parcels := stream.take():
            yield b"".join([parcel.lines for parcel in parcels])
            clock.sent()
        elif clock.ping_is_due:
            yield b": ping\n\n"
            clock.sent()
        watched = [stream.fileno()] if connection is None else [stream.fileno(), connection.fileno()]
        readable = sockets.wait(watched, clock.wait_seconds)
        if connection is not None and connection.fileno() in readable:
            if sockets.has_hung_up(connection):
                return
            connection = None  # it has sent something, which is the next request's
