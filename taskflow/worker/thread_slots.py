"""Handlers that are plain functions: each runs in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue

from taskflow.tasks.outcome import TimedOut
from taskflow.worker.attempt import Attempt
from taskflow.worker.ending import ending
from taskflow.worker.executor import run_sync
from taskflow.worker.slots import Slots, take_all


class ThreadSlots:
    """Up to as many threads as there are slots, started when they are first needed.

    A thread cannot be killed. When its handler overruns its timeout, the attempt is recorded as timed out and another
    thread takes its place; what the handler brings later is dropped, and the thread ends then.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._waiting: SimpleQueue[Attempt | None] = SimpleQueue()
        self._threads = 0
        self._lock = threading.Lock()
        self.abandoned = 0  # threads that still run what was abandoned

    def submit(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._waiting.put(attempt)
        with self._lock:
            missing = min(self._slots.size, self._threads + len(attempts)) - self._threads
            for _ in range(missing):
                self._start_thread()

    def drain(self) -> list[Attempt]:
        return take_all(self._waiting)

    def close(self) -> None:
        for _ in range(self._threads):
            self._waiting.put(None)

    def expire(self) -> None:
        """End what has overrun its timeout; to be called about ten times a second."""
        now = time.monotonic()
        for attempt in self._slots.in_flight.started():
            if now > attempt.deadline and not attempt.handler.is_async and attempt.handler.isolation == "thread":
                self._abandon(attempt, now)

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name=f"slot-{self._threads}", daemon=True).start()

    def _work(self) -> None:
        slots, get, put, settle = self._slots, self._waiting.get, self._slots.endings.put, self._slots.in_flight.settle
        while (attempt := get()) is not None:
            slots.take()
            if slots.start(attempt):
                outcome = run_sync(attempt)
                slots.observe(attempt)
                if not settle(attempt):
                    if attempt.stop is not None:  # abandoned: another thread has the slot
                        with self._lock:
                            self.abandoned -= 1
                        return
                else:
                    put(ending(attempt, outcome))
            del attempt  # or it lives on, with its payload, until the next one comes
            slots.give()

    def _abandon(self, attempt: Attempt, now: float) -> None:
        attempt.stop = _nothing  # before the settling: the slot's thread reads it after losing that
        if not self._slots.in_flight.settle(attempt):
            attempt.stop = None
            return
        attempt.cancel_requested = True  # so that a handler that asks context.cancelled can stop
        ran = now - (attempt.started or now)
        message = (
            f"the handler ran for {ran:.1f} s, longer than its timeout; its thread cannot be killed and may still be "
            "running: check context.cancelled, or use isolation='process'"
        )
        self._slots.endings.put(ending(attempt, TimedOut(message)))
        with self._lock:
            self.abandoned += 1
            self._threads -= 1  # it does not count among those that can take what comes next
            self._start_thread()
        self._slots.give()


def _nothing() -> None:
    """Marks an attempt as abandoned."""
