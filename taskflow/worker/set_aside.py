"""Endings of tasks that somebody's open transaction has locked: they wait until it ends, and hold up nobody else."""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from taskflow.store import tasks
from taskflow.store.connection import repeat_on_conflict
from taskflow.store.tasks import Connection
from taskflow.worker.ending import Ending

LOOK_SECONDS = 0.5


class SetAside:
    """What could not be written because its row is locked; to be looked at every half second."""

    def __init__(self) -> None:
        self._endings: list[Ending] = []
        self._due = 0.0

    def __len__(self) -> int:
        return len(self._endings)

    @property
    def due_in_seconds(self) -> float:
        """Until the next look; 0 or less: now."""
        return self._due - time.monotonic() if self._endings else float("inf")

    def split(self, connection: Connection, group: Sequence[Ending], error: psycopg.Error) -> list[Ending]:
        """Keep those of the group that are locked; returns the others. Raises `error` if none is: then it is not a
        task that is locked, but a table maybe."""
        locked = self._locked(connection, group)
        if not locked:
            raise error
        self._endings += [item for item in group if item.attempt.task.id in locked]
        self._due = time.monotonic() + LOOK_SECONDS
        return [item for item in group if item.attempt.task.id not in locked]

    def take_unlocked(self, connection: Connection) -> list[Ending]:
        """Those that can be written now."""
        locked = self._locked(connection, self._endings)
        unlocked = [item for item in self._endings if item.attempt.task.id not in locked]
        self._endings = [item for item in self._endings if item.attempt.task.id in locked]
        self._due = time.monotonic() + LOOK_SECONDS
        return unlocked

    @staticmethod
    def _locked(connection: Connection, group: Sequence[Ending]) -> set[int]:
        ids = [item.attempt.task.id for item in group]
        return repeat_on_conflict(lambda: tasks.locked(connection, ids))
