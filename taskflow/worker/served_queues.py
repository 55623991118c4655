"""Which queues a claimer claims from: those that it is told to serve, or else all that have something due. Paused ones
are left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg

from taskflow.store import queues, tasks
from taskflow.store.queues import QueueSettings

FRESH_SECONDS = 5.0
MAX_RUNG_QUEUES = 100

Connection = psycopg.Connection[tuple[Any, ...]]


class ServedQueues:
    """What is known of queues, read again every few seconds and when somebody says that it has changed.

    `chosen`: the queues to serve; none: every one. `types`: what the worker can run. `on_settings` is called with
    the settings of queues whenever they were read.
    """

    def __init__(
        self, chosen: Sequence[str], types: str, on_settings: Callable[[Mapping[str, QueueSettings]], None]
    ) -> None:
        self._chosen = chosen
        self._types = types
        self._on_settings = on_settings
        self._names = list(chosen)
        self._paused: set[str] = set()
        self._read = float("-inf")

    def names(self, connection: Connection) -> list[str]:
        """The queues to claim from now."""
        if time.monotonic() - self._read > FRESH_SECONDS:
            self._read = time.monotonic()
            settings = queues.read(connection)
            self._paused = {name for name, queue in settings.items() if queue.paused}
            self._on_settings(settings)
            if not self._chosen:
                self._learn(tasks.next_due(connection, None, self._types))
        return [name for name in self._names if name not in self._paused]

    def next_due(self, connection: Connection, held_seconds: Callable[[str], float]) -> dict[str, float]:
        """Seconds until each queue with something to do has to be looked at. `held_seconds`: for how long a limit
        holds one back."""
        due = tasks.next_due(connection, self._chosen or None, self._types)
        self._learn(due)
        for name in due:
            due[name] = max(due[name], held_seconds(name))
        for name in self._paused.intersection(due):  # resumed it is found out, also by somebody who notifies nobody
            due[name] = FRESH_SECONDS
        return due

    def rang(self, names: set[str]) -> None:
        """Somebody has notified that there is something to do in these."""
        if self._chosen:
            return
        unknown = names.difference(self._names)
        if len(unknown) <= MAX_RUNG_QUEUES:
            self._names.extend(unknown)
        else:  # anybody may notify anything, so ask which queues there are
            self.forget()

    def forget(self, *, older_than: float = 0.0) -> None:
        """What was read that long ago may have changed."""
        if time.monotonic() - self._read >= older_than:
            self._read = float("-inf")

    def _learn(self, due: Mapping[str, float]) -> None:
        """Who serves every queue claims from those that have something due before it asks again."""
        if not self._chosen:
            self._names = [name for name, wait in due.items() if wait <= FRESH_SECONDS]
