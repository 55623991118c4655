"""Fires the schedules: each fire time once, and on time.

What is due in the next seconds is read ahead and worked out while there is time; one statement then fires whatever is
due. Thousands of schedules often share one fire time, the full minute. These are fired by a transaction that is begun
as long before as it takes, and committed when the time has come: nobody sees anything before that.

Two leaders at once do no harm, see sql/functions/fire_schedules.sql.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import psycopg

from taskflow.leader.agenda import Agenda
from taskflow.leader.looper import Connection, Loop, Pause, log
from taskflow.store import schedules
from taskflow.store.partitions import database_time
from taskflow.store.schedules import Fired, Firing, Schedule

LOOK_SECONDS, AHEAD_SECONDS = 5.0, 20.0
LOOK_AGAIN_SECONDS = 0.2  # when something was not done: somebody may hold its row for long
LEAST_BETWEEN_LOOKS_SECONDS = 0.02
# Whatever is done, it is done in pieces of some milliseconds, between which what has become due is fired.
PAGE, MOST_READ = 200, 50_000
BATCH = 500
WORKED_OUT_AT_ONCE = 25
LONGEST_WAIT_SECONDS = 0.2  # how soon it notices that it is to end
# Below that the transaction would not take long; while one is open, sleeping workers are a little less asleep.
BURST = 100
FIRST_COST_SECONDS = 0.0003
# To wait for the time in the transaction costs little, to be late does.
MARGIN, LONGEST_LEAD_SECONDS = 2.0, 10.0
# A leader whose process was stopped within such a transaction must not hold the rows for longer than that.
HOLD = "20s"
FORGET_SECONDS, FORGET_BATCH = 60.0, 1000
WRONG = (psycopg.DataError, psycopg.IntegrityError)


class Schedules(Loop):
    """Reads ahead, fires, and waits for the next fire time or for a notification that a schedule was changed."""

    name = "schedules"

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._cost = FIRST_COST_SECONDS  # of firing one schedule among many

    def begin(self, connection: Connection) -> None:
        self._agenda = Agenda()
        self._look_at = self._looked_at = self._forget_at = float("-inf")
        # What was read so far, while a look is under way, and the last of it.
        self._reading: dict[int, Schedule] | None = None
        self._last: Schedule | None = None
        # Of the database, when this process's clock showed so much: it alone says when something is due.
        self._epoch, self._epoch_at = datetime.now(UTC), self._clock()
        schedules.listen(connection)

    def work(self, connection: Connection) -> float:
        if self._reading is not None or self._clock() >= self._look_at:
            self._look(connection)
        if firings := self._agenda.take(self._now(), BATCH):
            self._fire(connection, firings)
        elif self._agenda.burst() >= BURST and self._wake_at() <= self._clock():
            self._fire_burst(connection)
        elif self._reading is None and not self._agenda.work_out(self._now(), WORKED_OUT_AT_ONCE):
            self._forget(connection)
            self._wait(connection)
        return 0.0

    def _look(self, connection: Connection) -> None:
        """Read a page of what comes; with the last one the agenda is what was read."""
        if self._reading is None:
            self._reading, self._last, self._look_at = {}, None, float("inf")
        before = self._clock()
        now, found = schedules.read_due(connection, ahead_seconds=AHEAD_SECONDS, limit=PAGE, after=self._last)
        if now is not None:
            self._epoch, self._epoch_at = now, (before + self._clock()) / 2
        self._reading |= {schedule.id: schedule for schedule in found}
        self._last = found[-1] if found and found[-1].due is not None else None
        if len(found) < PAGE or self._last is None or len(self._reading) >= MOST_READ:
            self._agenda.replace(self._reading.values(), self._now())
            self._reading = None
            self._looked_at = self._clock()
            # Of those whose time nobody knows a look takes a page.
            more = bool(found) and self._last is None
            self._look_at = min(self._look_at, self._looked_at + (LOOK_AGAIN_SECONDS if more else LOOK_SECONDS))

    def _fire(self, connection: Connection, firings: Sequence[Firing]) -> None:
        """Fire in one statement; where a value in one of them is wrong, in halves, until it is alone."""
        try:
            done = schedules.fire(connection, firings)
        except WRONG as error:
            if len(firings) == 1:
                self._agenda.refuse(firings[0].schedule, str(error.diag.message_primary or error))
                return
            middle = len(firings) // 2
            self._fire(connection, firings[:middle])
            self._fire(connection, firings[middle:])
            return
        self._note(firings, done)

    def _fire_burst(self, connection: Connection) -> None:
        """Fire all that are due at one time by a transaction that ends at that time."""
        at = self._agenda.first()
        assert at is not None
        firings = self._agenda.take_burst(self._now())
        began, done = self._clock(), dict[int, Fired]()
        try:
            with connection.transaction():
                connection.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", (HOLD,))
                for start in range(0, len(firings), BATCH):
                    done |= schedules.fire(connection, firings[start : start + BATCH])
                self._cost = max(self._cost / 2, (self._clock() - began) / len(firings))
                self.stopping.wait(max(0.0, (at - self._now()).total_seconds()))
                # Our reckoning may be ahead by a part of a round trip, and nobody is to see a task before its time.
                if self.stopping.wait(max(0.0, (at - database_time(connection)).total_seconds())):
                    raise Pause(0.0)  # undone; who leads next fires them
        except WRONG:
            for start in range(0, len(firings), BATCH):
                self._fire(connection, firings[start : start + BATCH])
            return
        self._note(firings, done)

    def _note(self, firings: Sequence[Firing], done: dict[int, Fired]) -> None:
        """Go on with what was fired; look again soon for what was not."""
        horizon = self._now() + timedelta(seconds=AHEAD_SECONDS)
        following: list[Schedule] = []
        for firing in firings:
            schedule, result = firing.schedule, done.get(firing.schedule.id)
            if self._reading is not None:  # it was read as it was before
                self._reading.pop(schedule.id, None)
            if result is None:
                self._look_soon(LOOK_AGAIN_SECONDS)
                continue
            if result.skipped:
                log.info("schedule_overlapped", schedule=schedule.name, fire_times=result.skipped)
            if result.next is not None and result.next < horizon:
                following.append(schedule._replace(due=result.next, run_count=result.run_count))
        self._agenda.add(following)
        if self._reading is not None:
            self._reading |= {schedule.id: schedule for schedule in following}

    def _wait(self, connection: Connection) -> None:
        """Wait until there is something to do or to look at, for a moment."""
        seconds = min(self._look_at, self._wake_at()) - self._clock()
        timeout = max(0.0, min(seconds, LONGEST_WAIT_SECONDS))
        for _ in connection.notifies(timeout=timeout, stop_after=1):
            self._look_soon(LEAST_BETWEEN_LOOKS_SECONDS)

    def _look_soon(self, seconds: float) -> None:
        self._look_at = min(self._look_at, max(self._clock(), self._looked_at + seconds))

    def _wake_at(self) -> float:
        """On this process's clock, when to begin to fire what comes first."""
        first = self._agenda.first()
        if first is None:
            return float("inf")
        burst = self._agenda.burst()
        lead = min(LONGEST_LEAD_SECONDS, MARGIN * self._cost * burst + 0.02) if burst >= BURST else 0.0
        return self._epoch_at + (first - self._epoch).total_seconds() - lead

    def _now(self) -> datetime:
        """The database's time."""
        return self._epoch + timedelta(seconds=self._clock() - self._epoch_at)

    def _forget(self, connection: Connection) -> None:
        if self._clock() >= self._forget_at:
            full = schedules.forget_runs(connection, FORGET_BATCH) == FORGET_BATCH
            self._forget_at = self._clock() + (1.0 if full else FORGET_SECONDS)
