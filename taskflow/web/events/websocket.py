"""The WebSocket (RFC 6455): the protocol is that of the library `websockets`, the socket gunicorn's.

One thread a client, and none beside it: it waits for the hub and for the client at once. What the library would encode
anew for each client is sent as the hub has encoded it for all of them.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from flask import Response, request
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from taskflow.web.events import sockets
from taskflow.web.events.clock import PING_SECONDS, StreamClock
from taskflow.web.events.stream import Stream
from taskflow.web.http.problems import Problem

MAX_MESSAGE_BYTES = 16 * 1024
MAX_MESSAGES, MESSAGES_SECONDS = 60, 10.0
SILENCE_SECONDS = 3 * PING_SECONDS
FAREWELL_SECONDS = 1.0
HANDSHAKE_HEADERS = (
    "Connection", "Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Host",
)  # fmt: skip


def connection_of_request() -> socket.socket:
    """The socket of the request under way. Raises `Problem` on a server that does not hand it over."""
    found = request.environ.get("gunicorn.socket")
    if not isinstance(found, socket.socket):
        raise Problem("not_implemented", "This server does not speak WebSocket; GET /api/v1/events is the same.")
    return found


def handshake() -> bytes:
    """The answer that opens the WebSocket which the request under way asks for. Raises `Problem` if it cannot."""
    headers = Headers([(name, request.headers[name]) for name in HANDSHAKE_HEADERS if name in request.headers])
    protocol = ServerProtocol()
    response = protocol.accept(Request(request.path, headers))
    if isinstance(protocol.handshake_exc, InvalidHandshake) or response.status_code != 101:
        raise Problem("bad_request", "This is no valid opening of a WebSocket (RFC 6455, section 4.2.1).")
    protocol.send_response(response)
    return b"".join(protocol.data_to_send())


class WebSocketResponse(Response):
    """Not a response but a conversation: it has the socket until it is over, and gunicorn sends nothing on it."""

    def __init__(self, conversation: Callable[[], None]) -> None:
        super().__init__(status=101)
        self._conversation = conversation

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        self._conversation()
        raise StopIteration  # gunicorn: this connection is done with


RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Conversation:
    """One client. `hear` is given every text that it sends, and returns what to answer."""

    def __init__(
        self, connection: socket.socket, stream: Stream, clock: StreamClock, hear: Callable[[bytes], bytes]
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._clock = clock
        self._hear = hear
        self._protocol = ServerProtocol(state=State.OPEN, max_size=MAX_MESSAGE_BYTES)
        self._text = bytearray()
        self._last_heard = time.monotonic()
        self._heard: deque[float] = deque(maxlen=MAX_MESSAGES)

    def run(self, opening: bytes) -> None:
        """Talk until one of both has enough."""
        try:
            sockets.prepare(self._connection)
            self._connection.sendall(opening)
            self._talk()
        except OSError:
            pass  # gone
        finally:
            self._hang_up()

    def _talk(self) -> None:
        while self._protocol.state is State.OPEN:
            if (why := self._clock.over()) is not None:
                self._say_farewell(why)
                return
            if parcels := self._stream.take():
                self._connection.sendall(b"".join([parcel.frames for parcel in parcels]))
                self._clock.sent()
            elif self._clock.ping_is_due:
                if time.monotonic() - self._last_heard > SILENCE_SECONDS:
                    return
                self._protocol.send_ping(b"")
                self._clock.sent()
            self._flush()
            readable = sockets.wait([self._stream.fileno(), self._connection.fileno()], self._clock.wait_seconds)
            if self._connection.fileno() in readable and not self._receive():
                return

    def _receive(self) -> bool:
        """Whether the client is still there."""
        data = self._connection.recv(65536)
        if not data:
            return False
        self._last_heard = time.monotonic()
        self._protocol.receive_data(data)
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame) and self._protocol.state is State.OPEN:
                self._take(frame)
        self._flush()
        return True

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.BINARY:
            self._protocol.fail(CloseCode.UNSUPPORTED_DATA, "send JSON as text")
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._text += frame.data
            if len(self._text) > MAX_MESSAGE_BYTES:
                self._protocol.fail(CloseCode.MESSAGE_TOO_BIG)
            elif frame.fin:
                text, self._text = bytes(self._text), bytearray()
                self._answer(text)

    def _answer(self, text: bytes) -> None:
        now = time.monotonic()
        if len(self._heard) == MAX_MESSAGES and now - self._heard[0] < MESSAGES_SECONDS:
            self._protocol.fail(CloseCode.POLICY_VIOLATION, "too many messages")
            return
        self._heard.append(now)
        self._protocol.send_text(self._hear(text))

    def _say_farewell(self, why: str) -> None:
        self._protocol.send_close(CloseCode.SERVICE_RESTART, why)
        self._flush()
        end = time.monotonic() + FAREWELL_SECONDS
        while not self._is_over and (left := end - time.monotonic()) > 0:
            if self._connection.fileno() in sockets.wait([self._connection.fileno()], left) and not self._receive():
                return

    @property
    def _is_over(self) -> bool:
        """Whether the client has said so too: nothing follows, and the server hangs up first (section 7.1.1)."""
        return self._protocol.state is State.CLOSED or self._protocol.close_rcvd is not None

    def _flush(self) -> None:
        if data := b"".join(self._protocol.data_to_send()):
            self._connection.sendall(data)

    def _hang_up(self) -> None:
        try:
            self._flush()
            if not self._is_over:
                # It may be sending still, with nobody to read it: with a reset it learns at once that this is over. It
                # was seen to wait for more than a minute and a half otherwise.
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            # Both directions: gunicorn would wait for the client's end otherwise, in its only thread for connections.
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
