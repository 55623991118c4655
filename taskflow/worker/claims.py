"""Claims from several queues: each in its turn, and with its limits."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import psycopg

from taskflow.store import tasks
from taskflow.store.connection import repeat_on_conflict
from taskflow.store.queues import QueueSettings
from taskflow.tasks.task import ClaimedTask
from taskflow.worker.frontier import Frontier
from taskflow.worker.turns import Turn, Turns

FULL_LOOK_SECONDS = 0.02
"""Between two looks of a busy worker at a queue whose `max_workers` run."""
FULL_WAIT_SECONDS = 1.0
"""The same of a worker that sleeps: it is woken when there is room."""

Connection = psycopg.Connection[tuple[Any, ...]]


class Claims:
    """What one claimer knows of queues that it claims from. `types`: an array literal of those that it can run."""

    def __init__(self, types: str, *, asynchronous: bool) -> None:
        self._types = types
        self._options = {"commit": "async"} if asynchronous else {}
        self._turns = Turns()
        self.frontier = Frontier()
        self.limited: frozenset[str] = frozenset()  # the queues with a limit
        self._floors: dict[str, int] = {}
        self._held: dict[str, tuple[float, bool]] = {}  # until then, and whether as many run as may
        self._room: dict[str, int | None] = {}

    def learn(self, settings: Mapping[str, QueueSettings]) -> None:
        """The settings of the queues that have any."""
        self._turns.learn(settings)
        self.limited = frozenset(name for name, queue in settings.items() if queue.limited)
        remembered: tuple[dict[str, Any], ...] = (self._floors, self._held, self._room)
        for known in remembered:
            for name in known.keys() - self.limited:
                known.pop(name)

    def claim(
        self, connection: Connection, worker_id: int, queues: Sequence[str], *, wanted: int, free: int, sweep: bool
    ) -> list[ClaimedTask]:
        """Claim up to `wanted` tasks, in the order in which they are to run. `free`: for how many of them there are
        slots; a queue gives no more than that where a limit of it is near."""
        turns = self._turns.plan(queues, wanted)
        began = time.monotonic()
        claimed: list[ClaimedTask] = []
        for limited, group in groupby(turns, lambda turn: turn.queue in self.limited):
            if len(claimed) >= wanted:
                break
            if limited:
                self._from_limited(connection, worker_id, list(group), claimed, wanted, free, sweep)
            else:
                self._from_others(connection, worker_id, list(group), claimed, wanted, sweep)
        self.frontier.took(time.monotonic() - began, sweep=sweep)
        if claimed:
            order: dict[str, int] = {}
            for turn in turns:
                order.setdefault(turn.queue, len(order))
            claimed.sort(key=lambda task: (order[task.queue], -task.priority, task.run_at, task.id))
            self.frontier.advance(claimed)
            if len(turns) > 1:
                self._turns.took(turns, Counter(task.queue for task in claimed))
        return claimed

    def held_seconds(self, queue: str) -> float:
        """For how long a limit holds the tasks of this queue back; 0: none does."""
        until, full = self._held.get(queue, (0.0, False))
        return FULL_WAIT_SECONDS if full else max(0.0, until - time.monotonic())

    def look_again(self, queues: Iterable[str]) -> None:
        """Tasks of these queues have ended: the next claim may find room."""
        for name in queues:
            self._held.pop(name, None)
            self._room.pop(name, None)

    def has_room(self, queue: str) -> bool:
        """Whether there may be room for more at the limit of this queue, since it was last looked at."""
        return self._room.get(queue) != 0

    def _from_others(
        self,
        connection: Connection,
        worker_id: int,
        turns: Sequence[Turn],
        claimed: list[ClaimedTask],
        wanted: int,
        sweep: bool,
    ) -> None:
        names = [turn.queue for turn in turns]
        most = [turn.most for turn in turns]
        options = self._options if most.count(None) == len(most) else {**self._options, "most": most}
        bounds = self.frontier.bounds(names, sweep=sweep)
        claimed += repeat_on_conflict(
            lambda: tasks.claim(
                connection, worker_id, names, self._types, wanted - len(claimed), bounds, options=json.dumps(options)
            )
        )

    def _from_limited(
        self,
        connection: Connection,
        worker_id: int,
        turns: Sequence[Turn],
        claimed: list[ClaimedTask],
        wanted: int,
        free: int,
        sweep: bool,
    ) -> None:
        exhausted: set[str] = set()
        for name, most in turns:
            held = not sweep and self._held.get(name, (0.0, False))[0] > time.monotonic()
            left = wanted - len(claimed)
            if left <= 0 or held or name in exhausted:
                continue
            asked = left if most is None else min(left, most)
            answer = repeat_on_conflict(
                lambda: tasks.claim_limited(
                    connection,
                    worker_id,
                    name,  # noqa: B023
                    self._types,
                    free=max(0, min(asked, free - len(claimed))),  # noqa: B023
                    wanted=asked,  # noqa: B023
                    frontier=self.frontier.bounds([name], sweep=sweep),  # noqa: B023
                    floor=self._floors.get(name, 0),  # noqa: B023
                    options=json.dumps(self._options),
                )
            )
            self._floors[name], self._room[name] = answer.floor, answer.room
            if len(answer.tasks) < asked:
                exhausted.add(name)
            if math.isinf(answer.held_seconds):
                self._held[name] = time.monotonic() + FULL_LOOK_SECONDS, True
            elif answer.held_seconds > 0:
                self._held[name] = time.monotonic() + answer.held_seconds, False
            else:
                self._held.pop(name, None)
            claimed += answer.tasks
