"""All checks in turn: what one of them cannot find out hides nothing of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg

from taskflow.cli.commands.doctor import exposure, finding, line, schema, sessions, upkeep, work
from taskflow.cli.commands.doctor.finding import Finding
from taskflow.cli.commands.doctor.subject import Check, Subject
from taskflow.errors import TaskflowError
from taskflow.store import diagnosis
from taskflow.store.connection import errors_translated

CHECKS = (*line.CHECKS, *schema.CHECKS, *sessions.CHECKS, *upkeep.CHECKS, *work.CHECKS, *exposure.CHECKS)


@dataclass(frozen=True, slots=True)
class Result:
    """What one check has found; `skipped`: why it was not made."""

    check: str
    findings: list[Finding]
    seconds: float
    skipped: str = ""


def examine(subject: Subject) -> Iterator[Result]:
    """Make every check that can be made."""
    yield _measured("reach", lambda: _reach(subject))
    for check in CHECKS:
        yield _made(check, subject)
    if subject.connection is not None:
        subject.connection.close()


def _reach(subject: Subject) -> list[Finding]:
    if not subject.settings.database_url:
        return [_unreachable("DATABASE_URL is not set")]
    try:
        _open(subject)
    except (TaskflowError, psycopg.Error) as error:
        return [_unreachable(str(error).strip())]
    return []


def _open(subject: Subject) -> None:
    subject.connection = subject.open()
    subject.facts["has_schema"] = diagnosis.has_schema(subject.connection)


def _unreachable(reason: str) -> Finding:
    return finding.error(
        f"the database cannot be reached: {reason.rstrip('.')}",
        "nothing works without it",
        "see that PostgreSQL runs and DATABASE_URL is right: `taskflow config show`",
    )


def _made(check: Check, subject: Subject) -> Result:
    if check.of != "settings":
        if subject.connection is not None and subject.connection.closed:
            try:
                _open(subject)
            except (TaskflowError, psycopg.Error):
                subject.connection = None
        if subject.connection is None:
            return Result(check.name, [], 0.0, "the database cannot be reached")
        if check.of == "schema" and not subject.facts["has_schema"]:
            return Result(check.name, [], 0.0, "there is no schema that this login can use")
    return _measured(check.name, lambda: _found(check, subject))


def _found(check: Check, subject: Subject) -> list[Finding]:
    try:
        with errors_translated():
            if subject.connection is None or check.of == "settings":
                return list(check.find(subject))
            with diagnosis.bounded(subject.connection):
                return list(check.find(subject))
    except TaskflowError as error:
        return [
            finding.warning(
                f"the check {check.name!r} could not be made: {str(error).rstrip('.')}",
                "what it looks for may be the case, or not",
                "run `taskflow doctor` with the login that owns the schema, or one that has taskflow_reader",
            )
        ]


def _measured(name: str, find: Callable[[], list[Finding]]) -> Result:
    began = time.perf_counter()
    findings = find()
    return Result(name, findings, time.perf_counter() - began)


def healthy(results: list[Result], *, strict: bool) -> bool:
    """Whether nothing was found that a deploy should stop for."""
    bad = ("error", "warning") if strict else ("error",)
    return not any(item.severity in bad for result in results for item in result.findings)
