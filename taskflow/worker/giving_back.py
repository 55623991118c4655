"""Giving back what was claimed and has not started."""

from __future__ import annotations

from taskflow.store import tasks
from taskflow.worker.completer import Completer
from taskflow.worker.dispatcher import Dispatcher
from taskflow.worker.slots import Slots


def release(
    completer: Completer,
    slots: Slots,
    dispatcher: Dispatcher,
    timeout: float | None = None,
    *,
    from_slots: bool = True,
) -> int:
    """Give back what has not started, and wait until the database has it; returns how many tasks that were.

    `from_slots` False: only what waits for a slot, not what has one and waits for its process to get ready.
    Raises TimeoutError if the database has not answered within `timeout` seconds.
    """
    attempts = dispatcher.take_back(from_slots=from_slots)
    try:
        for worker_id in {attempt.worker_id for attempt in attempts}:
            rows = [(a.task.id, a.task.attempt) for a in attempts if a.worker_id == worker_id]
            completer.ask(lambda connection: tasks.release(connection, worker_id, rows)).result(timeout)  # noqa: B023
    finally:  # also when it failed: then the id is retired soon, and what nobody here knows of is given back
        slots.in_flight.written(attempts)
    return len(attempts)
