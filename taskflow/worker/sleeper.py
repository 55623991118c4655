"""How a claimer that finds nothing sleeps, and is woken without any inserter having to notify in vain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg

from taskflow.store import bells
from taskflow.worker.listener import Listener

BUSY_POLL_SECONDS = 0.08
TAKEN_POLL_SECONDS = 1.0
LINGER_POLL_SECONDS = 0.005
LINGER_SECONDS = 0.1
HURRIED_SECONDS = 0.01
HURRIED_WAKES = 10
MAX_FOREIGN = 1000

Connection = psycopg.Connection[tuple[Any, ...]]


class Sleeper:
    """Holds the bells of the queues (see sql/functions/ring.sql) while the claimer sleeps or looks.

    They are kept as long as there is room: an inserter then notifies, which costs it a lock, but wakes at once. When
    the wake-ups come thick and fast they are given up, and the claimer polls every few milliseconds instead, so that
    a steady stream of inserts does not pay for a worker that is awake anyway.

    `polls_for_inserter`: a bell was refused since a transaction that has inserted without notifying is still open.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._held: set[str] = set()
        self._limit = float("inf")
        self._queues: Sequence[str] = (bells.EVERY_QUEUE,)
        self._awaits_bells = False
        self.polls_for_inserter = False
        self._last_wake = 0.0
        self._hurried = 0
        self._linger_until = 0.0

    @property
    def lingers(self) -> bool:
        """Whether the claimer polls for now, without bells."""
        return time.monotonic() < self._linger_until

    def prepare(self, connection: Connection, queues: Sequence[str]) -> bool:
        """Take the bells that are missing. True: some are ours now, so look once more for work before sleeping."""
        self._limit = float("inf")
        self._queues = queues
        self._awaits_bells = False
        self.polls_for_inserter = False
        missing = [queue for queue in queues if queue not in self._held]
        if not missing:
            return False
        answer = bells.take(connection, missing)
        self._held.update(answer.held)
        self._awaits_bells = bool(answer.busy or answer.taken)
        self.polls_for_inserter = bool(answer.busy)
        if answer.busy:
            self._limit = BUSY_POLL_SECONDS
        elif answer.taken:
            self._limit = TAKEN_POLL_SECONDS
        return bool(answer.held)

    def sleep(self, connection: Connection, seconds: float) -> list[tuple[str, str]]:
        """Sleep until something wakes us, at most this long; less where a bell was refused.

        Every listener hears of every queue: what is rung for others does not wake us. But where there is more of it
        than can be heard in time, what is rung for us may be far behind.
        """
        end = time.monotonic() + min(seconds, self._limit)
        foreign = 0
        while True:
            notifications = self._listener.wait(connection, end - time.monotonic())
            ours = [notification for notification in notifications if self._concerns_us(*notification)]
            if any(channel == bells.WAKE for channel, _ in ours):
                self._count_wake()
            foreign += len(notifications)
            awake = self._listener.was_woken or foreign > MAX_FOREIGN or time.monotonic() >= end
            if ours or not notifications or awake:
                return ours

    def pause(self, connection: Connection, seconds: float) -> list[tuple[str, str]]:
        """A pause between two looks; a short one where nobody would wake us."""
        return self._listener.wait(connection, seconds if self._held else min(seconds, LINGER_POLL_SECONDS))

    def found_work(self, connection: Connection, *, busy: bool) -> None:
        """Claims were made. `busy`: there is no room for more, or more is waiting than was taken."""
        if self._hurried >= HURRIED_WAKES or self._linger_until:
            self._hurried = 0
            self._linger_until = time.monotonic() + LINGER_SECONDS
        if busy or self._linger_until:
            self.give(connection)

    def found_nothing(self) -> None:
        """A look found nothing."""
        if not self.lingers:
            self._linger_until = 0.0

    def give(self, connection: Connection) -> None:
        """Give all bells up: other sleepers take over."""
        if self._held:
            held, self._held = sorted(self._held), set()
            bells.give(connection, held)

    def forget(self) -> None:
        """The connection is lost, and the bells with it."""
        self._held = set()
        self.polls_for_inserter = False
        self._limit = float("inf")

    def _concerns_us(self, channel: str, payload: str) -> bool:
        if channel == bells.WAKE:
            return payload in self._queues or bells.EVERY_QUEUE in self._queues
        return channel != bells.BELL or self._awaits_bells

    def _count_wake(self) -> None:
        now = time.monotonic()
        self._hurried = self._hurried + 1 if now - self._last_wake < HURRIED_SECONDS else 0
        self._last_wake = now
