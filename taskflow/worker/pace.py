"""How much to prefetch: bounded by time, not by number."""

from __future__ import annotations

SMOOTHING = 0.05


class Pace:
    """The moving average of what handlers take, and from it how many tasks are worth holding ready.

    Slow handlers prefetch nothing: what waits here could be running elsewhere. `observe` is called without a lock from
    many threads; a lost update costs nothing but precision.
    """

    def __init__(self, slots: int, prefetch_seconds: float, limit: int) -> None:
        self._slots = slots
        self._prefetch_seconds = prefetch_seconds
        self._limit = limit
        self._average: float | None = None

    def observe(self, seconds: float) -> None:
        """A handler took this long."""
        average = self._average
        self._average = seconds if average is None else average + SMOOTHING * (seconds - average)

    def prefetch(self) -> int:
        """How many tasks to hold beyond the slots; 0 before anything is known."""
        if self._average is None:
            return 0
        return min(self._limit, int(self._prefetch_seconds * self._slots / max(self._average, 1e-6)))
