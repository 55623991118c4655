from __future__ import annotations

import subprocess
import sys

import psycopg
import pytest

from taskflow.store import resources
from taskflow.store.compatibility import is_current, schema_problem


def test_a_migrated_database_has_no_problem(connection):
    assert schema_problem(connection) is None
    assert is_current(connection)


def test_a_database_without_the_schema_says_to_migrate(empty_dsn):
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        assert "has no taskflow schema yet. Run `taskflow migrate`" in schema_problem(connection)
        assert not is_current(connection)


def test_a_login_without_rights_is_told_which_role_it_needs(dsn, connection):
    connection.execute("DROP ROLE IF EXISTS stranger")
    connection.execute("CREATE ROLE stranger LOGIN")
    with psycopg.connect(dsn, user="stranger", autocommit=True) as stranger:
        assert "GRANT taskflow_worker TO stranger" in schema_problem(stranger)


@pytest.mark.parametrize("role", ["producer", "worker", "reader", "operator"])
def test_every_role_can_ask(connection, role):
    connection.execute(f"SET ROLE taskflow_{role}")

    assert is_current(connection)


def test_a_program_newer_than_the_tables_says_to_migrate(connection, checkout):
    newest = resources.revisions()[-1]
    (checkout / "migrations/versions/9998_more.py").write_text("")

    assert f"is older (revision {newest}) than this program (9998)" in schema_problem(connection)


def test_a_program_that_needs_a_function_the_database_lacks_says_to_migrate(connection, checkout):
    (checkout / "sql/functions/answer.sql").write_text("")

    assert "it lacks sql/functions/answer.sql" in schema_problem(connection)


def test_a_migration_that_broke_off_before_its_first_revision_says_to_migrate(connection):
    connection.execute("DELETE FROM taskflow.alembic_version")

    assert "unfinished" in schema_problem(connection)


def test_yesterdays_program_goes_on_with_a_newer_database(connection):
    connection.execute("UPDATE taskflow.alembic_version SET version_num = '9999'")
    connection.execute("UPDATE taskflow.sql_objects SET hash = 'another'")

    assert is_current(connection)


def test_yesterdays_program_stops_where_the_newer_database_has_marked_it_as_too_old(connection):
    connection.execute("UPDATE taskflow.alembic_version SET version_num = '9999'")
    connection.execute("CREATE OR REPLACE FUNCTION taskflow.oldest_revision() RETURNS text RETURN '9999'")

    assert "needs programs that know 9999. Install a newer taskflow-pg" in schema_problem(connection)


def test_asking_loads_neither_alembic_nor_sqlalchemy():
    code = "import sys, taskflow.store.migrate; print({'alembic', 'sqlalchemy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_the_revisions_told_from_the_files_are_those_of_alembic():
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(resources.migrations_path()))
    assert list(resources.revisions()) == [script.revision for script in scripts.walk_revisions()][::-1]
    assert scripts.get_heads() == [resources.revisions()[-1]]
