"""The schema: whether it is this program's, whole, and open to whom it should be."""

from __future__ import annotations

from collections.abc import Iterator

from taskflow.cli.commands.doctor import finding
from taskflow.cli.commands.doctor.finding import Finding, few
from taskflow.cli.commands.doctor.subject import Check, Subject
from taskflow.store import compatibility, diagnosis, grants, migrate, objects, resources
from taskflow.store.roles import ROLES

MIGRATE = "taskflow migrate"


def fits(subject: Subject) -> Iterator[Finding]:
    """Whether this program can work with the schema, and whether `migrate` has something to do."""
    connection = subject.database
    subject.facts["revision"] = compatibility.revision(connection)
    if problem := compatibility.schema_problem(connection):
        yield finding.error(problem, "workers wait, and the server answers 503, until it fits", MIGRATE)
        return
    if newer := compatibility.newer_revision(connection):
        yield finding.note(
            f"the database is at revision {newer}, newer than this program",
            "a newer version has migrated it; it serves this one too",
            "finish the deploy of the newer version",
        )
        return
    for kind, names in migrate.pending_in(connection).by_kind():
        if kind != "grants":
            yield finding.error(f"not yet migrated: {kind} {few(names)}", "this program expects it to be", MIGRATE)


def functions(subject: Subject) -> Iterator[Finding]:
    """Whether the functions in the database are those of this program."""
    if altered := diagnosis.altered_functions(subject.database):
        paths = ", ".join(f"'functions/{name}.sql'" for name in altered)
        yield finding.error(
            f"functions were changed or dropped in the database: {few(altered)}",
            "they are not what this version was tested with, and migrate believes that they are",
            f"DELETE FROM taskflow.sql_objects WHERE path IN ({paths}); then {MIGRATE}",
        )


def indexes(subject: Subject) -> Iterator[Finding]:
    """Whether every index is there, usable, and the one that the migrations make."""
    # Another version may have others: what to do about that is said by the check of the schema.
    current = compatibility.revision(subject.database) == resources.revisions()[-1]
    wanted = diagnosis.wanted_indexes() if current else {}
    for row in subject.rows("unusable_indexes", names=list(wanted), definitions=list(wanted.values())):
        if row.state == "invalid":
            yield finding.error(
                f"the index taskflow.{row.name} is invalid",
                "queries do not use it, and writes pay for it: making it anew was interrupted, or a partition lacks it",
                f"REINDEX INDEX CONCURRENTLY taskflow.{row.name}",
            )
        elif row.state == "missing":
            yield finding.error(
                f"the index taskflow.{row.name} is missing",
                "what it is for reads whole tables: claims, completions or lists become slow as the tables grow",
                _making(row.name),
            )
        else:
            yield finding.error(
                f"the index taskflow.{row.name} is not the one that the migrations make",
                f"statements may read whole tables without it, or a guarantee is missing; it is {row.definition}",
                _making(row.name, instead=True),
            )


def _making(name: str, *, instead: bool = False) -> str:
    """The statements that make an index beside work that goes on, where PostgreSQL can: not one of partitions.

    `instead`: of another with its name, which serves until it is there.
    """
    definition = diagnosis.wanted_indexes()[name]
    partitioned = " ON ONLY " in definition
    concurrently = "" if partitioned else " CONCURRENTLY"
    statements = [definition.replace(" INDEX", f" INDEX{concurrently}", 1).replace(" ON ONLY ", " ON ")]
    if name in diagnosis.OF_CONSTRAINTS:
        table = name.removesuffix("_pkey")
        statements.append(f"ALTER TABLE taskflow.{table} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {name}")
    if instead:
        statements.insert(0, f"ALTER INDEX taskflow.{name} RENAME TO {name}_other")
        statements.append(f"DROP INDEX{concurrently} taskflow.{name}_other")
    return "; ".join(statements) + ("; -- at a quiet hour: writes wait meanwhile" if partitioned else ";")


def triggers(subject: Subject) -> Iterator[Finding]:
    """Whether every trigger is there, and switched on."""
    names = [item.name for item in objects.load("triggers")]
    for row in subject.rows("idle_triggers", wanted=names):
        fix = (
            f"ALTER TABLE {row.relation} ENABLE TRIGGER {row.name}"
            if row.state == "disabled"
            else f"DELETE FROM taskflow.sql_objects WHERE path = 'triggers/{row.name}.sql'; then {MIGRATE}"
        )
        yield finding.error(
            f"the trigger {row.name} is {row.state}",
            "sleeping workers are not woken" if row.name == "tasks_ring" else "what it keeps up to date goes stale",
            fix,
        )


def rights(subject: Subject) -> Iterator[Finding]:
    """Whether the roles have what the manifest says, PUBLIC has nothing, and this login has one of them."""
    connection = subject.database
    lacking: dict[str, list[str]] = {}
    for right in grants.problems(connection):
        lacking.setdefault(right.role, []).append(str(right))
    for role, found in lacking.items():
        if role == "public":
            yield finding.warning(
                f"every login may call {len(found)} functions of taskflow",
                "whoever can connect can change tasks",
                f"{MIGRATE}, or: {grants.REVOKE_FROM_PUBLIC}",
            )
        else:
            yield finding.error(
                f"the role {role} lacks {len(found)} rights: {few(found)}",
                "programs that have only this role fail where they need them",
                f"{MIGRATE}, or give what `taskflow grants` prints to an administrator",
            )
    if missing := grants.missing_roles(connection):
        yield finding.note(
            f"the server has no role {few(missing)}",
            "everything works, but only with the login that made the schema",
            "let an administrator run what `taskflow grants` prints",
        )
    yield from _own(subject)


def _own(subject: Subject) -> Iterator[Finding]:
    names = [role.name for role in ROLES]
    for row in subject.rows("own_rights", roles=names):
        subject.facts["login"] = {"name": row.login, "owns_schema": row.owns, "roles": row.roles}
        if not row.owns and not row.roles:
            yield finding.error(
                f"the login {row.login} neither owns the schema nor has one of its roles",
                "it can do next to nothing",
                f'GRANT taskflow_worker TO "{row.login}" (or taskflow_server, _producer, _reader, _operator)',
            )
        if not row.sees_sessions:
            yield finding.note(
                f"the login {row.login} does not see what other logins' sessions do",
                "old transactions of theirs are not found here",
                f'GRANT pg_read_all_stats TO "{row.login}"',
            )


CHECKS = (
    Check("schema", "database", fits),
    Check("functions", "schema", functions),
    Check("indexes", "schema", indexes),
    Check("triggers", "schema", triggers),
    Check("rights", "schema", rights),
)
