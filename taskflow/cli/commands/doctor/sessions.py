"""The server: connections, and what keeps dead rows and WAL from being cleared away."""

from __future__ import annotations

from collections.abc import Iterator

from taskflow.cli.commands.doctor import finding
from taskflow.cli.commands.doctor.finding import Finding
from taskflow.cli.commands.doctor.subject import Check, Subject
from taskflow.settings import Settings

OLD_SECONDS, IDLE_SECONDS = 300.0, 60.0
FULL = 0.8
WAL_BYTES = 1024**3
HELD_TRANSACTIONS = 1_000_000
OF_A_WORKER, OF_THE_LEADER, OF_EVENTS = 2, 3, 1
DEAD_ROWS = "dead rows stay until it ends, and every claim and every query walks over them"


def connections(subject: Subject) -> Iterator[Finding]:
    """Whether the server has enough connections for what these settings and the workers that run want."""
    (limits,) = subject.rows("connection_limits")
    bounds = [limits.most - limits.reserved, limits.of_login, limits.of_database]
    most = min(bound for bound in bounds if bound is not None and bound >= 0)
    wanted = connections_wanted(subject.settings, len(subject.workers) if subject.facts.get("has_schema") else 0)
    subject.facts["connections"] = {"open": limits.open, "most": most, "wanted": wanted}
    if wanted > most and not subject.facts.get("pooler"):
        yield finding.error(
            f"workers and one server want up to {wanted} connections, and there may be {most}",
            "some will be refused (53300) when all are busy",
            f"ALTER SYSTEM SET max_connections = {2 * wanted} and restart PostgreSQL, or lower TASKFLOW_PROCESSES,"
            " TASKFLOW_WEB_PROCESSES, TASKFLOW_WEB_CONNECTIONS",
        )
    elif limits.open > FULL * most:
        yield finding.warning(
            f"{limits.open} of {most} connections are open",
            "workers, servers and `psql` are refused when all are taken",
            "SELECT application_name, count(*) FROM pg_stat_activity GROUP BY 1 ORDER BY 2 DESC shows whose they are",
        )


def connections_wanted(settings: Settings, workers: int) -> int:
    """Of all workers (those that run, or those that these settings start), the leader, and one server."""
    server = settings.web_processes * (settings.web_connections + OF_EVENTS)
    return max(workers, settings.processes) * OF_A_WORKER + OF_THE_LEADER + server


def transactions(subject: Subject) -> Iterator[Finding]:
    """The oldest transactions, and those that are open while nobody does anything in them."""
    for row in subject.rows("old_transactions"):
        whose = f"{row.application or 'a session'} of {row.login}" + (f" at {row.address}" if row.address else "")
        end = f"SELECT pg_terminate_backend({row.pid})"
        if row.idle and row.idle_seconds > IDLE_SECONDS:
            yield finding.warning(
                f"{whose} (pid {row.pid}) has been idle in a transaction for {finding.time(row.idle_seconds)}",
                f"it keeps its locks, and {DEAD_ROWS}",
                f"{end}; against the next one: ALTER ROLE … SET idle_in_transaction_session_timeout = '1min'",
            )
        elif row.seconds > OLD_SECONDS:
            yield finding.warning(
                f"a transaction of {whose} (pid {row.pid}) is {finding.time(row.seconds)} old", DEAD_ROWS, end
            )
    for row in subject.rows("prepared_transactions"):
        if row.seconds > OLD_SECONDS:
            yield finding.warning(
                f"a transaction of {row.owner} has been prepared for {finding.time(row.seconds)} and not ended",
                f"it keeps its locks, also over a restart, and {DEAD_ROWS}",
                "ROLLBACK PREPARED '" + row.gid.replace("'", "''") + "' (or COMMIT PREPARED)",
            )


def slots(subject: Subject) -> Iterator[Finding]:
    """Replication slots that hold back vacuum, or WAL."""
    for row in subject.rows("replication_slots"):
        held = [f"{row.bytes / 1024**3:.1f} GiB of WAL"] if (row.bytes or 0) > WAL_BYTES else []
        held += (
            [f"dead rows of {row.transactions:,} transactions"] if (row.transactions or 0) > HELD_TRANSACTIONS else []
        )
        if not row.active:
            held = held or ["from now on all WAL"]
        if held:
            unread = "" if row.active else ", which nobody reads,"
            yield finding.warning(
                f"the replication slot {row.name}{unread} keeps {', '.join(held)}",
                "the disk fills up, or vacuum removes nothing",
                f"let its reader catch up, or: SELECT pg_drop_replication_slot('{row.name}')",
            )


CHECKS = (
    Check("connections", "database", connections),
    Check("transactions", "database", transactions),
    Check("slots", "database", slots),
)
