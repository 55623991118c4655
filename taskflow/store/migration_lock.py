"""What keeps two migrations apart, and a migration from standing in anybody's way."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable

from taskflow.errors import TaskflowError

T = TypeVar("T")

# A key of the one-number kind: the bells of the queues are of the two-number kind and never meet it.
LOCK_KEY = 0x7461736B666C6F77  # "taskflow"
OTHERS_SECONDS = 900.0
# While a lock is waited for, everybody who comes later waits behind: the limit is what a producer may notice, and the
# pause is long enough for all that have queued up to be through before the next try.
LOCK_TIMEOUT = "200ms"
PAUSE_SECONDS = 0.6

OPEN_TRANSACTIONS = """
SELECT a.pid, coalesce(nullif(a.application_name, ''), a.usename, '?'),
       floor(extract(epoch FROM clock_timestamp() - a.xact_start))
FROM pg_catalog.pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND EXISTS (
    SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
    WHERE l.pid = a.pid AND l.granted AND c.relnamespace = 'taskflow'::regnamespace)
ORDER BY a.xact_start
LIMIT 5
"""
# Every transaction holds a lock on its own virtual id. Not those of the server itself, nor the one that `alone` keeps.
OPEN_NOW = """
SELECT l.virtualtransaction
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'virtualxid' AND l.granted AND a.datname = current_database() AND a.usesysid IS NOT NULL
  AND l.pid <> pg_backend_pid() AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_locks m
    WHERE m.pid = l.pid AND m.locktype = 'advisory' AND m.granted AND m.objsubid = 1
      AND m.classid::bigint << 32 | m.objid::bigint = %(migration)s)
"""


@contextmanager
def alone(connection: psycopg.Connection) -> Iterator[Callable[[], None]]:
    """Hold the right to migrate this database in an open transaction of `connection`, which does nothing else.

    A transaction and not a session holds it, so that it works through a pooler in transaction mode; idle, it keeps no
    snapshot and no lock on anything else. Asked for again and again instead of waited for: a statement that waits keeps
    a snapshot, and an index that the other one builds concurrently would wait for that.

    Yields a check that raises DatabaseUnavailable through psycopg if the right was lost with its connection.
    Raises TaskflowError if another migration holds it for 15 minutes.
    """
    deadline = time.monotonic() + OTHERS_SECONDS
    while True:
        with connection.transaction():
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK_KEY]).fetchone()
            if row and row[0]:
                yield lambda: _still_there(connection)
                return
        if time.monotonic() > deadline:
            raise TaskflowError(
                "Another `taskflow migrate` has been running on this database for 15 minutes; see if it hangs."
            )
        time.sleep(0.2)


def _still_there(connection: psycopg.Connection) -> None:
    connection.execute("SELECT 1")


def patiently(step: Callable[[], T], *, what: str, connection: psycopg.Connection, patience_seconds: float) -> T:
    """Run `step`, a transaction with a short lock_timeout, again until it gets its locks.

    Raises TaskflowError, naming the transactions that are in the way, when `patience_seconds` are over.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return step()
        except (LockNotAvailable, DeadlockDetected) as error:
            if time.monotonic() > deadline:
                raise TaskflowError(_in_the_way(what, connection, patience_seconds)) from error
        time.sleep(PAUSE_SECONDS * random.uniform(1, 1.5))


def await_older_transactions(connection: psycopg.Connection, seconds: float) -> None:
    """Wait until every transaction that is open in the database now has ended, for at most so many seconds.

    Whoever is in a function goes on with its old body when it is replaced.
    """
    deadline = time.monotonic() + seconds
    older = set(connection.execute(OPEN_NOW, {"migration": LOCK_KEY}))
    while older and time.monotonic() < deadline:
        time.sleep(0.02)
        older &= set(connection.execute(OPEN_NOW, {"migration": LOCK_KEY}))


def _in_the_way(what: str, connection: psycopg.Connection, patience_seconds: float) -> str:
    found = [f"pid {pid} ({name}, open for {age} s)" for pid, name, age in connection.execute(OPEN_TRANSACTIONS)]
    return (
        f"{what} needs a lock that it did not get within {patience_seconds:.0f} s. Transactions open on taskflow's"
        f" tables: {', '.join(found) or 'none just now'}. What was done before stays done: end them, or run"
        " `taskflow migrate` again."
    )
