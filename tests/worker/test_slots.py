"""The slots: who waits for one to become free must find that it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pytest

from taskflow.tasks.registry import Registry, task
from taskflow.worker.async_slots import AsyncSlots
from taskflow.worker.attempt import Attempt, InFlight
from taskflow.worker.ending import Endings
from taskflow.worker.pace import Pace
from taskflow.worker.slots import Slots
from taskflow.worker.thread_slots import ThreadSlots
from tests.worker.test_claiming_rules import claimed


@pytest.mark.parametrize("runner", [ThreadSlots, AsyncSlots])
def test_an_attempt_has_ended_when_its_slot_is_free(runner: Any) -> None:
    """Or the claimer, woken by a free slot, would find it taken, and wait a second for the next one."""
    registry = Registry()

    @task("noop", registry=registry)
    def function(payload: dict[str, Any]) -> None: ...

    @task("async", registry=registry)
    async def coroutine(payload: dict[str, Any]) -> None: ...

    endings: Endings = SimpleQueue()
    in_flight, seen = InFlight(), SimpleQueue[int]()
    slots = Slots(1, in_flight, endings, Pace(1, 0.0, 0), lambda attempt: True)
    slots.when_free(lambda: seen.put(len(in_flight)))
    handler: Any = coroutine if runner is AsyncSlots else function
    attempt = Attempt(claimed(1), handler, 1, 0.0, 60.0, None)  # type: ignore[arg-type]
    in_flight.add([attempt])
    running = runner(slots)
    running.submit([attempt])
    try:
        assert seen.get(timeout=20) == 0
    finally:
        running.close()


def test_a_thread_is_abandoned_for_no_longer_than_its_handler_runs() -> None:
    """Or one timeout, however long ago, would have the worker leave without its atexit."""
    registry, end = Registry(), threading.Event()

    @task("slow", registry=registry)
    def slow(payload: dict[str, Any]) -> None:
        end.wait(20)

    endings: Endings = SimpleQueue()
    in_flight = InFlight()
    slots = Slots(1, in_flight, endings, Pace(1, 0.0, 0), lambda attempt: True)
    attempt = Attempt(claimed(1), slow, 1, 0.0, 0.001, None)  # type: ignore[arg-type]
    in_flight.add([attempt])
    running = ThreadSlots(slots)
    running.submit([attempt])
    try:
        until(lambda: attempt.started is not None and time.monotonic() > attempt.deadline)
        running.expire()
        assert running.abandoned == 1
        end.set()
        until(lambda: running.abandoned == 0)
    finally:
        end.set()
        running.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, and fail if it does not within 20 s."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.001)
