"""Claims tasks while there is room for them, and sleeps when there are none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg

from taskflow.settings import Settings
from taskflow.store import bells, tasks, workers
from taskflow.store.arrays import texts
from taskflow.store.migrate import schema_problem
from taskflow.store.queues import QueueSettings
from taskflow.telemetry import get_logger
from taskflow.worker.claims import Claims
from taskflow.worker.completer import Completer
from taskflow.worker.dispatcher import Dispatcher
from taskflow.worker.frontier import KEYS_PATIENCE, SWEEP_PATIENCE
from taskflow.worker.giving_back import release
from taskflow.worker.heartbeat import Heartbeat
from taskflow.worker.identity import Identity
from taskflow.worker.listener import Listener, concerns
from taskflow.worker.recurring import Recurring
from taskflow.worker.room import Room
from taskflow.worker.served_queues import ServedQueues
from taskflow.worker.session import Session
from taskflow.worker.sleeper import LINGER_POLL_SECONDS, Sleeper
from taskflow.worker.slots import Slots

if TYPE_CHECKING:  # who serves no metrics need not import what makes them
    from taskflow.worker.metrics import WorkerMetrics

BACKLOG_POLL_SECONDS = 0.005
STUCK_SECONDS = 1.0
PROBE_SECONDS = 2.0
POOLED_POLL_SECONDS = 0.25
LOOKS_A_BELL = 3
FIRST_DUE_PAUSE_SECONDS = 0.01
UNHINTED_BEAT_SECONDS = 0.5
"""Operators are heard within a second, also where no notification arrives."""
TIMER_SLACK_SECONDS = 0.0005
"""A timer that fires too early would find nothing due and look twice."""

Connection = psycopg.Connection[tuple[Any, ...]]


class Claimer:
    """One thread with the connection for claims, bells and notifications."""

    def __init__(
        self,
        settings: Settings,
        types: Sequence[str],
        type_rows: Sequence[dict[str, Any]],
        *,
        recurring: Recurring,
        identity: Identity,
        slots: Slots,
        dispatcher: Dispatcher,
        completer: Completer,
        heartbeat: Heartbeat,
    ) -> None:
        self._settings = settings
        self._types = texts(types)
        self._type_rows = type_rows
        self._recurring = recurring
        self._identity = identity
        self._slots = slots
        self._dispatcher = dispatcher
        self._completer = completer
        self._heartbeat = heartbeat
        self.metrics: WorkerMetrics | None = None
        self._listener = Listener()
        self._sleeper = Sleeper(self._listener)
        self._room = Room(slots, completer, settings.claim_batch)
        self._claims = Claims(self._types, asynchronous=settings.claim_commit == "async")
        self._stopping = Event()
        self._session = Session(settings.database_url, "claimer", self._stopping, self._prepare)
        self._log = get_logger("claimer")
        self._queues = ServedQueues(settings.queues, self._types, self._learn)
        self._poll_seconds = settings.poll_interval
        self._notified = True
        self._wake_at = -1
        self._due_pause = FIRST_DUE_PAUSE_SECONDS
        self._due_at = float("inf")
        self._looks = 0
        self._made_room: SimpleQueue[frozenset[str]] = SimpleQueue()
        completer.room_made = self._room_made
        self._keys_released = Event()
        completer.keys_released = self._wake_for_keys
        self._thread = Thread(target=self._run, name="claimer", daemon=True)
        slots.when_free(self._slot_free)

    def start(self) -> None:
        """Begin to claim."""
        self._thread.start()

    def stop(self) -> None:
        """Claim nothing more; may be called from a signal handler."""
        self._stopping.set()
        self._listener.wake()

    def join(self, timeout: float) -> None:
        """Wait until the last claim has been handed over."""
        self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether the thread runs; it ends by itself only through an error of its own."""
        return self._thread.is_alive()

    def wake(self) -> None:
        """Something has changed that the claimer should know of."""
        self._listener.wake()

    # The loop

    def _run(self) -> None:
        connection: Connection | None = None
        while not self._stopping.is_set():
            connection = self._session.open()
            if connection is None:
                continue
            try:
                self._step(connection)
                self._session.works()
            except psycopg.Error as error:
                self._sleeper.forget()
                self._session.lost(error)
            except Exception:
                self._log.exception("claimer_failed")
                raise
        with suppress(psycopg.Error):  # tell the other sleepers, who would notice only at their next look
            if connection is not None and not connection.closed:
                self._sleeper.give(connection)
        self._session.close()
        self._listener.close()

    def _step(self, connection: Connection) -> None:
        """One look: claim what there is room for; when there is nothing more, sleep."""
        self._mind_operators()
        if not self._made_room.empty():
            self._fill_room(connection)
        if not self._may_claim(connection):
            return
        wanted = self._room.wanted
        if wanted <= 0:
            self._sleeper.give(connection)
            self._wait_for_room(connection)
            return
        if self._sleeper.polls_for_inserter:
            self._look_beside_inserter(connection, wanted)
            return
        known = self._keys_released.is_set() and self._sweep_wait_seconds <= 0
        sweep = known or self._claims.frontier.sweep_is_due
        if self._claim(connection, wanted, sweep=sweep) >= wanted:
            return
        if not sweep and not self._sweep(connection):
            return
        self._rest(connection)

    def _fill_room(self, connection: Connection) -> None:
        """Tasks of queues with `max_workers` have ended here: take the next, and wake others for what is left."""
        roomy: set[str] = set()
        while not self._made_room.empty():
            roomy |= self._made_room.get()
        self._claims.look_again(roomy)
        if self._heartbeat.wanted == "running" and (wanted := self._room.wanted) > 0:
            self._claim(connection, wanted, sweep=False)
            roomy = {name for name in roomy if self._claims.has_room(name)}
        if roomy:
            self._completer.tell("ring", lambda other: tasks.ring_waiting(other, sorted(roomy)))

    def _room_made(self, queues: frozenset[str]) -> bool:
        """Called by the completer when tasks of these queues have ended. False: nobody here takes the next."""
        if self._stopping.is_set() or not self._thread.is_alive():
            return False
        self._made_room.put(queues)
        self._listener.wake()
        return True

    def _wake_for_keys(self) -> None:
        """Called by the completer: the next task of a key may be claimed, and lies behind the frontier."""
        self._keys_released.set()
        self._listener.wake()

    def _look_beside_inserter(self, connection: Connection, wanted: int) -> None:
        """A transaction that has inserted without notifying is open, so what it commits must be looked for: with one
        statement a look, every third time with another for the bell."""
        due = self._settings.queues or self._ask_next_due(connection) <= 0
        if due and self._claim(connection, wanted, sweep=self._sweep_wait_seconds <= 0):
            return
        self._looks += 1
        if self._looks % LOOKS_A_BELL == 0:
            self._rest(connection)
        else:
            self._sleep(connection)

    def _may_claim(self, connection: Connection) -> bool:
        """Whether this worker may take anything now; waits a little where it may not."""
        if self._heartbeat.expired:
            self._identity.register(connection)
            self._heartbeat.expired = False
            self._log.info("worker_registered_anew", worker_id=self._identity.current)
        if self._heartbeat.age_seconds > self._settings.heartbeat_timeout / 2:
            # Stopped or cut off for long: the rescuer may have given us up, so ask before taking more.
            self._completer.beat()
            self._handle(self._listener.wait(connection, 0.1))
            return False
        if self._heartbeat.wanted != "running":
            self._sleeper.give(connection)
            release(self._completer, self._slots, self._dispatcher)  # what has not started can run elsewhere
            self._handle(self._listener.wait(connection, self._poll_seconds))
            return False
        return True

    def _claim(self, connection: Connection, wanted: int, *, sweep: bool) -> int:
        """Claim and dispatch; returns how many came."""
        if sweep:
            self._keys_released.clear()  # before it: what is released meanwhile may be missed
        names = self._queues.names(connection)
        worker_id = self._identity.current
        if not names or worker_id is None:
            return 0
        claimed = self._claims.claim(
            connection, worker_id, names, wanted=wanted, free=self._room.free(self._claims.limited), sweep=sweep
        )
        if claimed:
            self._dispatcher.dispatch(claimed, worker_id, time.monotonic())
            self._sleeper.found_work(connection, busy=len(claimed) >= wanted)
            self._due_pause = FIRST_DUE_PAUSE_SECONDS
        if self.metrics is not None:
            self.metrics.claimed(claimed)
        return len(claimed)

    def _sweep(self, connection: Connection) -> bool:
        """A claim came back short: look from the bottom before believing that there is nothing more. True: so it is."""
        if (wait := self._sweep_wait_seconds) > 0:
            self._handle(self._sleeper.pause(connection, min(wait, self._poll_seconds)))
            return False
        wanted = self._room.wanted
        return wanted > 0 and self._claim(connection, wanted, sweep=True) < wanted

    @property
    def _sweep_wait_seconds(self) -> float:
        patience = KEYS_PATIENCE if self._keys_released.is_set() else SWEEP_PATIENCE
        return self._claims.frontier.sweep_wait_seconds(patience)

    def _rest(self, connection: Connection) -> None:
        """Nothing is due: sleep until something is, or somebody rings."""
        self._sleeper.found_nothing()
        if self._sleeper.lingers:
            self._handle(self._sleeper.pause(connection, LINGER_POLL_SECONDS))
            return
        if self._notified and self._sleeper.prepare(connection, self._settings.queues or (bells.EVERY_QUEUE,)):
            wanted = self._room.wanted
            if wanted <= 0 or self._claim(connection, wanted, sweep=True):
                return
        if not self._sleeper.polls_for_inserter:
            self._ask_next_due(connection)
        self._sleep(connection)

    def _sleep(self, connection: Connection) -> None:
        self._session.works()  # or the log would say so only after the sleep
        seconds = self._due_at - time.monotonic() + TIMER_SLACK_SECONDS
        self._handle(self._sleeper.sleep(connection, min(self._poll_seconds, seconds)))

    def _ask_next_due(self, connection: Connection) -> float:
        """Seconds until the next task of a queue that is served is due: how long to sleep at most."""
        due = self._queues.next_due(connection, self._claims.held_seconds)
        seconds = min(due.values(), default=float("inf"))
        if seconds <= 0:  # due, but not to be had a moment ago: it came just now, or somebody has locked it
            self._due_at = time.monotonic() + self._due_pause
            self._due_pause = min(1.0, 2 * self._due_pause)
        else:
            self._due_at = time.monotonic() + seconds
        return seconds

    def _wait_for_room(self, connection: Connection) -> None:
        """Every slot is taken, and what is held ready lasts: wait until there is less of it."""
        if self._room.backlogged:
            self._handle(self._listener.wait(connection, BACKLOG_POLL_SECONDS))
            return
        self._wake_at = self._room.reached_when
        try:
            if len(self._slots.in_flight) > self._wake_at:
                self._handle(self._listener.wait(connection, STUCK_SECONDS))
        finally:
            self._wake_at = -1
        if self._dispatcher.waiting_since_seconds() > max(STUCK_SECONDS, 10 * self._settings.prefetch_seconds):
            self._give_back()

    def _give_back(self) -> None:
        """What was held ready is stuck behind slow handlers: others may run it sooner."""
        self._slots.pace.observe(self._dispatcher.waiting_since_seconds())
        release(self._completer, self._slots, self._dispatcher, from_slots=False)

    # What it is told

    def _learn(self, settings: Mapping[str, QueueSettings]) -> None:
        """The settings of queues were read: whoever goes by them gets them."""
        self._dispatcher.queues = settings
        self._claims.learn(settings)
        full = (name for name, queue in settings.items() if queue.max_workers is not None)
        self._completer.limited_queues = frozenset(full)

    def _mind_operators(self) -> None:
        """Whether one wants something: hinted at between two claims, or, where no hint arrives, to be asked for."""
        hints = self._listener.hints()
        if any(concerns(hint, self._identity.all()) for hint in hints):
            self._queues.forget()
            self._completer.beat()
        elif self._listener.deaf or not self._notified:
            if self._heartbeat.age_seconds > UNHINTED_BEAT_SECONDS:
                self._completer.beat()
            self._queues.forget(older_than=UNHINTED_BEAT_SECONDS)

    def _handle(self, notifications: Sequence[tuple[str, str]]) -> None:
        """React to what was notified: a hint each, the database is asked what is true."""
        self._mind_operators()
        if notifications:
            self._queues.rang({payload for channel, payload in notifications if channel == bells.WAKE})

    # The beginning of a connection

    def _prepare(self, connection: Connection) -> None:
        """A new connection: does the schema fit, do notifications arrive, who are we now?"""
        if (problem := schema_problem(connection)) is not None:
            raise psycopg.errors.UndefinedTable(problem)
        self._listener.attach(connection)
        self._claims.forget_floors()
        token = uuid4().hex
        sent = self._completer.ask(lambda other: bells.probe(other, token))
        was_notified, self._notified = self._notified, self._listener.hears(connection, sent, token, PROBE_SECONDS)
        self._poll_seconds = self._settings.poll_interval
        if not self._notified:
            self._poll_seconds = min(self._poll_seconds, POOLED_POLL_SECONDS)
        if self._notified:
            connection.prepare_threshold = 1
            self._completer.prepare_statements()
        elif was_notified:  # said once, not at every new connection
            self._log.warning(
                "notifications_not_delivered",
                why="a pooler in transaction mode between worker and database, most likely",
                next=f"polling every {self._poll_seconds} s instead; give the worker a direct connection to be woken",
            )
        workers.register_types(connection, self._type_rows)
        self._recurring.write(connection)
        self._identity.register(connection)
        self._log.info("worker_ready", worker_id=self._identity.current, queues=self._settings.queues or "all")

    def _slot_free(self) -> None:
        if self._wake_at >= 0 and self._wake_at >= len(self._slots.in_flight):
            self._wake_at = -1
            self._listener.wake()
