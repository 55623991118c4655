"""Tasks that a worker was lost with, one at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Lock

from taskflow.worker.attempt import Attempt, InFlight

PROBATION_SECONDS = 1.0


class Quarantine:
    """When a worker dies, one of its tasks may have killed it, and the others were merely there. So those with a loss
    run on probation: no second one begins in this process before the end of the one before is in the database, or it
    has run for a second without doing harm. The killer then dies alone, and what happens is charged to it and nobody
    else. To have ended is not enough: an end that was not written before the process died is a loss, and charged.
    """

    def __init__(self, in_flight: InFlight, run: Callable[[Attempt], None]) -> None:
        self._in_flight = in_flight
        self._run = run
        self._waiting: deque[Attempt] = deque()
        self._on_probation: Attempt | None = None
        self._lock = Lock()
        in_flight.when_written(self.pump)

    def admit(self, attempt: Attempt) -> None:
        """Run this one when its turn comes."""
        self._waiting.append(attempt)
        self.pump()

    def pump(self) -> None:
        """Let the next one begin if the one before allows it; to be called often, it is cheap while none waits."""
        while self._waiting:
            with self._lock:
                if not self._waiting or not self._harmless():
                    return
                self._on_probation = self._waiting.popleft()
            self._run(self._on_probation)

    def drain(self) -> list[Attempt]:
        """Take back what waits."""
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken

    def _harmless(self) -> bool:
        attempt = self._on_probation
        if attempt is None or not self._in_flight.owes(attempt):
            return True
        return attempt.started is not None and time.monotonic() - attempt.started > PROBATION_SECONDS
