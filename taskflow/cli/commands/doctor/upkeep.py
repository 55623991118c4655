"""Partitions and vacuum; `taskflow maintenance` says the same about the partitions and the dead rows."""

from __future__ import annotations

from collections.abc import Iterator

from taskflow.cli.commands.doctor import finding
from taskflow.cli.commands.doctor.finding import Finding
from taskflow.cli.commands.doctor.subject import Check, Subject
from taskflow.store.maintenance import Upkeep

FEW_DAYS = 7
DEAD_FRACTION = 0.5
FEW_ROWS = 10_000
HIGHEST_SCALE_FACTOR = 0.05
OLDEST = "`SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start` shows the oldest transaction"


def found(upkeep: Upkeep) -> Iterator[Finding]:
    """What needs to be done about the tables."""
    yield from _days_ahead(upkeep)
    yield from _leaving(upkeep)
    yield from _owner_wanted(upkeep)
    yield from _dead_rows(upkeep)


def _days_ahead(upkeep: Upkeep) -> Iterator[Finding]:
    if upkeep.days_ahead < FEW_DAYS:
        kind = finding.error if upkeep.days_ahead < 1 else finding.warning
        yield kind(
            f"there are tables for the next {upkeep.days_ahead} days only, and a month ahead is made",
            "no leader runs",
            "Start a worker or a scheduler, or run `taskflow migrate`",
        )


def _leaving(upkeep: Upkeep) -> Iterator[Finding]:
    for table in upkeep.tables:
        if table.leaving:
            yield finding.warning(
                f"a day of {table.name} waits to be dropped",
                "a transaction that reads it is open",
                f"It goes by itself when that ends; {OLDEST}",
            )


def _owner_wanted(upkeep: Upkeep) -> Iterator[Finding]:
    if upkeep.owner_wanted:
        yield finding.warning(
            "days have expired and are not dropped",
            "the login of whoever leads does not own the tables, and the database grows",
            "Run one `taskflow scheduler` with the login that ran `taskflow migrate`: it takes the lead over",
        )


def _dead_rows(upkeep: Upkeep) -> Iterator[Finding]:
    for table in upkeep.tables:
        if table.name == "tasks_live" and table.dead_rows > max(FEW_ROWS, DEAD_FRACTION * table.rows):
            yield finding.warning(
                f"tasks_live has {table.dead_rows:,} dead rows beside {table.rows:,}",
                "an old transaction or replication slot keeps them from being removed, or autovacuum is off",
                f"{OLDEST}; then VACUUM taskflow.tasks_live",
            )


def tables(subject: Subject) -> Iterator[Finding]:
    """Days ahead, days that wait to be dropped or may not be, dead rows."""
    yield from found(subject.upkeep)


def vacuum(subject: Subject) -> Iterator[Finding]:
    """Whether the live partition is vacuumed by itself, and soon enough."""
    (row,) = subject.rows("vacuum_settings")
    if not (row.autovacuum and row.track_counts):
        yield finding.error(
            "autovacuum is off on this server",
            "dead rows of tasks are never removed: claims become slower until they stand still",
            "ALTER SYSTEM SET autovacuum = on; ALTER SYSTEM SET track_counts = on; SELECT pg_reload_conf()",
        )
    for name, options in (("", row.options), ("toast.", row.toast_options)):
        given = dict(option.split("=", 1) for option in options)
        if given.get("autovacuum_enabled", "on").lower() in ("off", "false", "no", "0"):
            yield finding.error(
                f"autovacuum is off for taskflow.tasks_live{' (TOAST)' if name else ''}",
                "its dead rows are never removed: claims become slower until they stand still",
                f"ALTER TABLE taskflow.tasks_live RESET ({name}autovacuum_enabled)",
            )
        # A table without TOAST has no options for it.
        factor = float(given.get("autovacuum_vacuum_scale_factor", 0.2 if options or not name else 0.0))
        if factor > HIGHEST_SCALE_FACTOR:
            yield finding.warning(
                f"taskflow.tasks_live{' (TOAST)' if name else ''} is vacuumed when {factor:.0%} of it is dead",
                "every task dies there once: with a long backlog that is far too late",
                f"ALTER TABLE taskflow.tasks_live SET ({name}autovacuum_vacuum_scale_factor = 0.01)",
            )


CHECKS = (Check("tables", "schema", tables), Check("vacuum", "schema", vacuum))
