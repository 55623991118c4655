"""The order of what is told about one task, whoever tells of it first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from taskflow.tasks.task import FINISHED_STATES

MAX_KNOWN = 50_000
SUBMITTED, FAILED = "task.submitted", "task.failed"


class InOrder:
    """What operators do and new tasks are found by looking (see watcher.py), and a worker may be quicker.

    Of a task that starts for the first time and that nobody has told of, it is said first that it was submitted; and of
    one that has ended and starts once more as well. What is found later is dropped then, and so is all else of an
    attempt before the one that was told of last, but for failures. It is known of the last `MAX_KNOWN` tasks.

    `top` and `gaps` are what the watcher says of how far it has come: of tasks with ids up to `top` it has told, except
    those in the gaps, which may be rolled back or still to be committed.
    """

    def __init__(self, top: int) -> None:
        self.top = top
        self.gaps: list[tuple[int, int]] = []
        self._early: dict[int, None] = {}
        self._last: dict[int, tuple[int, bool]] = {}  # attempts, and whether it has ended

    def arrange(self, events: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The same events in this order, each with its place in the batch."""
        for place, event in enumerate(events):
            if event["type"].startswith("task."):
                task_id, attempts = int(event["data"]["task_id"]), event["data"]["attempts"]
                if self._is_late(event["type"], task_id, attempts):
                    continue
                if self._needs_submission(event["type"], task_id, attempts):
                    yield f"{place}s", _submission(event)
                self._know(task_id, attempts, ended=event["data"]["state"] in FINISHED_STATES)
            yield str(place), event

    def _is_late(self, type_: str, task_id: int, attempts: int) -> bool:
        if type_ == SUBMITTED and attempts == 0 and task_id in self._early:
            del self._early[task_id]
            return True
        return type_ != FAILED and task_id in self._last and attempts < self._last[task_id][0]

    def _needs_submission(self, type_: str, task_id: int, attempts: int) -> bool:
        if type_ == SUBMITTED or attempts == 0:
            return False
        if attempts == 1 and self._is_new(task_id):
            self._early[task_id] = None
            _forget_oldest(self._early)
            return True
        return self._last.get(task_id) == (attempts - 1, True)

    def _know(self, task_id: int, attempts: int, *, ended: bool) -> None:
        before, _ = self._last.pop(task_id, (0, False))
        self._last[task_id] = (max(before, attempts), ended)
        _forget_oldest(self._last)

    def advance(self, top: int, gaps: Sequence[Sequence[int]]) -> None:
        """The watcher has told of what it found up to here."""
        self.top = top
        self.gaps = [(low, high) for low, high in gaps]

    def _is_new(self, task_id: int) -> bool:
        told = task_id <= self.top and not any(low <= task_id <= high for low, high in self.gaps)
        return not told and task_id not in self._early


def _forget_oldest(known: dict[int, Any]) -> None:
    if len(known) > MAX_KNOWN:
        del known[next(iter(known))]


def _submission(event: dict[str, Any]) -> dict[str, Any]:
    data = event["data"]
    told = {name: data[name] for name in ("task_id", "type", "queue", "priority")}
    return {
        "type": SUBMITTED,
        "timestamp": event["timestamp"],
        "data": told | {"state": "pending", "attempts": data["attempts"] - 1},
    }
