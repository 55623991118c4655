"""A system in which everything is well, and the doctor inside the test's own process."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from taskflow.cli.commands.doctor import upkeep
from taskflow.cli.commands.doctor.examination import CHECKS, examine
from taskflow.cli.commands.doctor.examination import Result as Examined
from taskflow.cli.commands.doctor.finding import Finding
from taskflow.cli.commands.doctor.subject import Subject
from taskflow.cli.main import main
from taskflow.settings import load
from taskflow.store import diagnosis
from tests.test_poolers import pooled_dsn

__all__ = ["Check", "Connection", "Run", "examined", "findings", "pooled_dsn"]

Connection = psycopg.Connection[Any]
ALIVE = """
INSERT INTO taskflow.leases (name, holder, expires_at) VALUES ('leader', 'me', now() + interval '1 hour');
INSERT INTO taskflow.workers (hostname, pid, queues, types, concurrency, version)
VALUES ('somewhere', 1, NULL, '{echo}', 10, '0');
"""
Run = Callable[..., Result]
Check = Callable[..., list[Finding]]


@pytest.fixture
def healthy(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """The test's database with a leader and a worker for the type `echo` in every queue. To make a month of days would
    take longer than the test: the few that there are count as enough."""
    monkeypatch.setattr(upkeep, "FEW_DAYS", 1)
    connection.execute(ALIVE)
    return connection


@pytest.fixture
def doctor(dsn: str) -> Run:
    """`doctor("--strict", TASKFLOW_AUTH="off")`: the command, with variables."""

    def run(*arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(main, ["doctor", *arguments], env={"DATABASE_URL": dsn, **environment})

    return run


@pytest.fixture
def check(dsn: str) -> Check:
    """`check("leader", concurrency=5)`: what one check finds, with settings."""

    def find(name: str, **settings: Any) -> list[Finding]:
        subject = Subject(load(**{"database_url": dsn, **settings}))
        subject.connection, subject.facts["has_schema"] = subject.open(), True
        (wanted,) = [item for item in CHECKS if item.name == name]
        try:
            with diagnosis.bounded(subject.connection):
                return list(wanted.find(subject))
        finally:
            subject.connection.close()

    return find


def findings(result: Result) -> dict[str, str]:
    """Check → severity, of what `--json` gave."""
    return {item["check"]: item["severity"] for item in json.loads(result.stdout)["findings"]}


def examined(dsn: str) -> dict[str, Examined]:
    return {result.check: result for result in examine(Subject(load(database_url=dsn)))}
