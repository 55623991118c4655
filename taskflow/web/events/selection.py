"""Which events a stream gets: what its client has chosen, within what its key may see."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from taskflow.store.events import NAMES
from taskflow.web.access.redaction import Redaction
from taskflow.web.events.event import Event, Parcel

EVERYTHING = frozenset(NAMES)
MAX_PATTERN = 100


class UnknownEvent(ValueError):
    """There is no event of this name, and none that the pattern takes."""


@dataclass(frozen=True, slots=True)
class Selection:
    """`names`: the events chosen. `task_id` and `queue`: only those about it; None: all.

    `allowed`: the queues that the key may see; None: every one. `redaction`: what hides secrets; None: nothing does.
    Streams with equal selections share the encoding of what they get.
    """

    names: frozenset[str] = EVERYTHING
    task_id: str | None = None
    queue: str | None = None
    allowed: frozenset[str] | None = None
    redaction: Redaction | None = None

    def takes(self, event: Event) -> bool:
        """Whether the stream is to get this one."""
        if event.name not in self.names:
            return False
        if self.task_id is not None and event.task_id != self.task_id:
            return False
        if event.task_id is not None:
            return event.queues is not None and all(map(self.sees, event.queues))
        if self.queue is not None:  # what is no task's and no queue's is not about it
            return False
        return event.queues is None or self.allowed is None or not self.allowed.isdisjoint(event.queues)

    def sees(self, queue: str) -> bool:
        """Whether the stream is about this queue, among others perhaps."""
        return (self.queue is None or queue == self.queue) and (self.allowed is None or queue in self.allowed)

    def pick(self, events: Iterable[Event]) -> Parcel | None:
        """Those that the stream is to get; None if there are none."""
        picked = [(event.id, event.message(self._shown(event))) for event in events if self.takes(event)]
        return Parcel(picked) if picked else None

    def _shown(self, event: Event) -> Mapping[str, Any]:
        if self.redaction is None or event.task_id is None:
            return event.data
        shown: Mapping[str, Any] = self.redaction(event.data)
        return shown


def names_of(patterns: Iterable[str]) -> frozenset[str]:
    """The events that names and patterns such as `worker.*` stand for. Raises `UnknownEvent`."""
    found: set[str] = set()
    for pattern in patterns:
        prefix = pattern.removesuffix("*") if pattern == "*" or pattern.endswith(".*") else None
        matching = {name for name in NAMES if (name == pattern if prefix is None else name.startswith(prefix))}
        if not matching:
            raise UnknownEvent(pattern[:MAX_PATTERN])
        found |= matching
    return frozenset(found)
