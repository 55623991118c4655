"""The tiny engine under the leader's loops: one thread, one connection, and loops that take turns on it."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from taskflow.errors import SchemaMismatch, TaskflowError
from taskflow.store.compatibility import schema_problem
from taskflow.store.connection import connect, settle_session
from taskflow.store.outage import Outage, reason_of
from taskflow.telemetry import get_logger

Connection = psycopg.Connection[Any]

log = get_logger("leader")

LOOK_UP_SECONDS = 0.5  # how soon a waiting thread notices that it is not wanted any more
CANCEL_EVERY_SECONDS = 0.1
MOST_BACKOFF_SECONDS = 60.0
MOST_RECONNECT_SECONDS = 10.0
PLAN = "trying again until it is back"


class Loop:
    """Something to be done again and again; all of it must be safe to be done by two at once."""

    name: str
    stopping: threading.Event = threading.Event()
    """Set when the looper is to end: for a loop that waits by itself. Each looper gives its loops its own."""

    def begin(self, connection: Connection) -> None:
        """A new connection: forget what was seen through the last one."""

    def work(self, connection: Connection) -> float:
        """One round, of seconds at most. Returns how many seconds to wait before the next.

        Raises `Pause` to have the connection closed meanwhile. Any other error is logged once, and the round repeated
        with a growing pause; an error that has cost the connection brings a new one.
        """
        raise NotImplementedError

    def end(self, connection: Connection) -> None:
        """The connection is about to be closed in peace: give back what would otherwise be held on to."""


class Pause(Exception):
    """Raised by a loop: close the connection, begin anew after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"pause of {seconds} s")
        self.seconds = seconds


class Fatal(Exception):
    """Raised by a loop without which the others must not go on: give the connection up."""


@dataclass(slots=True, eq=False)
class Turn:
    """When a loop is due next, how often in a row it has failed, and what was said of that last."""

    loop: Loop
    due: float
    failures: int = 0
    said: str = ""


class Looper:
    """Runs `loops` in turn, in a thread and on a connection of its own, as long as `wanted()` says so.

    `outage`: one that several loopers share.
    """

    def __init__(
        self,
        name: str,
        dsn: str,
        loops: Sequence[Loop],
        *,
        wanted: Callable[[], bool] = lambda: True,
        outage: Outage | None = None,
    ) -> None:
        self._name = name
        self._dsn = dsn
        self._loops = loops
        self._wanted = wanted
        self._stopping = threading.Event()
        for loop in loops:
            loop.stopping = self._stopping
        self._connection: Connection | None = None
        self._failures = 0
        self._outage = outage or Outage(log, plan=PLAN)
        self._schema_fits = False
        self._farewell = ""  # what the server said when it closed the connection
        self._thread = threading.Thread(target=self._run, name=f"taskflow {name}", daemon=True)

    def start(self) -> None:
        """Begin, in the background."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin to end; returns at once."""
        self._stopping.set()

    def stop(self, timeout: float) -> bool:
        """End within `timeout` seconds, running statements are cancelled. False if the thread is still busy then."""
        self.ask_to_stop()
        deadline = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(CANCEL_EVERY_SECONDS)
            self._cancel_statement()
        return not self._thread.is_alive()

    def _cancel_statement(self) -> None:
        connection = self._connection
        if connection is not None and self._thread.is_alive():
            with contextlib.suppress(psycopg.Error):  # it could not be told to stop; it is asked again, or left behind
                connection.cancel_safe(timeout=1.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._wanted():
                self._stopping.wait(self._session())
            else:
                self._outage.ended(self._name)
                self._stopping.wait(LOOK_UP_SECONDS)

    def _session(self) -> float:
        """One connection from its beginning to its end. Returns how many seconds to wait before the next."""
        self._farewell = ""
        try:
            with connect(self._dsn, name=self._name, prepare_threshold=None) as connection:
                settle_session(connection)
                connection.add_notice_handler(self._note_farewell)
                self._connection = connection
                self._check_schema(connection)
                self._take_turns(connection)
            return 0.0
        except Pause as pause:
            self._succeeded()
            return pause.seconds
        except Exception as error:  # noqa: BLE001  (whatever it is: it is logged, and the thread goes on)
            if self._stopping.is_set():
                return 0.0
            self._failed(error.__cause__ if isinstance(error, Fatal) and error.__cause__ is not None else error)
            return _backoff(self._failures, MOST_RECONNECT_SECONDS)
        finally:
            self._connection = None

    def _check_schema(self, connection: Connection) -> None:
        """At the start, and after every failure; not each time that one which does not lead asks whether it may."""
        if not self._schema_fits and (problem := schema_problem(connection)) is not None:
            raise SchemaMismatch(problem)
        self._schema_fits = True

    def _succeeded(self) -> None:
        self._failures = 0
        self._outage.ended(self._name)

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        self._schema_fits = False
        if isinstance(error, psycopg.Error | TaskflowError):
            self._outage.failed(error, connection=self._name, farewell=self._farewell)
        else:
            log.warning("leader_interrupted", reason=reason_of(error), exc_info=error, connection=self._name)

    def _note_farewell(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        """A reason that arrives just before a statement is sent is a notice to libpq, and the statement's error is
        merely that the server has gone."""
        if diagnostic.severity_nonlocalized == "FATAL":
            self._farewell = diagnostic.message_primary or ""

    def _take_turns(self, connection: Connection) -> None:
        for loop in self._loops:
            loop.begin(connection)
        turns = [Turn(loop, time.monotonic()) for loop in self._loops]
        try:
            while not self._stopping.is_set() and self._wanted():
                turn = min(turns, key=lambda item: item.due)
                wait = turn.due - time.monotonic()
                if wait > 0:
                    self._stopping.wait(min(wait, LOOK_UP_SECONDS))
                else:
                    turn.due = time.monotonic() + self._work(turn, connection)
        finally:
            if not connection.closed:
                for loop in self._loops:
                    loop.end(connection)

    def _work(self, turn: Turn, connection: Connection) -> float:
        try:
            delay = turn.loop.work(connection)
        except (Pause, Fatal):
            raise
        except Exception as error:
            if connection.closed or isinstance(error, psycopg.errors.ReadOnlySqlTransaction) or self._stopping.is_set():
                raise
            turn.failures += 1
            _log_failure(turn, error)
            return _backoff(turn.failures, MOST_BACKOFF_SECONDS)
        if turn.failures:
            log.info("leader_loop_works_again", loop=turn.loop.name)
            turn.failures, turn.said = 0, ""
        self._succeeded()
        return delay


def _backoff(failures: int, most: float) -> float:
    """Seconds: doubling from half a second up to `most`, of which a random quarter is taken off."""
    return float(min(most, 0.5 * 2 ** min(failures - 1, 20)) * random.uniform(0.75, 1.0))


def _log_failure(turn: Turn, error: Exception) -> None:
    """Say why a loop fails, once for each reason; with the traceback what the database's own words do not explain."""
    reason = reason_of(error)
    if reason != turn.said:
        expected = isinstance(error, psycopg.Error | TaskflowError)
        log.warning("leader_loop_failed", loop=turn.loop.name, reason=reason, exc_info=None if expected else error)
    turn.said = reason
