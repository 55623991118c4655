"""Which rights a migration gives, to the roles and to nobody else."""

from __future__ import annotations

import re

import psycopg
import pytest

from taskflow.store import grants, resources
from taskflow.store import migrate as migration
from taskflow.store.migrate import migrate, pending
from taskflow.store.roles import INTERNAL_FUNCTIONS, READABLE, ROLES
from taskflow.testing.databases import Databases
from tests.store.support import rows

ROLE_NAMES = [role.name for role in ROLES]


class TestList:
    def test_every_function_is_granted_to_a_role_or_known_as_internal(self, connection):
        granted = {name for role in ROLES for name in role.functions}
        found = {
            row[0]
            for row in rows(connection, "SELECT proname FROM pg_proc WHERE pronamespace = 'taskflow'::regnamespace")
        }

        assert found - granted - set(INTERNAL_FUNCTIONS) == set()
        assert (granted | set(INTERNAL_FUNCTIONS)) - found == set()
        assert granted & set(INTERNAL_FUNCTIONS) == set()

    def test_every_table_and_view_is_readable_or_secret(self, connection):
        found = {
            row[0]
            for row in rows(
                connection,
                "SELECT relname FROM pg_class WHERE relnamespace = 'taskflow'::regnamespace"
                " AND relkind IN ('r', 'p', 'v') AND relname !~ '_[0-9]{8}$'",
            )
        }
        of_functions_alone = {"event_listeners", "event_batches", "event_outbox", "event_tickets"}
        assert found == {
            *READABLE,
            "alembic_version",
            "sql_objects",
            "api_keys",
            "idempotency_keys",
            *of_functions_alone,
        }

    def test_a_migrated_database_lacks_nothing(self, connection):
        assert grants.problems(connection) == []

    def test_a_right_that_was_taken_away_is_named_and_the_next_migration_gives_it_back(self, dsn, connection):
        connection.execute("REVOKE INSERT (payload) ON taskflow.tasks FROM taskflow_producer")
        connection.execute("REVOKE USAGE ON SCHEMA taskflow FROM taskflow_reader")
        connection.execute("GRANT EXECUTE ON FUNCTION taskflow.claim_tasks TO PUBLIC")

        assert {str(right) for right in grants.problems(connection)} == {
            "taskflow_producer: INSERT (payload) on column taskflow.tasks",
            "taskflow_reader: USAGE on schema taskflow",
            "public: EXECUTE on function taskflow.claim_tasks",
        }
        assert pending(dsn).grants == ["public", "taskflow_producer", "taskflow_reader"]
        assert migrate(dsn).done.grants == ["taskflow_producer", "taskflow_reader"]
        assert grants.problems(connection) == []

    def test_the_printed_statements_give_everything_and_can_be_repeated(self, connection):
        connection.execute(f"DROP OWNED BY {', '.join(ROLE_NAMES)}")
        assert grants.problems(connection) != []

        for _ in range(2):
            connection.execute(grants.as_sql())

        assert grants.problems(connection) == []


class TestEverybody:
    CALLABLE = (
        "SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'taskflow'::regnamespace"
        " AND has_function_privilege('public', oid, 'EXECUTE')"
    )

    def test_no_function_can_be_called_by_public(self, connection):
        assert rows(connection, self.CALLABLE) == []

    def test_no_file_says_who_may_call_its_function_since_one_statement_says_it_for_all(self):
        files = resources.sql_files()
        assert [path for path, text in files.items() if re.search(r"^\s*(REVOKE|GRANT)\b", text, re.MULTILINE)] == []

    def test_nor_after_the_printed_sql(self, empty_dsn):
        with psycopg.connect(empty_dsn, autocommit=True) as connection:
            connection.execute(migration.as_sql())
            assert rows(connection, self.CALLABLE) == []

    def test_nor_after_some_have_changed_and_others_had_to_be_made_anew(self, dsn, connection, checkout):
        for path in ("functions/enqueue.sql", "functions/end_attempt.sql", "functions/claim_limited.sql"):
            with (checkout / "sql" / path).open("a") as file:
                file.write("-- changed\n")
        view = checkout / "sql/views/task_list.sql"  # with it goes what returns a row of it
        view.write_text(view.read_text().replace("\nSELECT ", "\nSELECT 1 AS added, "))
        connection.execute("DROP FUNCTION taskflow.window_span, taskflow.window_part")
        connection.execute("DELETE FROM taskflow.sql_objects WHERE path LIKE 'functions/window%'")
        assert len(migrate(dsn).done.objects) == 6
        assert rows(connection, self.CALLABLE) == []

    def test_a_function_that_a_new_version_brings_is_for_its_roles_at_once(self, dsn, connection):
        may = "SELECT has_function_privilege('taskflow_worker', 'taskflow.record_claims()', 'EXECUTE')"
        connection.execute("DROP FUNCTION taskflow.record_claims")
        connection.execute("DELETE FROM taskflow.sql_objects WHERE path = 'functions/record_claims.sql'")
        assert migrate(dsn).done.objects == ["functions/record_claims.sql"]
        assert rows(connection, may) == [(True,)]
        assert rows(connection, self.CALLABLE) == []

    def test_nor_in_the_databases_of_tests(self, cluster):
        made = Databases(cluster.dsn())
        with made.database() as dsn, psycopg.connect(dsn) as connection:
            assert rows(connection, self.CALLABLE) == []
        made.close()

    def test_a_new_function_is_seen_by_nobody_before_its_rights_are_set(self, dsn, connection, checkout, monkeypatch):
        def seen():
            return rows(connection, "SELECT to_regproc('taskflow.answer') IS NOT NULL")[0][0]

        def look_and_grant(migrating, grant=grants.grant):
            assert rows(migrating, "SELECT taskflow.answer()") == [(42,)]
            assert not seen()
            return grant(migrating)

        monkeypatch.setattr(grants, "grant", look_and_grant)
        text = "CREATE OR REPLACE FUNCTION taskflow.answer() RETURNS integer LANGUAGE sql AS $$ SELECT 42 $$;\n"
        (checkout / "sql/functions/answer.sql").write_text(text)
        migrate(dsn)

        assert seen()
        assert not rows(connection, "SELECT has_function_privilege('public', 'taskflow.answer()', 'EXECUTE')")[0][0]

    def test_functions_with_their_owners_rights_have_a_fixed_search_path_with_pg_temp_last(self, connection):
        found = rows(
            connection,
            "SELECT p.oid::regprocedure::text, (SELECT c FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%%')"
            " FROM pg_proc p WHERE p.pronamespace = 'taskflow'::regnamespace AND p.prosecdef",
        )
        assert len(found) > 10
        assert [name for name, path in found if path is None or not path.endswith(", pg_temp")] == []

    def test_nobody_but_the_owner_may_create_anything_in_the_schema(self, connection):
        for role in [*ROLE_NAMES, "public"]:
            assert rows(connection, "SELECT has_schema_privilege(%s, 'taskflow', 'CREATE')", role) == [(False,)]


class TestWithoutTheRightToCreateRoles:
    @pytest.fixture
    def owner_dsn(self, cluster_factory):
        """A server without the roles, and a database whose owner is an ordinary login, as hosting providers give it."""
        server = cluster_factory()
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE ROLE app LOGIN")
            connection.execute("CREATE DATABASE app OWNER app")
        return server.dsn("app").replace("postgres@", "app@")

    def test_migrate_says_so_in_a_line_and_the_schema_works(self, owner_dsn):
        report = migrate(owner_dsn)

        assert len(report.notes) == 1
        assert "permission denied to create role" in report.notes[0]
        assert "taskflow grants" in report.notes[0]
        assert "\n" not in report.notes[0]
        assert not pending(owner_dsn)
        with psycopg.connect(owner_dsn) as connection:
            connection.execute("INSERT INTO taskflow.tasks (type) VALUES ('echo')")
            assert rows(connection, "SELECT state FROM taskflow.enqueue('echo')") == [("pending",)]

    def test_the_next_migration_grants_to_roles_that_an_administrator_has_made(self, owner_dsn):
        migrate(owner_dsn)
        with psycopg.connect(owner_dsn.replace("app@", "postgres@"), autocommit=True) as administrator:
            administrator.execute(grants.create_roles_sql())

        assert migrate(owner_dsn).done.grants == sorted(ROLE_NAMES)
        with psycopg.connect(owner_dsn) as connection:
            assert grants.problems(connection) == []

    def test_the_printed_script_runs_too(self, owner_dsn):
        from taskflow.store.migrate import as_sql

        with psycopg.connect(owner_dsn, autocommit=True) as connection:
            connection.execute(as_sql())
        assert not pending(owner_dsn)
