"""The steps of a migration, each one or more short transactions of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import partial

import psycopg

from taskflow.store import compatibility, grants, object_files, objects, partitions, rescue, tables
from taskflow.store.connection import connect
from taskflow.store.migration_lock import LOCK_TIMEOUT, await_older_transactions, patiently
from taskflow.store.objects import SqlObject

OLDER_SECONDS = 5.0  # calls of functions take far less; what takes longer is a producer's own transaction

# Names in the files are looked up where they belong, whatever the login's search_path is.
SETTINGS = f"""\
SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';
SET LOCAL statement_timeout = 0;
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL check_function_bodies = off;
"""


@dataclass(slots=True)
class Changes:
    """What a migration does: revisions, names of roles, paths below sql/, and the roles that get rights.

    True if it is anything at all.
    """

    tables: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    grants: list[str] = field(default_factory=list)
    triggers: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(True for _ in self.by_kind())

    def by_kind(self) -> Iterator[tuple[str, list[str]]]:
        """Each kind of change that there is, with its names, in the order of a run."""
        yield from ((item.name, names) for item in fields(self) if (names := getattr(self, item.name)))


@dataclass(slots=True)
class MigrateReport:
    """What a run did, and a sentence for each thing that somebody should know."""

    done: Changes = field(default_factory=Changes)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Run:
    """What the steps share: the database, an open connection to it in autocommit, and the report they fill."""

    dsn: str
    connection: psycopg.Connection
    patience_seconds: float
    report: MigrateReport = field(default_factory=MigrateReport)


def migrate_tables(run: Run) -> None:
    """Apply the migrations of alembic that are pending, one a transaction."""
    open_connection = partial(connect, run.dsn, name="migrate", autocommit=False, prepare_threshold=None)
    for revision in tables.pending(compatibility.revision(run.connection)):
        patiently(
            partial(tables.upgrade, open_connection, revision, lock_timeout=LOCK_TIMEOUT),
            what=f"The migration {revision}",
            connection=run.connection,
            patience_seconds=run.patience_seconds,
        )
        run.report.done.tables.append(revision)


def create_roles(run: Run) -> None:
    """Create the roles that the server lacks; where that is not allowed, note it and go on."""
    missing = grants.missing_roles(run.connection)
    try:
        for name in missing:
            grants.create_role(run.connection, name)
            run.report.done.roles.append(name)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:  # the provider of a hosted database may have an error of its own for it
        run.report.notes.append(
            f"The roles {', '.join(missing)} could not be created ({error.diag.message_primary}): everything works, but"
            " only with the login that made the schema. `taskflow grants` prints the statements for an administrator."
        )


def replace_objects(run: Run) -> None:
    """Apply the functions and views whose files have changed, and grant what roles lack, all in one transaction."""

    def apply() -> tuple[list[SqlObject], list[str]]:
        with run.connection.transaction():
            run.connection.execute(SETTINGS.encode())
            todo = objects.pending(run.connection, "functions", "views")
            for item in todo:
                object_files.apply(run.connection, item)
            return todo, grants.grant(run.connection)

    todo, granted = patiently(
        apply,
        what="Replacing functions and views",
        connection=run.connection,
        patience_seconds=run.patience_seconds,
    )
    run.report.done.objects += [item.path for item in todo]
    run.report.done.grants += granted


def record_claims(run: Run) -> None:
    """Correct what was claimed or ended by functions of before when the tables had changed already."""
    if run.report.done.tables:
        await_older_transactions(run.connection, OLDER_SECONDS)
        rescue.record_claims(run.connection)


def replace_triggers(run: Run) -> None:
    """Apply the triggers whose definition has changed, one a transaction: each locks its table against writers."""

    def apply(item: SqlObject) -> None:
        with run.connection.transaction():
            run.connection.execute(SETTINGS.encode())
            object_files.apply(run.connection, item)

    for item in objects.pending(run.connection, "triggers"):
        patiently(
            partial(apply, item),
            what=f"The trigger {item.name}",
            connection=run.connection,
            patience_seconds=run.patience_seconds,
        )
        run.report.done.triggers.append(item.path)


def make_days(run: Run) -> None:
    """Make the daily partitions of the next month; in a transaction of its own, since it locks the parents."""
    patiently(
        partial(partitions.ensure_days, run.connection, partitions.DAYS_AHEAD),
        what="Making the daily partitions",
        connection=run.connection,
        patience_seconds=run.patience_seconds,
    )


STEPS = (migrate_tables, create_roles, replace_objects, record_claims, replace_triggers, make_days)
