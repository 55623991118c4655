"""How many tasks a worker has room for."""

from __future__ import annotations

from taskflow.worker.completer import Completer
from taskflow.worker.slots import Slots

MAX_BACKLOG = 2000
"""Endings that wait to be written; beyond that claiming more only makes more to lose."""


class Room:
    """Slots that are free, and what is held ready beyond them, claimed at most `batch` at once."""

    def __init__(self, slots: Slots, completer: Completer, batch: int) -> None:
        self._slots = slots
        self._completer = completer
        self._batch = batch

    @property
    def backlogged(self) -> bool:
        """Whether more has ended than is written in time."""
        return self._completer.backlog > MAX_BACKLOG

    @property
    def wanted(self) -> int:
        """How many tasks to claim; 0 while what is here lasts for a while."""
        if self.backlogged:
            return 0
        in_flight = len(self._slots.in_flight)
        room = self._slots.size + self._slots.pace.prefetch() - in_flight
        enough = in_flight <= self._slots.size or room >= self._batch // 2
        return min(room, self._batch) if enough else 0

    def free(self, limited: frozenset[str]) -> int:
        """For how many tasks of queues with limits there are slots. Where tasks of other queues are held ready beyond
        the slots, those of the queues `limited` take turns with them, or they would never come."""
        beyond = len(self._slots.in_flight) - self._slots.size
        if beyond <= 0 or not limited:
            return max(0, -beyond)
        theirs = sum(attempt.task.queue in limited for attempt in self._slots.in_flight.all())
        return max(0, self._slots.size - theirs)

    @property
    def reached_when(self) -> int:
        """As few in flight as are to be claimed for again."""
        prefetched = self._slots.size + self._slots.pace.prefetch()
        return max(0, max(self._slots.size, prefetched - self._batch // 2) - 1)
