"""`taskflow maintenance`: what there is, and what needs to be done."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from taskflow.cli.commands.maintenance import found, size
from taskflow.cli.main import main
from taskflow.leader.lease import Lease
from taskflow.store.maintenance import Table, Upkeep
from taskflow.store.partitions import ensure_days
from tests.cli.conftest import CommandLine


@pytest.fixture
def maintenance(dsn: str, connection: psycopg.Connection[Any]) -> Any:
    ensure_days(connection, 31)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["maintenance", *arguments], env={"DATABASE_URL": dsn})

    return run


def test_tables_are_shown_with_days_sizes_and_what_is_kept(
    maintenance: Any, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("INSERT INTO taskflow.tasks (type) SELECT 't' FROM generate_series(1, 300)")
    connection.execute("""UPDATE taskflow.queues SET retention = '{"completed": 3600}'""")
    connection.execute("SELECT pg_stat_force_next_flush()")
    connection.execute("ANALYZE taskflow.tasks_live")

    result = maintenance()

    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line}
    today = datetime.now(UTC).date()
    assert list(lines)[:7] == [
        "table", "tasks_live", "tasks_dead", "tasks_completed", "tasks_ended", "executions", "executions_kept"
    ]  # fmt: skip
    assert lines["tasks_live"].split("\t")[4] == "300"
    assert f"{today:%Y-%m-%d}" in lines["tasks_live"]
    assert str(today + timedelta(days=31)) in lines["tasks_completed"]
    assert "tables for the next 31 days" in result.stdout
    assert (
        "Kept: completed 7 days, failed 30 days, cancelled 30 days, dead_letter for ever, executions 30 days."
        in result.stdout
    )
    assert "Queue 'default': completed 1 hour." in result.stdout


def test_programs_get_json(maintenance: Any, connection: psycopg.Connection[Any]) -> None:
    connection.execute("INSERT INTO taskflow.tasks (type, state, finished_at) VALUES ('t', 'completed', now())")

    seen = json.loads(maintenance("--json").stdout)

    assert (seen["days_ahead"], seen["problems"], seen["queue_retention"]) == (31, [], [])
    assert seen["retention"]["dead_letter"] is None
    completed = next(table for table in seen["tables"] if table["name"] == "tasks_completed")
    assert completed["oldest"].startswith(str(datetime.now(UTC).date()))
    assert completed["bytes"] > 0


def test_without_days_ahead_it_warns_and_fails(maintenance: Any, connection: psycopg.Connection[Any]) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    for (day,) in connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'taskflow'::regnamespace AND relkind = 'r'"
        " AND to_date(substring(relname FROM '_([0-9]{8})$'), 'YYYYMMDD') > %s",
        [tomorrow],
    ).fetchall():
        connection.execute(f"DROP TABLE taskflow.{day}")

    result = maintenance()

    assert result.exit_code == 1
    assert "warning: there are tables for the next 1 days only" in result.stderr
    assert "taskflow migrate" in result.stderr


def table(**values: Any) -> Table:
    given = {
        "name": "tasks_live",
        "days": 0,
        "first_day": None,
        "last_day": None,
        "rows": 10,
        "dead_rows": 0,
        "bytes": 1,
    }
    return Table(**{**given, "vacuumed_at": None, "leaving": False, "oldest": None, **values})


@pytest.mark.parametrize(
    ("values", "word"),
    [({"leaving": True, "name": "executions"}, "waits to be dropped"), ({"dead_rows": 10_001}, "10,001 dead rows"),
     ({"dead_rows": 10_000}, None), ({"dead_rows": 20_000, "rows": 50_000}, None)],
)  # fmt: skip
def test_what_needs_to_be_done_is_said(values: dict[str, Any], word: str | None) -> None:
    days = table(name="tasks_completed", last_day=date(2026, 1, 31))
    problems = found(Upkeep(date(2026, 1, 1), [table(**values), days], []))
    assert [word in problem for problem in problems] == ([] if word is None else [True])


def test_days_that_the_leader_may_not_drop_are_warned_of(maintenance: Any, connection: psycopg.Connection[Any]) -> None:
    lease = Lease("me", 60)
    lease.work(connection)
    assert maintenance().exit_code == 0
    lease.want_owner(connection, 60)

    result = maintenance()

    assert result.exit_code == 1
    assert "have expired and are not dropped" in result.stderr
    assert "taskflow scheduler" in result.stderr


def test_sizes_have_three_digits() -> None:
    assert [size(n) for n in (0, 999, 1500, 99_900, 123_456, 7_000_000_000)] == [
        "0 B", "999 B", "1.5 kB", "99.9 kB", "123 kB", "7.0 GB"
    ]  # fmt: skip


def test_a_login_that_only_reads_may_look(dsn: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute("DROP ROLE IF EXISTS onlooker")
    connection.execute("CREATE ROLE onlooker LOGIN IN ROLE taskflow_reader")
    result = CliRunner().invoke(main, ["maintenance"], env={"DATABASE_URL": dsn.replace("postgres@", "onlooker@", 1)})
    assert "tasks_live" in result.stdout, result.output


def test_a_database_without_the_schema_is_told_so(empty_dsn: str) -> None:
    command_line = CommandLine(empty_dsn)
    assert command_line.refused("maintenance") == (1, "TF-SCHEMA-MISMATCH")
    assert "taskflow migrate" in command_line.result("maintenance").stderr


@pytest.mark.parametrize("role", ["taskflow_producer", "taskflow_worker"])
def test_a_login_that_may_not_read_is_told_so(dsn: str, connection: psycopg.Connection[Any], role: str) -> None:
    connection.execute("DROP ROLE IF EXISTS blind")
    connection.execute(f"CREATE ROLE blind LOGIN IN ROLE {role}")
    command_line = CommandLine(dsn.replace("postgres@", "blind@", 1))
    assert command_line.refused("maintenance") == (6, "TF-NOT-ALLOWED")
    assert "taskflow grants" in command_line.result("maintenance").stderr
