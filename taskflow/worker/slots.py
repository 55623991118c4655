"""The slots of a process: at most `concurrency` handlers at once, whatever kind they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Protocol

from taskflow.tasks.outcome import Cancelled
from taskflow.worker.attempt import Attempt, InFlight
from taskflow.worker.ending import Endings, ending
from taskflow.worker.pace import Pace


class Runner(Protocol):
    """Runs one kind of handler: in threads, in the event loop, or in processes of their own."""

    def submit(self, attempts: Sequence[Attempt]) -> None:
        """Run these when there is a slot; in order."""

    def drain(self) -> list[Attempt]:
        """Take back what has not started."""

    def close(self) -> None:
        """Run nothing more; what runs is not waited for."""


class Slots:
    """The permits that runners share, and what every runner does at the start and the end of an attempt.

    A permit is a token in a queue: taking one and giving it back costs 100 ns, a semaphore ten times that.
    """

    def __init__(
        self,
        size: int,
        in_flight: InFlight,
        endings: Endings,
        pace: Pace,
        mark_started: Callable[[Attempt], bool],
    ) -> None:
        self.size = size
        self.in_flight = in_flight
        self.endings = endings
        self.pace = pace
        self.mark_started = mark_started
        self.last_start = time.monotonic()
        self._tokens: SimpleQueue[None] = SimpleQueue()
        for _ in range(size):
            self._tokens.put(None)
        self._on_free: list[Callable[[], None]] = []
        self.tell_start: Callable[[Attempt], None] | None = None  # set while somebody listens for starts

    @property
    def free(self) -> int:
        """How many permits are free at this moment."""
        return self._tokens.qsize()

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call this, cheaply and from any thread, whenever a permit has become free."""
        self._on_free.append(callback)

    def take(self) -> None:
        """Take a permit, waiting for one."""
        self._tokens.get()

    def try_take(self) -> bool:
        """Take a permit if there is one."""
        try:
            self._tokens.get_nowait()
        except Empty:
            return False
        return True

    def give(self) -> None:
        """Give a permit back."""
        self._tokens.put(None)
        for callback in self._on_free:
            callback()

    def start(self, attempt: Attempt) -> bool:
        """The attempt begins, unless it was cancelled or lost while it waited: then it has ended here.

        A task that a worker was lost with is recorded as started before its handler runs: this waits for the database
        then. Should it take its worker along again, that is known and charged to it.
        """
        if attempt.cancel_requested:
            if self.in_flight.settle(attempt):
                self.endings.put(ending(attempt, Cancelled("cancelled before it started")))
            return False
        if attempt.task.losses and not self._started_for_sure(attempt):
            return False
        self.last_start = attempt.start()  # not before: the wait is not the handler's time
        if (tell := self.tell_start) is not None:
            tell(attempt)
        return True

    def _started_for_sure(self, attempt: Attempt) -> bool:
        if not self.mark_started(attempt):
            if self.in_flight.settle(attempt):
                self.in_flight.written([attempt])
            return False
        return self.in_flight.holds(attempt)  # or it was ended while it waited

    def observe(self, attempt: Attempt) -> None:
        """The handler has returned or raised."""
        if (started := attempt.started) is not None:
            self.pace.observe(time.monotonic() - started)


def take_all(waiting: SimpleQueue[Attempt | None]) -> list[Attempt]:
    """Everything that waits for a slot; a None among them only woke somebody."""
    taken: list[Attempt] = []
    while True:
        try:
            attempt = waiting.get_nowait()
        except Empty:
            return taken
        if attempt is not None:
            taken.append(attempt)
