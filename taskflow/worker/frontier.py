"""The frontier: where the last claim ended in each level, so that the next need not walk over what is dead."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from operator import attrgetter

from taskflow.store.tasks import BOTTOM
from taskflow.tasks.task import ClaimedTask

LEVELS = 4
_level = attrgetter("queue", "priority")
SWEEP_SECONDS = 1.0
SWEEP_PATIENCE = 20
"""A sweep may take a twentieth of the time: after one of 10 ms the next comes no sooner than 200 ms later."""
KEYS_PATIENCE = 1
"""Half of the time where something is known to lie behind the frontier: such a sweep brings what it costs."""


class Frontier:
    """Lower bounds for claims, a pair (run_at, id) for each level: a queue and a priority.

    Rows that commit late or are made due earlier lie behind the frontier. A sweep, a claim from the bottom of every
    level, finds them: about once a second, or sooner when a claim came back with less than it asked for.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bounds: dict[tuple[str, int], tuple[str, int]] = {}
        self._last_sweep = float("-inf")
        self._sweep_cost = 0.0
        self._last_cost = 0.0
        self._claim_cost = 0.0

    def sweep_wait_seconds(self, patience: int = SWEEP_PATIENCE) -> float:
        """How long a claim that came back short must still wait for a sweep; 0 or less: not at all."""
        return self._last_sweep + patience * self._sweep_cost - self._clock()

    @property
    def sweep_is_due(self) -> bool:
        """Whether the next claim should be a sweep even though claims come back full."""
        return self._clock() >= self._last_sweep + max(SWEEP_SECONDS, SWEEP_PATIENCE * self._sweep_cost)

    def bounds(self, queues: Sequence[str], *, sweep: bool) -> list[tuple[str, int]]:
        """The lower bounds for a claim over these queues: four a queue, from low to critical."""
        if sweep:
            return [BOTTOM] * (LEVELS * len(queues))
        return [self._bounds.get((queue, level), BOTTOM) for queue in queues for level in range(LEVELS)]

    def advance(self, claimed: Sequence[ClaimedTask]) -> None:
        """Remember the last row of each level among the claimed, which are sorted; it may be lower than before."""
        if _level(claimed[0]) == _level(claimed[-1]):  # so are all between them
            claimed = claimed[-1:]
        for level, task in {_level(task): task for task in claimed}.items():
            self._bounds[level] = (task.run_at.isoformat(), task.id)

    def took(self, seconds: float, *, sweep: bool) -> None:
        """A claim has been made and took this long; what a sweep took beyond other claims is its cost."""
        if sweep:
            self._last_sweep = self._clock()
            cost = max(0.0, seconds - self._claim_cost)
            # Two in a row: dead rows cost every sweep the same, a busy machine only now and then.
            self._sweep_cost, self._last_cost = min(cost, self._last_cost), cost
        else:
            self._claim_cost += 0.2 * (seconds - self._claim_cost)
