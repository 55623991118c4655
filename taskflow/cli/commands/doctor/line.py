"""The way to the database: TLS, latency, clocks, notifications, and what stands in between."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from taskflow.cli.commands.doctor import finding
from taskflow.cli.commands.doctor.finding import Finding
from taskflow.cli.commands.doctor.subject import Check, Subject
from taskflow.settings.database_url import is_remote
from taskflow.store import bells

SLOW_SECONDS = 0.02
SKEW_SECONDS = 1.0
ROUND_TRIPS = 5
HEARING_SECONDS = 2.0
OLDEST, NEWEST = 15, 18


def tls(subject: Subject) -> Iterator[Finding]:
    """Whether a connection that leaves this machine's network is encrypted."""
    connection = subject.database
    host = connection.info.host
    subject.facts["tls"] = bool(connection.pgconn.ssl_in_use)
    if is_remote(host) and not connection.pgconn.ssl_in_use:
        yield finding.warning(
            f"the connection to {host} is not encrypted",
            "passwords, payloads and results can be read and changed on the way",
            "put sslmode=require into DATABASE_URL, or sslmode=verify-full with sslrootcert; the server needs ssl = on",
        )


def version(subject: Subject) -> Iterator[Finding]:
    """Whether the server is one that taskflow is made for."""
    number = subject.database.info.server_version // 10000
    subject.facts["server_version"] = subject.database.info.parameter_status("server_version")
    if number < OLDEST:
        yield finding.error(
            f"the server is PostgreSQL {number}", f"taskflow needs {OLDEST} or newer", "upgrade the server"
        )
    elif number > NEWEST:
        yield finding.note(
            f"the server is PostgreSQL {number}",
            f"this version of taskflow was tested with {OLDEST} to {NEWEST}",
            "install a newer taskflow-pg when there is one",
        )
    encoding = subject.database.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        yield finding.error(
            f"the database has the encoding {encoding}",
            "payloads need UTF8",
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
        )


def latency(subject: Subject) -> Iterator[Finding]:
    """How long one round trip takes."""
    taken = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        subject.database.execute("SELECT 1")
        taken.append(time.perf_counter() - began)
    median = sorted(taken)[ROUND_TRIPS // 2]
    subject.facts["round_trip_ms"] = round(1000 * median, 3)
    if median > SLOW_SECONDS:
        yield finding.warning(
            f"a round trip to the database takes {1000 * median:.0f} ms",
            "every claim and every request to the API waits for at least one",
            "run workers and servers where the database is; raise TASKFLOW_PREFETCH_SECONDS for short tasks",
        )


def clock(subject: Subject) -> Iterator[Finding]:
    """Whether this machine and the database agree about the time."""
    best, skew = float("inf"), 0.0
    for _ in range(ROUND_TRIPS):
        before = now()
        row = subject.database.execute("SELECT clock_timestamp()").fetchone()
        after = now()
        assert row is not None
        if (trip := (after - before).total_seconds()) < best:
            best, skew = trip, (before + (after - before) / 2 - row[0]).total_seconds()
    subject.facts["clock_skew_seconds"] = round(skew, 4)
    if abs(skew) - best / 2 > SKEW_SECONDS:
        yield finding.warning(
            f"this machine's clock is {finding.time(abs(skew))} {'ahead of' if skew > 0 else 'behind'} the database's",
            "run_at goes by the database's clock, and times that programs work out by their own are off by so much",
            "let both keep time by NTP (timedatectl set-ntp true, chronyc tracking)",
        )


def pooler(subject: Subject) -> Iterator[Finding]:
    """Whether notifications arrive, and if not, whether a pooler in transaction mode is the reason."""
    connection = subject.database
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    between = row is None or row[0] != connection.info.backend_pid
    subject.facts["pooler"] = between
    heard = subject.facts["notifications"] = _hears(subject)
    if heard:
        return
    yield finding.warning(
        "a pooler in transaction mode stands before the database" if between else "notifications do not arrive",
        "workers and streams of events are not woken: they poll, four times a second and worker",
        "give workers a DATABASE_URL of their own that leads to the server itself (often another port, such as 5432"
        " instead of 6543), or set pool_mode = session",
    )


def _hears(subject: Subject) -> bool:
    """Whether a notification that one connection sends arrives at another, which sits idle as a worker does."""
    token = secrets.token_hex(8)
    with subject.second() as listener, subject.second() as sender:
        listener.execute(f"LISTEN {bells.CONTROL}")
        bells.probe(sender, token)
        deadline = time.monotonic() + HEARING_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            if any(notify.payload == token for notify in listener.notifies(timeout=left, stop_after=1)):
                return True
    return False


def now() -> datetime:
    """By this machine's clock."""
    return datetime.now(UTC)


CHECKS = (
    Check("version", "database", version),
    Check("tls", "database", tls),
    Check("latency", "database", latency),
    Check("clock", "database", clock),
    Check("notifications", "database", pooler),
)
