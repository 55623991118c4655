"""One worker process: its parts, put together, started and ended."""

from __future__ import annotations

import time
from functools import partial
from queue import SimpleQueue
from threading import Event
from typing import TYPE_CHECKING

import psycopg

from taskflow.errors import RegistrationError
from taskflow.settings import Settings
from taskflow.stop_flag import StopFlag
from taskflow.store import workers
from taskflow.tasks.registry import Registry
from taskflow.telemetry import get_logger
from taskflow.worker.attempt import InFlight
from taskflow.worker.claimer import Claimer
from taskflow.worker.completer import Completer
from taskflow.worker.connections import HandlerConnections
from taskflow.worker.dispatcher import Dispatcher
from taskflow.worker.ending import Endings, ending
from taskflow.worker.giving_back import release
from taskflow.worker.heartbeat import Heartbeat
from taskflow.worker.identity import Identity, type_rows
from taskflow.worker.pace import Pace
from taskflow.worker.process_slots import child_environment
from taskflow.worker.recurring import Recurring
from taskflow.worker.session import Session
from taskflow.worker.slots import Slots

if TYPE_CHECKING:
    from taskflow.worker.metrics import WorkerMetrics

TICK_SECONDS = 0.1
FLUSH_SECONDS = 2.0
"""What the database is given at least to take what is left, also when the time to drain is up."""


class Worker:
    """Claims, runs and completes tasks until it is told to stop.

    The main thread looks after timeouts; the claimer, the completer and the slots have threads of their own, and two
    connections between them. Raises `RegistrationError` if `settings.types` names a type without a handler.
    """

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._log = get_logger("worker")
        types = chosen_types(registry, settings.types)
        self._stopping = StopFlag()
        self._gone = Event()
        self._left_running = False
        self._deadline = float("inf")
        self.drained = False
        """Whether an operator has had it end: nobody is to start another one in its place."""
        self._in_flight = InFlight()
        self._endings: Endings = SimpleQueue()
        self._identity = Identity(settings.queues, types, settings.concurrency, settings.worker_id)
        self._heartbeat = Heartbeat(
            self._identity, self._in_flight, settings.heartbeat_interval, lambda: self._claimer.wake()
        )
        session = Session(
            settings.database_url,
            "completer",
            self._gone,
            longest_pause_seconds=settings.heartbeat_timeout / 6,  # or its heartbeats would come too late
        )
        self._completer = Completer(session, self._heartbeat, self._in_flight, self._endings)
        pace = Pace(settings.concurrency, settings.prefetch_seconds, 2 * settings.claim_batch)
        self._slots = Slots(settings.concurrency, self._in_flight, self._endings, pace, self._completer.mark_started)
        self._completer.events.watch(self._slots)
        connections = HandlerConnections(settings.database_url, self._completer.progress_reported, self._completer.own)
        environment = child_environment(settings.database_url, settings.imports)
        self._dispatcher = Dispatcher(self._slots, registry, connections, environment)
        self._claimer = Claimer(
            settings,
            types,
            type_rows(registry, types, settings),
            recurring=Recurring(registry, types),
            identity=self._identity,
            slots=self._slots,
            dispatcher=self._dispatcher,
            completer=self._completer,
            heartbeat=self._heartbeat,
        )

    def count_in(self, metrics: WorkerMetrics) -> None:
        """Count in `metrics` what this worker does; to be called before `run`."""
        metrics.watch(self._slots)
        self._completer.metrics = self._claimer.metrics = metrics

    def stop(self) -> None:
        """Begin to end; may be called from a signal handler, and again without effect."""
        self._stopping.set()

    def run(self) -> int:
        """Work until `stop`; returns the exit code: 1 if a thread of the worker has failed."""
        self._log.info("worker_starting", concurrency=self._settings.concurrency)
        self._completer.start()
        self._claimer.start()
        while not self._stopping.wait(TICK_SECONDS) and self._healthy and self._heartbeat.wanted != "draining":
            self._dispatcher.tick()
        failed = not self._healthy
        self.drained = self._heartbeat.wanted == "draining" and not self._stopping.is_set()
        self._drain()
        return 1 if failed else 0

    @property
    def _healthy(self) -> bool:
        return self._claimer.alive and self._completer.alive

    @property
    def wanted_state(self) -> str:
        """What an operator wants of this worker, as far as it knows: running, paused or draining."""
        return self._heartbeat.wanted

    @property
    def has_running_threads(self) -> bool:
        """Whether handlers may still be running that nobody waits for. The interpreter would at its end: it joins the
        threads that a handler has started, and trips over those of slots."""
        return self._left_running or self._dispatcher.abandoned_threads > 0

    @property
    def seconds_left(self) -> float:
        """How much of the time to drain is left; negative when it is over."""
        return self._deadline - time.monotonic()

    def _drain(self) -> None:
        """Claim nothing more, give back what has not started, let finish what runs, and leave."""
        self._deadline = time.monotonic() + self._settings.drain_timeout

        def remaining() -> float:
            return max(FLUSH_SECONDS, self.seconds_left)

        for worker_id in self._identity.all():  # for those who look at the list of workers
            self._completer.tell("set_state", partial(workers.set_state, worker_id=worker_id, state="draining"))
        self._claimer.stop()
        self._claimer.join(remaining())
        try:
            released = release(self._completer, self._slots, self._dispatcher, remaining())
        except (psycopg.Error, TimeoutError) as error:  # the rescuer will find them: none of them has started
            self._log.warning("not_released", error=str(error).strip())
            released = 0
        self._log.info("worker_draining", running=len(self._in_flight), released=released)
        while self._in_flight.all() and self.seconds_left > 0:
            self._gone.wait(0.02)
            self._dispatcher.tick()
        self._end_the_rest()
        for worker_id in self._identity.all():
            self._completer.tell("leave", partial(self._identity.leave, worker_id=worker_id))
        written = self._completer.stop(remaining())
        self._gone.set()
        self._dispatcher.close()
        self._log.info("worker_stopped", unwritten=0 if written else self._completer.backlog)

    def _end_the_rest(self) -> None:
        """What has not finished in time is given back: recorded as lost, charged to nobody."""
        for attempt in self._in_flight.all():
            if self._in_flight.settle(attempt):
                self._left_running = True
                self._endings.put(ending(attempt, None))
                attempt.cancel()


def chosen_types(registry: Registry, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The types to serve: those asked for, or all that are registered. Raises `RegistrationError` for one unknown."""
    known = registry.types()
    if unknown := [name for name in wanted if name not in known]:
        raise RegistrationError(
            f"no handler is registered for {', '.join(unknown)}. Import the module that declares it: --import tasks"
        )
    return wanted or known
