"""How often a client may ask: GCRA, the leaky bucket that keeps one time a client (ITU-T I.371), in memory.

What it promises: in any T seconds at most RATE x (T + 1) requests of a client are let through, by all processes of one
server together, and a client that asks evenly RATE times a second is never refused. Further servers count for
themselves.

The time kept is when the client's bucket will be empty. One in the past is as good as none, so the table cleans itself:
it has a fixed size, in memory that the processes of a server share since before they were forked, and an address flood
makes it no larger. Without a lock between processes: two that count the same client in the same microsecond may count
one, which lets a request through and refuses none.
"""

from __future__ import annotations

import mmap
import threading
import time
from typing import NamedTuple

from flask import Response, g

from taskflow.web.http.problems import Problem

SLOTS = 65_536  # clients known at once; 16 bytes each
WAYS = 8  # slots among which one client's is
TAG_BITS = 2**63 - 1
ROUNDING = 1e-9  # seconds that adding up fractions may gain or lose


class Allowance(NamedTuple):
    """What a client has left: requests at once, and seconds until it has all of them again."""

    remaining: int
    reset_seconds: float
    retry_after_seconds: float  # 0: this request was within the limit


class RateLimit:
    """At most `rate` requests a second of one client, and as many at once; 0: no limit.

    Made before the processes are forked, it counts for all of them together.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        if rate:
            self._interval = 1 / rate
            self._burst = max(1.0, rate) * self._interval  # seconds by which a client may be ahead
            self._lock = threading.Lock()
            table = memoryview(mmap.mmap(-1, SLOTS * 16))
            self._tags = table[: SLOTS * 8].cast("q")
            self._times = table[SLOTS * 8 :].cast("d")
            self._policy = f'"default";q={max(1, int(rate))};w={max(1, round(self._burst))}'

    def __call__(self, client: str) -> None:
        """Count the request under way for `client`. Raises `Problem` 429 if it is one too many."""
        if self._rate:
            self._let_through(self.count(client))

    def check(self, client: str) -> None:
        """Raises `Problem` 429 if a request of `client` would be one too many; counts none."""
        if self._rate:
            self._let_through(self.count(client, only_look=True))

    def count(self, client: str, *, only_look: bool = False) -> Allowance:
        """Count a request, unless it is one too many; `only_look`: say what would come of that."""
        tag = hash(client) & TAG_BITS or 1  # 0 is an empty slot
        now = time.monotonic()
        with self._lock:
            slot = self._slot(tag, now)
            empty_at = max(now, self._times[slot]) + self._interval
            ahead = empty_at - now
            allowed = ahead <= self._burst + ROUNDING
            if allowed and not only_look:
                self._tags[slot] = tag
                self._times[slot] = empty_at
        if not allowed:
            return Allowance(0, ahead - self._interval, ahead - self._burst)
        return Allowance(int((self._burst - ahead) * self._rate + 1e-6), ahead, 0)

    def headers(self, response: Response) -> Response:
        """Say in an answer what the client has left (draft-ietf-httpapi-ratelimit-headers)."""
        allowance: Allowance | None = g.get("allowance")
        if allowance is not None:
            response.headers["RateLimit-Policy"] = self._policy
            seconds = -int(-(allowance.reset_seconds - ROUNDING) // 1)
            response.headers["RateLimit"] = f'"default";r={allowance.remaining};t={seconds}'
        return response

    def _let_through(self, allowance: Allowance) -> None:
        g.allowance = allowance
        if allowance.retry_after_seconds:
            seconds = max(1, -int(-allowance.retry_after_seconds // 1))
            raise Problem(
                "rate_limited",
                f"More than {self._rate:g} requests a second; this one was not looked at. Try again in"
                f" {allowance.retry_after_seconds:.3f} seconds.",
                headers={"Retry-After": str(seconds)},
            )

    def _slot(self, tag: int, now: float) -> int:
        """The client's slot; else one whose bucket is empty; else, where the table is flooded, that of another client,
        whose bucket it then shares."""
        first = tag % (SLOTS // WAYS) * WAYS
        free = None
        for slot in range(first, first + WAYS):
            if self._tags[slot] == tag:
                return slot
            if free is None and self._times[slot] <= now:
                free = slot
        return free if free is not None else first + tag // SLOTS % WAYS
