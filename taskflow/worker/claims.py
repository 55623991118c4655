"""Claims from several queues: each in its turn, and with its limits."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any

import psycopg

from taskflow.store import tasks
from taskflow.store.connection import repeat_on_conflict
from taskflow.store.queues import QueueSettings
from taskflow.store.tasks import LimitedClaim
from taskflow.tasks.task import ClaimedTask
from taskflow.worker.frontier import Frontier
from taskflow.worker.turns import Turn, Turns

FULL_LOOK_SECONDS = 0.02
"""Between two looks of a busy worker at a queue whose `max_workers` run."""
FULL_WAIT_SECONDS = 1.0
"""The same of a worker that sleeps: it is woken when there is room."""

_by_time = attrgetter("run_at", "id")
_by_priority = attrgetter("priority")

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(slots=True)
class _Look:
    """One claim under way."""

    connection: Connection
    worker_id: int
    wanted: int
    free: int
    sweep: bool
    claimed: list[ClaimedTask] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.wanted - len(self.claimed)


class Claims:
    """What one claimer knows of queues that it claims from. `types`: an array literal of those that it can run."""

    def __init__(self, types: str, *, asynchronous: bool) -> None:
        self._types = types
        self._options = {"commit": "async"} if asynchronous else {}
        self._turns = Turns()
        self.frontier = Frontier()
        self.limited: frozenset[str] = frozenset()  # the queues with a limit
        self._floors: dict[str, int] = {}
        self._held: dict[str, float] = {}  # until then
        self._room: dict[str, int | None] = {}  # 0: as many run as may

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
        look = _Look(connection, worker_id, wanted, free, sweep)
        for limited, group in groupby(turns, lambda turn: turn.queue in self.limited):
            if look.left <= 0:
                break
            if limited:
                self._from_limited(look, group)
            else:
                self._from_others(look, list(group))
        claimed = look.claimed
        self.frontier.took(time.monotonic() - began, sweep=sweep)
        if claimed:
            order: dict[str, int] = {}
            for turn in turns:
                order.setdefault(turn.queue, len(order))
            claimed.sort(key=_by_time)  # each sort keeps the order of the one before
            claimed.sort(key=_by_priority, reverse=True)
            if len(order) > 1:
                claimed.sort(key=lambda task: order[task.queue])
            self.frontier.advance(claimed)
            if len(turns) > 1:
                self._turns.took(turns, Counter(task.queue for task in claimed))
        return claimed

    def forget_floors(self) -> None:
        """Another server may answer from now on, on which claims are numbered otherwise: one that was restored."""
        self._floors.clear()

    def held_seconds(self, queue: str) -> float:
        """For how long a limit holds the tasks of this queue back; 0: none does."""
        if queue in self._held and self._room.get(queue) == 0:
            return FULL_WAIT_SECONDS
        return max(0.0, self._held.get(queue, 0.0) - time.monotonic())

    def look_again(self, queues: Iterable[str]) -> None:
        """Tasks of these queues have ended: the next claim may find room."""
        for name in queues:
            self._held.pop(name, None)
            self._room.pop(name, None)

    def has_room(self, queue: str) -> bool:
        """Whether there may be room for more at the limit of this queue, since it was last looked at."""
        return self._room.get(queue) != 0

    def _from_others(self, look: _Look, turns: Sequence[Turn]) -> None:
        names = [turn.queue for turn in turns]
        most = [turn.most for turn in turns]
        options = self._options if most.count(None) == len(most) else {**self._options, "most": most}
        bounds = self.frontier.bounds(names, sweep=look.sweep)
        look.claimed += repeat_on_conflict(
            lambda: tasks.claim(
                look.connection, look.worker_id, names, self._types, look.left, bounds, options=json.dumps(options)
            )
        )

    def _from_limited(self, look: _Look, turns: Iterable[Turn]) -> None:
        exhausted: set[str] = set()
        for name, most in turns:
            held = not look.sweep and self._held.get(name, 0.0) > time.monotonic()
            if look.left <= 0 or held or name in exhausted:
                continue
            asked = look.left if most is None else min(look.left, most)
            answer = self._claim_limited(look, name, asked)
            look.claimed += answer.tasks
            self._floors[name], self._room[name] = answer.floor, answer.room
            if len(answer.tasks) < asked:
                exhausted.add(name)
            if answer.held_seconds > 0:
                pause = FULL_LOOK_SECONDS if math.isinf(answer.held_seconds) else answer.held_seconds
                self._held[name] = time.monotonic() + pause
            else:
                self._held.pop(name, None)

    def _claim_limited(self, look: _Look, name: str, wanted: int) -> LimitedClaim:
        return repeat_on_conflict(
            lambda: tasks.claim_limited(
                look.connection,
                look.worker_id,
                name,
                self._types,
                free=max(0, min(wanted, look.free - len(look.claimed))),
                wanted=wanted,
                frontier=self.frontier.bounds([name], sweep=look.sweep),
                floor=self._floors.get(name, 0),
                options=json.dumps(self._options),
            )
        )
