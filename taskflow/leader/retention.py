"""Retention: expired days are dropped, without locking anybody out and without a DELETE of millions of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta

import psycopg
from psycopg import errors

from taskflow.leader.looper import Connection, Loop, log
from taskflow.store import partitions
from taskflow.store.partitions import Day

INTERVAL_SECONDS = 600.0
RETRY_SECONDS = 30.0
OWNER_WANTED_SECONDS = 2 * INTERVAL_SECONDS
DETACH_SECONDS = 30
ORDER = ("tasks_completed", "tasks_ended", "executions")  # tasks first: what goes with them need not be kept
# Somebody's transaction still uses the day, or another leader is at it.
BUSY = (errors.LockNotAvailable, errors.QueryCanceled, errors.ObjectNotInPrerequisiteState, errors.UndefinedTable)


class Retention(Loop):
    """Removes a day when all of it is older than `keep[parent]`; yesterday stays in any case.

    A reader's open transaction makes the removal wait, and nothing else: it is tried again every half minute, from
    where it stopped. What a removal has begun is known from the catalog alone, so any leader can go on with it.

    Only the owner of the tables may drop a day. A process that may not calls `want_owner`, with for how many seconds,
    while there is one to drop.
    """

    name = "retention"

    def __init__(
        self,
        keep: Mapping[str, timedelta],
        *,
        want_owner: Callable[[Connection, float], None] = lambda _connection, _seconds: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        detach_seconds: float = DETACH_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._keep = keep
        self._want_owner = want_owner
        self._now = now
        self._detach_seconds = detach_seconds
        self._retry_seconds = retry_seconds
        self._complained = False
        self._waiting: set[str] = set()

    def work(self, connection: Connection) -> float:
        days = self._due(connection)
        busy = {day.parent for day in days if not self._remove(connection, day)}
        partitions.forget_executions(connection)
        return self._retry_seconds if busy else INTERVAL_SECONDS

    def _due(self, connection: Connection) -> list[Day]:
        """The days to remove, tasks before executions, and of each a pending detach first: it forbids any other."""
        # Both clocks must say that a day has expired: one that jumped ahead must not cost anybody his history.
        now = min(partitions.database_time(connection), self._now())
        days = [day for day in partitions.list_days(connection) if day.detach_pending or self._expired(day, now)]
        if any(not day.owned for day in days):
            self._want_owner(connection, OWNER_WANTED_SECONDS)
            self._complain(days[0])
            return []
        return sorted(days, key=lambda day: (ORDER.index(day.parent), not day.detach_pending, day.date))

    def _expired(self, day: Day, now: datetime) -> bool:
        # Ages are compared, not dates: what is kept for very long would have to be older than the first one there is.
        begin = datetime.combine(day.date, datetime.min.time(), UTC)
        return now - begin - timedelta(days=1) >= self._keep[day.parent] and day.date < _yesterday(now)

    def _remove(self, connection: Connection, day: Day) -> bool:
        """Detach and drop one day; False if it has to wait for somebody."""
        try:
            self._keep_audit(connection, day)
            if day.detach_pending:
                partitions.finalize(connection, day)
            elif day.attached:
                partitions.detach(connection, day, self._detach_seconds)
            self._keep_audit(connection, day)
            partitions.drop(connection, day)
        except BUSY as error:
            self._log_waiting(day, error)
            return False
        self._waiting.discard(day.name)
        log.info("day_dropped", partition=day.name)
        return True

    def _keep_audit(self, connection: Connection, day: Day) -> None:
        if day.parent == "executions":
            partitions.keep_executions(connection, day)

    def _log_waiting(self, day: Day, error: psycopg.Error) -> None:
        """Once for each day: an open transaction may last for hours."""
        if day.name not in self._waiting:
            self._waiting.add(day.name)
            log.info("retention_waits_for_transaction", partition=day.name, reason=error.diag.message_primary)

    def _complain(self, day: Day) -> None:
        if not self._complained:
            self._complained = True
            log.error(
                "retention_needs_owner",
                reason="only the owner of the tables may drop days: nothing is removed, and the database grows",
                partition=day.name,
                way_out="run one `taskflow scheduler` with the role that ran `taskflow migrate`, which takes the lead "
                "over, or GRANT that role to this one",
            )


def _yesterday(now: datetime) -> date:
    return now.date() - timedelta(days=1)
