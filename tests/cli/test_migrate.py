from __future__ import annotations

import pytest
from click.testing import CliRunner

from taskflow.cli.main import main
from taskflow.store import grants
from taskflow.store import migrate as migration


@pytest.fixture
def run(monkeypatch, empty_dsn):
    monkeypatch.setenv("DATABASE_URL", empty_dsn)

    def invoke(*arguments):
        return CliRunner().invoke(main, arguments, prog_name="taskflow")

    return invoke


def test_status_ends_with_1_before_a_migration_and_with_0_after_it(run):
    before, migrated, after = run("migrate", "status"), run("migrate"), run("migrate", "status")

    assert (before.exit_code, migrated.exit_code, after.exit_code) == (1, 0, 0)
    assert "pending tables: 0001, 0002" in before.output
    assert "functions/enqueue.sql" in before.output
    assert "tables: 0001, 0002" in migrated.output
    assert after.output == "Nothing is pending.\n"


def test_a_second_migrate_says_that_there_was_nothing_to_do(run):
    run("migrate")

    assert run("migrate").output == "Nothing to do: the schema is up to date.\n"


def test_the_sql_is_printed_without_a_database(run, monkeypatch):
    monkeypatch.delenv("DATABASE_URL")

    assert run("migrate", "--sql").output == migration.as_sql()
    assert run("grants").output == grants.as_sql()


def test_without_a_database_url_it_says_which_setting_is_missing(run, monkeypatch):
    monkeypatch.delenv("DATABASE_URL")
    result = run("migrate")

    assert result.exit_code == 2
    assert "DATABASE_URL" in result.stderr


def test_a_server_that_is_not_there_ends_with_5_and_a_way_out(run, monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", f"postgresql://postgres@/x?host={tmp_path}")
    result = run("migrate")

    assert result.exit_code == 5
    assert result.stderr.startswith("error[TF-DATABASE-UNAVAILABLE]: The database cannot be reached\n")
    assert [line.split(":")[0].strip() for line in result.stderr.splitlines()[1:]] == ["why", "fix", "docs"]


def test_what_an_administrator_has_to_do_is_said_in_the_output(run, monkeypatch):
    report = migration.MigrateReport(notes=["The roles could not be created."])
    monkeypatch.setattr(migration, "migrate", lambda *_, **__: report)

    assert "The roles could not be created." in run("migrate").output
