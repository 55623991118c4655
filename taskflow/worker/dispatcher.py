"""Brings claimed tasks to the runner of their kind, and takes back what has not started."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from taskflow.store.queues import QueueSettings
from taskflow.tasks.handler import AnyHandler
from taskflow.tasks.registry import Registry
from taskflow.tasks.task import ClaimedTask
from taskflow.worker.async_slots import AsyncSlots
from taskflow.worker.attempt import Attempt
from taskflow.worker.connections import HandlerConnections
from taskflow.worker.process_slots import ProcessSlots
from taskflow.worker.quarantine import Quarantine
from taskflow.worker.slots import Runner, Slots
from taskflow.worker.thread_slots import ThreadSlots

QUEUE_DEFAULTS = QueueSettings("")


class Dispatcher:
    """Owns the three runners. `queues` are the settings of queues, for what neither task nor type says."""

    def __init__(
        self, slots: Slots, registry: Registry, connections: HandlerConnections, environment: dict[str, str]
    ) -> None:
        self._slots = slots
        self._connections = connections
        self._handlers: Mapping[str, AnyHandler] = {handler.type: handler for handler in registry}
        self._threads = ThreadSlots(slots)
        self._loop = AsyncSlots(slots)
        self._processes = ProcessSlots(slots, environment)
        self._quarantine = Quarantine(slots.in_flight, lambda attempt: self._submit([attempt]))
        self._last_claim = float("-inf")
        self.queues: Mapping[str, QueueSettings] = {}

    @property
    def abandoned_threads(self) -> int:
        """How many threads still run handlers that have overrun their timeout."""
        return self._threads.abandoned

    def dispatch(self, tasks: Sequence[ClaimedTask], worker_id: int, claimed: float) -> None:
        """Run these, in order, as slots become free."""
        self._last_claim = claimed
        attempts = self._attempts(tasks, worker_id, claimed)
        self._slots.in_flight.add(attempts)
        harmless = [attempt for attempt in attempts if not attempt.task.losses]
        if len(harmless) < len(attempts):
            for attempt in attempts:
                if attempt.task.losses:
                    self._quarantine.admit(attempt)
        self._submit(harmless)

    def tick(self) -> None:
        """What must happen by the clock: overrun timeouts, the end of a probation. About ten times a second."""
        self._threads.expire()
        self._loop.expire()
        self._quarantine.pump()

    def take_back(self, *, from_slots: bool) -> list[Attempt]:
        """What has not started and now will not: settled, to be given back to the queue. `from_slots`: not only what
        waits for a slot, but also what has one and waits for its process to get ready."""
        waiting = self._quarantine.drain()
        if from_slots:
            waiting += self._processes.take_unstarted()
        for runner in self._runners():
            waiting += runner.drain()
        return [attempt for attempt in waiting if self._slots.in_flight.settle(attempt)]

    def waiting_since_seconds(self) -> float:
        """How long ago the last handler began or the last task came: for so long at least has waited what waits."""
        return time.monotonic() - max(self._slots.last_start, self._last_claim)

    def close(self) -> None:
        """Start nothing more."""
        for runner in self._runners():
            runner.close()

    def _runners(self) -> tuple[Runner, ...]:
        return (self._threads, self._loop, self._processes)

    def _attempts(self, tasks: Sequence[ClaimedTask], worker_id: int, claimed: float) -> list[Attempt]:
        handlers, queues, connections = self._handlers, self.queues, self._connections
        attempts = []
        for task in tasks:
            handler = handlers[task.type]
            timeout = timeout_seconds(task, handler, queues)
            attempts.append(Attempt(task, handler, worker_id, claimed, timeout, connections))
        return attempts

    def _submit(self, attempts: Sequence[Attempt]) -> None:
        threads: list[Attempt] = []
        loop: list[Attempt] = []
        processes: list[Attempt] = []
        for attempt in attempts:
            handler = attempt.handler
            (loop if handler.is_async else threads if handler.isolation == "thread" else processes).append(attempt)
        if threads:
            self._threads.submit(threads)
        if loop:
            self._loop.submit(loop)
        if processes:
            self._processes.submit(processes)


def timeout_seconds(task: ClaimedTask, handler: AnyHandler, queues: Mapping[str, QueueSettings]) -> float:
    """How long an attempt of a task may run: as the task says, else its handler, else its queue."""
    return task.timeout or handler.timeout or queues.get(task.queue, QUEUE_DEFAULTS).timeout_seconds
