"""Clients that send a request byte by byte, or not at all: they hold few threads, and those not for long.

gunicorn reads a request in the thread that serves it. So a request must come at a rate; and where it makes its thread
wait, one of a few slots is held meanwhile. Who finds none free has a second: with the bytes there already, as those of
every ordinary request, that is no limit at all.
"""

from __future__ import annotations

import select
import socket
import threading
import time

SILENCE_SECONDS = 15.0  # without a byte
GRACE_SECONDS = 15.0  # for a request however small
BYTES_A_SECOND = 16 * 1024  # beyond that
HURRIED_SECONDS = 1.0  # for all waiting of a request while no slot is free


class TooSlow(TimeoutError):
    """The rest of the request is not waited for."""


class Inflow:
    """A socket as gunicorn's parser reads from it. `slots`: one for each client that may keep a thread waiting."""

    def __init__(self, connection: socket.socket, slots: threading.Semaphore) -> None:
        self._socket = connection
        self._slots = slots
        self.gettimeout, self.settimeout = connection.gettimeout, connection.settimeout  # the parser sets it
        self.begin()

    def begin(self) -> None:
        """A request begins, whose first bytes are there."""
        self._deadline = time.monotonic() + GRACE_SECONDS
        self._hurried = HURRIED_SECONDS

    def recv(self, size: int) -> bytes:
        """Some bytes, as soon as there are any. Raises `TooSlow`."""
        while True:
            try:
                data = self._socket.recv(size, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._wait()
            else:
                self._deadline += len(data) / BYTES_A_SECOND
                return data

    def _wait(self) -> None:
        timeout = self._socket.gettimeout()
        patience = min(SILENCE_SECONDS, self._deadline - time.monotonic())
        if timeout is not None:
            patience = min(patience, timeout)
        if self._slots.acquire(blocking=False):
            try:
                self._wait_for_bytes(patience)
            finally:
                self._slots.release()
        else:
            began = time.monotonic()
            self._wait_for_bytes(min(patience, self._hurried))
            self._hurried -= time.monotonic() - began

    def _wait_for_bytes(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if seconds <= 0 or not poll.poll(seconds * 1000):
            raise TooSlow("the client sends its request too slowly")
