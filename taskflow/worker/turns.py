"""Which queues to claim from, in what order, and how much from each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from taskflow.store.queues import QueueSettings

CHUNKS = 16
"""A claim of hundreds is not made of more portions than this: each is a statement's work of its own."""


class Turn(NamedTuple):
    """Claim from this queue, at most so many; None: as many as there is room for."""

    queue: str
    most: int | None


class Turns:
    """Queues with a higher priority come first. Among equals each gets a share by its weight, by stride scheduling
    (Waldspurger and Weihl, 1995): whose pass is lowest is next, and what it takes, by its weight, is added to its pass.
    What a queue could not fill is anybody's, so no slot stays idle while one of them has work.
    """

    def __init__(self) -> None:
        self._settings: Mapping[str, QueueSettings] = {}
        self._passes: dict[str, float] = {}

    def learn(self, settings: Mapping[str, QueueSettings]) -> None:
        """The settings of the queues that have any."""
        self._settings = settings
        self._passes = {name: passed for name, passed in self._passes.items() if name in settings}

    def plan(self, queues: Sequence[str], wanted: int) -> list[Turn]:
        """The turns of a claim of `wanted` tasks."""
        if len(queues) < 2:
            return [Turn(queue, None) for queue in queues]
        names = list(queues)
        random.shuffle(names)  # or all workers would begin with the same
        names.sort(key=lambda name: (-self._priority(name), self._passes.get(name, 0.0)))
        turns: list[Turn] = []
        for _, group in groupby(names, self._priority):
            equals = list(group)
            if len(equals) > 1:
                turns += self._shares(equals, wanted)
            turns += [Turn(name, None) for name in equals]
        return turns

    def took(self, turns: Sequence[Turn], claimed: Mapping[str, int]) -> None:
        """What a claim with these turns has brought from each queue."""
        if len(turns) < 2 or not claimed:
            return
        asked: Counter[str] = Counter()
        for turn in turns:
            asked[turn.queue] += turn.most or 0
        for name, count in claimed.items():
            self._passes[name] = self._passes.get(name, 0.0) + count / self._weight(name)
        # A queue without work saves nothing up for later, nor does one that is new.
        short = [name for name, most in asked.items() if claimed.get(name, 0) < most]
        others = [self._passes[name] for name in claimed if name not in short]
        level = min(others) if others else max(self._passes[name] for name in claimed)
        for name in short:
            self._passes[name] = max(self._passes.get(name, 0.0), level)

    def _shares(self, equals: Sequence[str], wanted: int) -> list[Turn]:
        chunk = max(1, wanted // CHUNKS)
        passes = {name: self._passes.get(name, 0.0) for name in equals}
        shares: Counter[str] = Counter()
        for _ in range(-(-wanted // chunk)):
            name = min(passes, key=passes.__getitem__)
            shares[name] += chunk
            passes[name] += chunk / self._weight(name)
        return [Turn(name, share) for name, share in shares.items()]

    def _priority(self, name: str) -> int:
        settings = self._settings.get(name)
        return settings.priority if settings else 0

    def _weight(self, name: str) -> int:
        settings = self._settings.get(name)
        return settings.weight if settings else 1
