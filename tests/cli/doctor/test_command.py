"""`taskflow doctor` as a gate: its exit code, its words, and that one failed check hides nothing."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from taskflow.cli.commands.doctor import examination
from taskflow.cli.commands.doctor.subject import Check
from tests.cli.doctor.conftest import Run, examined, findings

Connection = psycopg.Connection[Any]


def test_a_healthy_system_is_well_in_every_check(doctor: Run, healthy: Connection) -> None:
    result = doctor("--strict")
    assert (result.exit_code, result.stdout) == (0, f"{len(examination.CHECKS) + 1} checks: all is well.\n")


def test_errors_end_with_1_and_warnings_only_when_asked(doctor: Run, healthy: Connection) -> None:
    healthy.execute("DELETE FROM taskflow.leases")
    assert (doctor().exit_code, doctor("--strict").exit_code) == (0, 1)
    healthy.execute("DROP INDEX taskflow.tasks_schedule")
    result = doctor()
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "error: the index taskflow.tasks_schedule is missing"
    assert lines[1].startswith("  why  what it is for reads whole tables")
    assert lines[2].startswith("  fix  CREATE INDEX CONCURRENTLY tasks_schedule ON taskflow.tasks_live USING")
    assert lines[-1].endswith("checks: 1 error, 1 warning.")


def test_programs_get_findings_checks_and_figures(doctor: Run, healthy: Connection) -> None:
    healthy.execute("DELETE FROM taskflow.leases")

    seen = json.loads(doctor("--json").stdout)

    assert seen["ok"] is True
    assert [(item["check"], item["severity"]) for item in seen["findings"]] == [("leader", "warning")]
    assert {item["check"] for item in seen["checks"]} == {"reach", *(check.name for check in examination.CHECKS)}
    assert seen["facts"]["round_trip_ms"] > 0
    assert seen["facts"]["notifications"] is True
    assert (seen["facts"]["tls"], seen["facts"]["pooler"]) == (False, False)


def test_a_database_that_cannot_be_reached_is_an_error_without_its_password(doctor: Run, tmp_path: Any) -> None:
    result = doctor("--json", DATABASE_URL=f"postgresql://anna:s3cret@/app?host={tmp_path}", TASKFLOW_PROT="1")
    seen = json.loads(result.stdout)
    assert (result.exit_code, findings(result)) == (1, {"reach": "error", "variables": "warning"})
    assert "s3cret" not in result.stdout
    assert all(item["skipped"] for item in seen["checks"] if item["check"] not in ("reach", "auth", "variables"))


def test_without_a_database_url_it_says_so(doctor: Run) -> None:
    result = doctor(DATABASE_URL="")
    assert result.exit_code == 1
    assert "the database cannot be reached: DATABASE_URL is not set" in result.stdout


def test_a_database_without_the_schema_gets_one_error_with_the_way_out(doctor: Run, empty_dsn: str) -> None:
    result = doctor("--json", DATABASE_URL=empty_dsn)
    assert (result.exit_code, findings(result)) == (1, {"schema": "error"})
    assert json.loads(result.stdout)["findings"][0]["fix"] == "taskflow migrate"


def test_one_check_that_fails_or_loses_the_connection_hides_nothing(
    dsn: str, healthy: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(subject: Any) -> Any:
        subject.database.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        yield

    def stumble(subject: Any) -> Any:
        subject.rows("paused_types", nonsense=1)
        subject.database.execute("SELECT 1 / 0")
        yield

    sick = (Check("loses", "database", lose), Check("stumbles", "schema", stumble))
    monkeypatch.setattr(examination, "CHECKS", (*sick, *examination.CHECKS))
    healthy.execute("DELETE FROM taskflow.leases")

    found = {name: [item.severity for item in result.findings] for name, result in examined(dsn).items()}

    assert {name: severities for name, severities in found.items() if severities} == {
        "loses": ["warning"],
        "stumbles": ["warning"],
        "leader": ["warning"],
    }


def test_a_check_that_takes_too_long_is_given_up(dsn: str, healthy: Connection, monkeypatch: Any) -> None:
    def dawdle(subject: Any) -> Any:
        subject.database.execute("SELECT pg_sleep(60)")
        yield

    monkeypatch.setattr("taskflow.store.diagnosis.LOCK_TIMEOUT", "50ms")
    monkeypatch.setattr("taskflow.store.diagnosis.STATEMENT_TIMEOUT", "500ms")
    monkeypatch.setattr(examination, "CHECKS", (Check("dawdles", "database", dawdle), *examination.CHECKS))
    with healthy.transaction():
        healthy.execute("LOCK TABLE taskflow.leases")
        found = examined(dsn)
    for name in ("dawdles", "leader"):
        (finding,) = found[name].findings
        assert "could not be made" in finding.what
    assert found["schedules"].findings == []


def test_a_login_that_only_reads_can_examine(dsn: str, doctor: Run, healthy: Connection) -> None:
    healthy.execute("DROP ROLE IF EXISTS doctors_onlooker")
    healthy.execute("CREATE ROLE doctors_onlooker LOGIN IN ROLE taskflow_reader")

    result = doctor("--json", "--strict", DATABASE_URL=dsn.replace("postgres@", "doctors_onlooker@", 1))

    assert (result.exit_code, findings(result)) == (0, {"rights": "note"}), result.stdout
    healthy.execute("DROP ROLE doctors_onlooker")
