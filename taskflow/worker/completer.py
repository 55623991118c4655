"""Writes what has ended, in batches, and everything else that this process has to tell the database about its tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.errors import LockNotAvailable

from taskflow.store import partitions, tasks
from taskflow.store.connection import CONFLICTS, CONNECTION_LOST, repeat_on_conflict
from taskflow.store.outage import reason_of
from taskflow.store.tasks import Completed, Completion, Ended
from taskflow.telemetry import get_logger
from taskflow.worker.attempt import Attempt, InFlight, Progress
from taskflow.worker.ending import UNSTORABLE, Ending, Endings, encode, portions, refused, why_unstorable
from taskflow.worker.events import EventPublisher
from taskflow.worker.heartbeat import Heartbeat
from taskflow.worker.own_completion import Stage
from taskflow.worker.own_completions import OwnCompletions
from taskflow.worker.report import report
from taskflow.worker.session import Session
from taskflow.worker.set_aside import SetAside

if TYPE_CHECKING:  # who serves no metrics need not import what makes them
    from taskflow.worker.metrics import WorkerMetrics

BATCH = 500
PROGRESS_SECONDS = 0.5

Connection = psycopg.Connection[tuple[Any, ...]]
Answer = TypeVar("Answer")


class Completer:
    """One thread with a connection of its own. There is no timer: a batch is what has gathered while the last one was
    being written, one when idle, hundreds when busy.

    Nothing is dropped while the database is away: endings wait here, and are written when it is back.
    """

    def __init__(self, session: Session, heartbeat: Heartbeat, in_flight: InFlight, endings: Endings) -> None:
        self._session = session
        self._heartbeat = heartbeat
        self._in_flight = in_flight
        self._endings = endings
        self._unwritten: list[Ending] = []
        self._set_aside = SetAside()
        self.own = OwnCompletions(self.wake)
        self.events = EventPublisher(self.wake)
        self.metrics: WorkerMetrics | None = None
        self.limited_queues: frozenset[str] = frozenset()  # those with max_workers: an end there makes room
        self.room_made: Callable[[frozenset[str]], bool] = lambda _: False  # True: whoever was told minds it
        self.keys_released: Callable[[], None] = lambda: None
        self._requests: SimpleQueue[tuple[Callable[[Connection], Any], Future[Any]]] = SimpleQueue()
        self._failed: set[str] = set()  # of what was told
        self._progress_due: float | None = None
        self._repeated = False
        self._beat_wanted = False
        self._stopping = Event()
        self._gone = Event()
        self._log = get_logger("completer")
        self._thread = Thread(target=self._run, name="completer", daemon=True)

    @property
    def backlog(self) -> int:
        """How many endings wait to be written."""
        return self._endings.qsize() + len(self._unwritten) + len(self._set_aside) + self.own.untold

    @property
    def alive(self) -> bool:
        """Whether the thread runs; it ends by itself only through an error of its own."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Write what is left and end; whether that was done within `timeout` seconds."""
        self._stopping.set()
        self.wake()
        self._thread.join(timeout)
        self._gone.set()
        return not self._thread.is_alive()

    def wake(self) -> None:
        """Look at once whether there is something to do."""
        self._endings.put(None)

    def ask(self, statement: Callable[[Connection], Answer]) -> Future[Answer]:
        """Have a statement executed on the completer's connection, between two batches."""
        future: Future[Answer] = Future()
        self._requests.put((statement, future))
        self.wake()
        return future

    def tell(self, what: str, statement: Callable[[Connection], object]) -> None:
        """`ask`, for what nobody waits for: it is logged when `what` fails, once until it succeeds again."""

        def mind(future: Future[object]) -> None:
            error = future.exception()
            if error is None:
                self._failed.discard(what)
            elif what not in self._failed:
                self._failed.add(what)
                said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
                self._log.warning("not_told", what=what, error=said or str(error).strip())  # DETAIL may quote rows

        self.ask(statement).add_done_callback(mind)

    def prepare_statements(self) -> None:
        """No pooler stands between, so statements may be prepared."""
        self._session.prepare_threshold = 1
        self.ask(lambda connection: setattr(connection, "prepare_threshold", 1))

    def beat(self) -> None:
        """Send a heartbeat soon, since an operator may want something; one, however often it is asked for."""
        self._beat_wanted = True
        self.wake()

    def mark_started(self, attempt: Attempt) -> bool:
        """Record that the attempt begins, and wait for that; False if it is not ours any more, or the worker ends."""
        task = attempt.task
        row = (task.id, task.attempt, time.monotonic() - attempt.claimed)
        said = ""
        while not self._gone.is_set():
            future = self.ask(lambda connection: tasks.mark_started(connection, attempt.worker_id, [row]))
            try:
                return task.id in self._answer(future)
            except psycopg.Error as error:
                if (reason := reason_of(error)) != said:
                    self._log.warning("start_not_recorded", task_id=task.id, error=reason, next="trying again")
                said = reason
                self._gone.wait(1)
        return False

    def _answer(self, future: Future[set[int]]) -> set[int]:
        while not self._gone.is_set():
            with suppress(TimeoutError):
                return future.result(timeout=1)
        return set()

    def progress_reported(self) -> None:
        """Some attempt has a new progress: write it soon, together with what comes until then, or with its end."""
        if self._progress_due is None:
            self._progress_due = time.monotonic() + PROGRESS_SECONDS
            self.wake()

    def _run(self) -> None:
        while not (self._stopping.is_set() and not self.backlog) and not self._gone.is_set():
            self._gather()
            connection = self._session.open()
            if connection is None:
                continue
            try:
                self._work(connection)
                self._session.works()
            except LockNotAvailable as error:  # a table that is being altered, most likely: it passes
                self._log.debug("write_waits_for_lock", error=str(error).strip())
            except psycopg.Error as error:  # also out of memory, a missing right: nothing is given up for it
                self._repeated = True
                self._session.lost(error)
            except Exception:
                self._log.exception("completer_failed")
                raise
        self._session.close()

    def _work(self, connection: Connection) -> None:
        # Before what may fail: nobody is dead because something of it cannot be stored.
        if self._beat_wanted or self._heartbeat.due_in_seconds <= 0:
            self._beat_wanted = False
            with suppress(LockNotAvailable):  # an operator is about to change the worker's row: nobody can take it away
                repeat_on_conflict(lambda: self._heartbeat.beat(connection))
            if self._heartbeat.registered:
                self.events.ask(connection)
        if self._set_aside.due_in_seconds <= 0:
            self._unwritten += self._set_aside.take_unlocked(connection)
        if self.own:
            self._mind_own(connection)
        if self._unwritten:
            self._write(connection, self._unwritten)
            self._unwritten = []
            self._repeated = False
        self._serve(connection)
        if self._progress_due is not None and time.monotonic() >= self._progress_due:
            self._progress_due = None
            self._write_progress(connection)
        if self.events.due_in_seconds <= 0 or (self._stopping.is_set() and self.events.waiting):
            self.events.flush(connection)

    def _gather(self) -> None:
        """Wait for an ending, or until something else is due; take up to a batch of what is there."""
        if not self._unwritten:
            waits = [self._heartbeat.due_in_seconds, self._set_aside.due_in_seconds, self.events.due_in_seconds]
            if self._progress_due is not None:
                waits.append(self._progress_due - time.monotonic())
            try:
                first = self._endings.get(timeout=max(0.0, min(waits)))
            except Empty:
                return
            if first is not None:
                self._unwritten.append(first)
        get, append = self._endings.get_nowait, self._unwritten.append
        with suppress(Empty):
            for _ in range(len(self._unwritten), BATCH):
                if (item := get()) is not None:
                    append(item)

    def _mind_own(self, connection: Connection) -> None:
        """Attempts that have completed their tasks themselves: what follows for those, and no second end."""
        while (item := self.own.first_committed()) is not None:
            assert item.attempt.own is not None
            self._follow_up(connection, [item], [], released=item.attempt.own.released)
            self.own.told(item)
        self._unwritten = self.own.to_write(self._unwritten)

    def _write(self, connection: Connection, batch: Sequence[Ending]) -> None:
        """Write endings, each under the id it was claimed with."""
        claimed_under: dict[int, list[Ending]] = {}
        for item in batch:
            claimed_under.setdefault(item.attempt.worker_id, []).append(item)
        for worker_id, items in claimed_under.items():
            for group, rows in portions(items):
                self._write_group(connection, worker_id, group, rows)

    def _write_group(
        self, connection: Connection, worker_id: int, group: Sequence[Ending], rows: Sequence[Completion]
    ) -> None:
        try:
            answer = repeat_on_conflict(lambda: self._complete(connection, worker_id, rows))
        except LockNotAvailable as error:
            self._write_unlocked(connection, worker_id, group, error)
            return
        except UNSTORABLE as error:
            self._bisect(connection, worker_id, group, error)
            return
        if self.own:
            group, ended, released = self.own.found_out(connection, group, answer)
        else:
            ended, released = answer
        self._follow_up(connection, group, ended, released=released)

    def _follow_up(
        self, connection: Connection, group: Sequence[Ending], ended: Sequence[Ended], *, released: bool
    ) -> None:
        """The ends of these are in the database: everybody who has to hear of it does."""
        self._in_flight.written([item.attempt for item in group])
        if self.limited_queues:
            ended_in = self.limited_queues.intersection(item.attempt.task.queue for item in group)
            if ended_in and not self.room_made(ended_in):
                tasks.ring_waiting(connection, sorted(ended_in))
        if released:
            self.keys_released()
        self.events.last_write = time.monotonic()
        if self.events.wanted:
            self.events.ended(group, ended)
        if self.metrics is not None:
            self.metrics.ended(group)
        report(self._log, group, ended, repeated=self._repeated)

    def _complete(self, connection: Connection, worker_id: int, rows: Sequence[Completion]) -> Completed:
        try:
            return tasks.complete(connection, worker_id, rows)
        except psycopg.errors.CheckViolation as error:
            if not partitions.is_missing_day(error):
                raise
            self._log.warning("day_was_missing", error=error.diag.message_primary)
            partitions.ensure_days(connection, partitions.DAYS_AHEAD)
            return tasks.complete(connection, worker_id, rows)

    def _write_unlocked(
        self, connection: Connection, worker_id: int, group: Sequence[Ending], error: LockNotAvailable
    ) -> None:
        unlocked = self._set_aside.split(connection, group, error)
        aside = {id(item.attempt) for item in group} - {id(item.attempt) for item in unlocked}
        self._unwritten = [item for item in self._unwritten if id(item.attempt) not in aside]
        if unlocked:
            self._write_group(connection, worker_id, unlocked, [encode(item) for item in unlocked])

    def _bisect(self, connection: Connection, worker_id: int, group: Sequence[Ending], error: psycopg.Error) -> None:
        """One of them cannot be stored: find it, and end it as a failure with what the database said."""
        if len(group) > 1:
            middle = len(group) // 2
            for half in (group[:middle], group[middle:]):
                self._write_group(connection, worker_id, half, [encode(item) for item in half])
            return
        culprit = refused(group[0], why_unstorable(error))
        if group[0].outcome == culprit.outcome:
            raise error
        self._write_group(connection, worker_id, [culprit], [encode(culprit)])

    def _serve(self, connection: Connection) -> None:
        while True:
            try:
                statement, future = self._requests.get_nowait()
            except Empty:
                return
            try:
                future.set_result(repeat_on_conflict(lambda: statement(connection)))  # noqa: B023
            except LockNotAvailable as error:  # who asked decides what to do: nobody else is to wait
                future.set_exception(error)
            except CONNECTION_LOST:
                self._requests.put((statement, future))
                raise
            except (psycopg.Error, *CONFLICTS) as error:
                future.set_exception(error)

    def _write_progress(self, connection: Connection) -> None:
        reports: dict[int, list[tuple[Attempt, Progress]]] = {}
        for attempt in self._in_flight.started():
            if (progress := attempt.progress) is None or progress.stored:
                continue
            if attempt.own is None or attempt.own.stage is not Stage.COMMITTED:
                reports.setdefault(attempt.worker_id, []).append((attempt, progress))
        for worker_id, told in reports.items():
            rows = [(item.task.id, item.task.attempt, progress.percent, progress.message) for item, progress in told]
            with suppress(LockNotAvailable):  # it is written with the next report, or with the end
                repeat_on_conflict(lambda: tasks.report_progress(connection, worker_id, rows))  # noqa: B023
                for _, progress in told:
                    progress.stored = True
                if self.events.wanted:
                    self.events.progressed(told)
