"""Handlers that are `async def`: all in one event loop, in a thread beside the others."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence

from taskflow.tasks.outcome import TimedOut
from taskflow.telemetry import get_logger
from taskflow.worker.attempt import Attempt
from taskflow.worker.ending import ending
from taskflow.worker.executor import run_async
from taskflow.worker.slots import Slots

GRACE_SECONDS = 5.0
"""From the cancellation of a handler that has overrun its timeout to its end."""


class AsyncSlots:
    """An event loop that runs as many coroutines as there are permits. The loop starts with the first attempt."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._waiting: deque[Attempt] = deque()
        self._abandoned: set[Attempt] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._log = get_logger("event-loop")
        slots.when_free(self._permit_free)

    def submit(self, attempts: Sequence[Attempt]) -> None:
        self._waiting.extend(attempts)
        self._started_loop().call_soon_threadsafe(self._pump)

    def drain(self) -> list[Attempt]:
        taken = []
        while True:
            try:
                taken.append(self._waiting.popleft())
            except IndexError:
                return taken

    def close(self) -> None:
        self._closed = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._run_loop, args=(self._loop,), name="event-loop", daemon=True).start()
            return self._loop

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._closed:
            try:
                loop.run_forever()
            except BaseException:  # noqa: BLE001  (SystemExit in a task that a handler has started: it ends nobody else)
                self._log.exception("event_loop_interrupted")

    def expire(self) -> None:
        """End what was cancelled for its timeout and runs on regardless; to be called about ten times a second."""
        overdue = time.monotonic() - GRACE_SECONDS
        for attempt in self._slots.in_flight.started():
            if attempt.handler.is_async and attempt.deadline < overdue:
                self._abandon(attempt)

    def _abandon(self, attempt: Attempt) -> None:
        self._abandoned.add(attempt)  # before the settling: the coroutine looks there after losing that
        if not self._slots.in_flight.settle(attempt):
            self._abandoned.discard(attempt)
            return
        message = (
            "the handler ran longer than its timeout and did not end when it was cancelled; it may still be running: "
            "it must not swallow CancelledError, nor block the event loop"
        )
        self._slots.endings.put(ending(attempt, TimedOut(message)))
        self._slots.give()

    def _permit_free(self) -> None:
        if self._waiting and self._loop is not None:
            self._loop.call_soon_threadsafe(self._pump)

    def _pump(self) -> None:
        """Start what waits while there are permits; in the loop's thread."""
        while self._waiting and self._slots.try_take():
            try:
                attempt = self._waiting.popleft()
            except IndexError:  # drained in between
                self._slots.give()
                return
            task = asyncio.get_running_loop().create_task(self._start(attempt))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _start(self, attempt: Attempt) -> None:
        # With a loss it waits for the database, and an outage of that must not stop the loop.
        waits = attempt.task.losses > 0
        if await asyncio.to_thread(self._slots.start, attempt) if waits else self._slots.start(attempt):
            await self._run(attempt)
        else:
            self._slots.give()

    async def _run(self, attempt: Attempt) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        assert attempt.started is not None

        def stop() -> None:
            loop.call_soon_threadsafe(task.cancel)

        attempt.stop = stop
        if attempt.cancel_requested:  # between its start and now
            stop()
        outcome = await run_async(attempt)
        self._slots.observe(attempt)
        if self._slots.in_flight.settle(attempt):
            self._slots.endings.put(ending(attempt, outcome))
        elif attempt in self._abandoned:  # its permit has been given already
            self._abandoned.discard(attempt)
            return
        self._slots.give()
