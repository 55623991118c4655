"""What streams do with the connection of their client."""

from __future__ import annotations

import select
import socket
import struct
from contextlib import suppress

SEND_SECONDS = 15
"""A client that takes nothing for so long is gone for us."""


def prepare(connection: socket.socket) -> None:
    """Limit how long a stream waits for a client that reads nothing, or has vanished without a word."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * SEND_SECONDS)


def wait(descriptors: list[int], seconds: float) -> set[int]:
    """Those that can be read, after at most so many seconds."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(1000 * max(0.0, seconds))}


def has_hung_up(connection: socket.socket) -> bool:
    """Whether a connection that can be read has been closed by the other side."""
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
