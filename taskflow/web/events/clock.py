"""When a stream pings, and when it ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from taskflow.stop_flag import StopFlag

PING_SECONDS = 25.0
CHECK_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 0.25
"""So that a server that shuts down is not kept waiting."""


class StreamClock:
    """The times of one stream. `allowed` says whether its key is still valid; asked about once a second."""

    def __init__(self, seconds: float, closing: StopFlag, allowed: Callable[[], bool]) -> None:
        self._closing = closing
        self._allowed = allowed
        now = time.monotonic()
        self._end = now + seconds * random.uniform(0.9, 1.0)  # or all would come back at the same time
        self._next_check = now + CHECK_SECONDS
        self._next_ping = now + PING_SECONDS

    @property
    def wait_seconds(self) -> float:
        """How long to wait at most before looking here again."""
        now = time.monotonic()
        return max(0.0, min(LONGEST_WAIT_SECONDS, self._end - now, self._next_ping - now))

    def over(self) -> str | None:
        """Why the stream is to end now; None: it is not."""
        now = time.monotonic()
        if self._closing.is_set():
            return "the server is shutting down"
        if now >= self._end:
            return "the time of the stream is up"
        if now >= self._next_check:
            self._next_check = now + CHECK_SECONDS
            if not self._allowed():
                return "the key is not valid any more"
        return None

    def sent(self) -> None:
        """Something was sent: the next ping has time."""
        self._next_ping = time.monotonic() + PING_SECONDS

    @property
    def ping_is_due(self) -> bool:
        """Whether nothing was sent for long."""
        return time.monotonic() >= self._next_ping
