"""The order of what is told about one task: it is submitted before it starts, whoever tells of it first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

MAX_EARLY = 50_000
SUBMITTED = "task.submitted"


class SubmittedFirst:
    """New tasks are found by looking (see watcher.py), and a worker may be quicker: of a task that starts for the first
    time and that nobody has told of, it is said first that it was submitted. What is found later is dropped then.

    `top` and `gaps` are what the watcher says of how far it has come: of tasks with ids up to `top` it has told, except
    those in the gaps, which may be rolled back or still to be committed.
    """

    def __init__(self, top: int) -> None:
        self.top = top
        self.gaps: list[tuple[int, int]] = []
        self._early: dict[int, None] = {}

    def arrange(self, events: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The same events in this order, each with its place in the batch."""
        for place, event in enumerate(events):
            data = event["data"]
            if event["type"] == SUBMITTED:
                if data["attempts"] == 0 and int(data["task_id"]) in self._early:
                    del self._early[int(data["task_id"])]
                    continue
            elif event["type"].startswith("task.") and data["attempts"] == 1 and self._is_new(int(data["task_id"])):
                yield f"{place}s", self._submission(event)
            yield str(place), event

    def advance(self, top: int, gaps: Sequence[Sequence[int]]) -> None:
        """The watcher has told of what it found up to here."""
        self.top = top
        self.gaps = [(low, high) for low, high in gaps]

    def _is_new(self, task_id: int) -> bool:
        told = task_id <= self.top and not any(low <= task_id <= high for low, high in self.gaps)
        return not told and task_id not in self._early

    def _submission(self, event: dict[str, Any]) -> dict[str, Any]:
        data = event["data"]
        self._early[int(data["task_id"])] = None
        if len(self._early) > MAX_EARLY:
            del self._early[next(iter(self._early))]
        told = {name: data[name] for name in ("task_id", "type", "queue", "priority")}
        return {
            "type": SUBMITTED,
            "timestamp": event["timestamp"],
            "data": told | {"state": "pending", "attempts": 0},
        }
