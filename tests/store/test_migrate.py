from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path

import psycopg
import pytest

from taskflow.cluster import embedded_bin_dir
from taskflow.errors import DatabaseUnavailable, NotAllowed, SchemaMismatch, TaskflowError
from taskflow.store import migrate as migration
from taskflow.store import resources, tables
from taskflow.store.connection import connect
from taskflow.store.migrate import migrate, pending
from taskflow.store.migration_lock import LOCK_KEY, await_older_transactions

ROOT = Path(__file__).parents[2]
TASKFLOW = [sys.executable, "-m", "taskflow"]
NEW_FUNCTION = "CREATE OR REPLACE FUNCTION taskflow.answer() RETURNS integer LANGUAGE sql AS $$ SELECT 42 $$;\n"


def value(dsn, query, *parameters):
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query, parameters).fetchone()
        return row[0] if row else None


def run(dsn, *statements):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def write(checkout: Path, path: str, text: str) -> None:
    (checkout / "sql" / path).write_text(text)


# Databases have been migrated with these: what they lack is for a migration of its own.
APPLIED = {
    "0001_tables.py": "e3f89009e0cb5946b198fb4b86d6687128560ee7f99f89e24f0960a02d72fb09",
    "0002_api.py": "e28c76b3b98fbaa293bbe7f3d32b5752922c210604c850477eecd3b1c2362be8",
    "0003_limits.py": "cfb98474f5d599aa9286ba1d55693cdb2afecfaf11dcd159f7a3fa4adaebc336",
    "0004_keys.py": "7612adc7ac3b43041f3609c0801fff8bc887ea931f80d594b256be640a3a1d04",
    "0005_depths.py": "02de3b5f008b49838eea67e9cf6730326df1a3ba66f7e8f7ad9ac0a074db8729",
    "0006_cheaper_rules.py": "45501c8d4cd27beba0765687ff9913b045089caa69184a36079a57f0f1003b03",
    "0007_counted_depths.py": "01d8da7b19fe0a3ae896a03c767a72c42101843288626022426aebb2fd167038",
    "0008_claims.py": "e101173d91638fbb7543e624a3ba995e9173749c91be846053e62fb9e057f205",
    "0009_limited_claims.py": "5e51f9cd411f0fb8a2b49bc3462fdbfecadfb95882413e64c6e4d7f91bb5098a",
    "0010_limits_by_insert.py": "f1de059656e54591f4902b785d25d3360aed5ad37baa27b9e39a455f347c4a53",
}
# What 0005 made for a time, and what the trigger called until its function was replaced.
READ_DEPTHS = (
    "CREATE TABLE taskflow.depth_readings (queue text PRIMARY KEY, depth integer NOT NULL)",
    "DROP INDEX taskflow.queues_max_depth",
    "CREATE INDEX queues_max_depth ON taskflow.queues (name) WHERE max_depth <> 1000000",
    "CREATE FUNCTION taskflow.refuse_full(p_queue text, p_tasks integer) RETURNS void LANGUAGE plpgsql AS"
    " 'BEGIN PERFORM FROM taskflow.depth_readings; END'",
    "SELECT taskflow.refuse_full('default', 1)",
)
DEPTHS = "SELECT pg_get_indexdef('taskflow.queues_max_depth'::regclass)"


def test_a_migration_that_was_applied_somewhere_is_not_changed():
    versions = ROOT / "migrations" / "versions"
    assert {name: sha256((versions / name).read_bytes()).hexdigest() for name in APPLIED} == APPLIED


@pytest.mark.parametrize("made", [(), READ_DEPTHS], ids=["none", "read"])
def test_where_depths_were_read_nobody_reads_them_after_the_migration_that_drops_them(empty_dsn, made):
    run(empty_dsn, "CREATE SCHEMA taskflow")
    opened = partial(connect, empty_dsn, name="test", autocommit=False)
    for revision in resources.revisions():
        if revision == "0007":
            run(empty_dsn, *made)
        tables.upgrade(opened, revision, lock_timeout="1s")

    assert value(empty_dsn, "SELECT to_regclass('taskflow.depth_readings') IS NULL")
    assert value(empty_dsn, DEPTHS).endswith("WHERE (max_depth <= 10000)")
    if made:
        run(empty_dsn, "SELECT taskflow.refuse_full('default', 1)")


def test_an_empty_database_gets_a_schema_that_takes_and_ends_tasks(empty_dsn):
    report = migrate(empty_dsn)

    assert report.done.tables == list(resources.revisions())
    assert value(empty_dsn, "SELECT created FROM taskflow.enqueue('echo')") is True
    # A day of a month ahead is there: a completion will find a partition for its row.
    ahead = value(empty_dsn, "SELECT to_char((now() AT TIME ZONE 'UTC')::date + 31, 'YYYYMMDD')")
    assert value(empty_dsn, "SELECT to_regclass(%s) IS NOT NULL", f"taskflow.tasks_completed_{ahead}")
    run(empty_dsn, "UPDATE taskflow.tasks SET state = 'completed', finished_at = now()")


def test_a_second_run_has_nothing_to_do(empty_dsn):
    migrate(empty_dsn)

    assert not migrate(empty_dsn).done


def test_a_run_with_nothing_to_do_waits_for_no_lock_on_the_tables(dsn):
    tables = "taskflow.tasks, taskflow.executions, taskflow.queues, taskflow.workers"
    with psycopg.connect(dsn) as locker:
        locker.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")

        assert not migrate(dsn, patience_seconds=0).done


def test_two_processes_at_once_on_an_empty_database_both_succeed_and_apply_everything_once(empty_dsn):
    processes = [
        subprocess.Popen([*TASKFLOW, "migrate"], env={"DATABASE_URL": empty_dsn}, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate()[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert sorted("Nothing to do" in output for output in outputs) == [False, True]
    assert not pending(empty_dsn)


def test_migrations_of_several_databases_of_a_server_do_not_fight_over_the_roles(cluster_factory):
    server = cluster_factory()
    names = ["one", "two", "three", "four"]
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name}")
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(lambda name: migrate(server.dsn(name)), names))

    for name in names:
        assert not pending(server.dsn(name))


@pytest.fixture
def dsn(dsn):
    """As `migrate` leaves a database, with a month of days; most tests have fewer."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT taskflow.ensure_days(31)")
    return dsn


def dump(bin_dir: Path, dsn: str) -> str:
    command = [bin_dir / "pg_dump", "--schema-only", "--schema=taskflow", dsn]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.MULTILINE)  # a random word of each dump


def test_the_sql_that_is_printed_gives_the_same_schema_as_migrate(cluster, empty_dsn, dsn, pg_bin):
    bin_dir = Path(pg_bin) if pg_bin else embedded_bin_dir()
    script = migration.as_sql()
    psql = [bin_dir / "psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", empty_dsn]
    subprocess.run(psql, input=script, text=True, check=True, capture_output=True)

    assert dump(bin_dir, empty_dsn) == dump(bin_dir, dsn)
    assert not pending(empty_dsn)


def test_status_names_what_is_pending_and_changes_nothing(empty_dsn):
    before = pending(empty_dsn)

    assert before.tables == list(resources.revisions())
    assert "functions/enqueue.sql" in before.objects
    assert "triggers/tasks_ring.sql" in before.triggers
    assert value(empty_dsn, "SELECT count(*) FROM pg_namespace WHERE nspname = 'taskflow'") == 0


def test_only_a_file_that_changed_is_applied_again(dsn, checkout):
    write(checkout, "functions/answer.sql", NEW_FUNCTION)
    migrate(dsn)
    write(checkout, "functions/answer.sql", NEW_FUNCTION.replace("42", "43"))

    assert pending(dsn).objects == ["functions/answer.sql"]
    assert migrate(dsn).done.objects == ["functions/answer.sql"]
    assert value(dsn, "SELECT taskflow.answer()") == 43
    assert value(dsn, "SELECT count(DISTINCT applied_at) FROM taskflow.sql_objects WHERE path LIKE 'functions/%%'") == 2


def test_a_function_that_is_no_longer_in_sql_stays_for_yesterdays_workers(dsn, checkout):
    write(checkout, "functions/answer.sql", NEW_FUNCTION)
    migrate(dsn)
    (checkout / "sql/functions/answer.sql").unlink()

    assert not migrate(dsn).done
    assert value(dsn, "SELECT taskflow.answer()") == 42


def test_a_file_that_postgresql_refuses_is_named_and_nothing_of_its_step_is_applied(dsn, checkout):
    write(checkout, "functions/answer.sql", NEW_FUNCTION)
    write(checkout, "functions/wrong.sql", "CREATE FUNCTION taskflow.wrong() RETURNS nonsense LANGUAGE sql AS $$ $$;")

    with pytest.raises(TaskflowError, match=r"sql/functions/wrong\.sql: .*nonsense"):
        migrate(dsn)
    assert value(dsn, "SELECT to_regproc('taskflow.answer')") is None


def test_every_function_body_is_valid_where_everything_it_names_exists(connection):
    # They are applied unchecked, in any order; here each is made again with all others in place.
    for path, text in resources.sql_files().items():
        if path.startswith("functions/"):
            connection.execute("SET check_function_bodies = on")
            connection.execute(text)


class TestViews:
    BEFORE = "CREATE OR REPLACE VIEW taskflow.brief AS SELECT id, type FROM taskflow.task_list;\n"
    AFTER = "CREATE OR REPLACE VIEW taskflow.brief AS SELECT id, queue FROM taskflow.task_list;\n"
    READING = "CREATE OR REPLACE VIEW taskflow.briefer AS SELECT id FROM taskflow.brief;\n"
    RETURNING = """
        CREATE OR REPLACE FUNCTION taskflow.briefs() RETURNS SETOF taskflow.brief LANGUAGE sql
        AS $$ SELECT * FROM taskflow.brief $$;
    """

    @pytest.fixture
    def migrated(self, dsn, checkout):
        write(checkout, "views/brief.sql", self.BEFORE)
        write(checkout, "views/briefer.sql", self.READING)
        write(checkout, "functions/briefs.sql", self.RETURNING)
        migrate(dsn)
        return dsn

    def test_a_view_may_change_its_columns_with_what_reads_and_what_returns_it(self, migrated, checkout):
        write(checkout, "views/brief.sql", self.AFTER)
        run(migrated, "INSERT INTO taskflow.tasks (type, queue) VALUES ('echo', 'mail')")

        migrate(migrated)

        assert value(migrated, "SELECT queue FROM taskflow.briefs()") == "mail"
        assert value(migrated, "SELECT count(*) FROM taskflow.briefer") == 1
        assert not pending(migrated)

    def test_the_product_views_can_change_their_columns_and_keep_their_readers(self, dsn, checkout):
        for path in ("views/task_list.sql", "views/task_executions.sql"):
            text = (checkout / "sql" / path).read_text()
            write(
                checkout,
                path,
                text.replace("\nSELECT ", "\nSELECT 1 AS added, ").replace(" ALL\nSELECT 1", " ALL\nSELECT 1"),
            )

        migrate(dsn)

        assert value(dsn, "SELECT count(added) FROM taskflow.task_list") == 0
        assert value(dsn, "SELECT has_table_privilege('taskflow_reader', 'taskflow.task_list', 'SELECT')")
        assert value(dsn, "SELECT has_function_privilege('taskflow_reader', 'taskflow.read_task(bigint)', 'EXECUTE')")
        assert not value(dsn, "SELECT has_function_privilege('public', 'taskflow.read_task(bigint)', 'EXECUTE')")

    def test_a_view_of_the_users_own_is_never_dropped_but_named(self, migrated, checkout):
        run(migrated, "CREATE VIEW mine AS SELECT * FROM taskflow.brief")
        write(checkout, "views/brief.sql", self.AFTER)

        with pytest.raises(TaskflowError, match="mine depends on"):
            migrate(migrated)
        assert value(migrated, "SELECT count(type) FROM mine") == 0


class TestNewerDatabase:
    @pytest.fixture
    def newer_dsn(self, dsn):
        run(dsn, "UPDATE taskflow.alembic_version SET version_num = '9999'")
        return dsn

    def test_it_is_left_alone_so_that_a_release_can_be_rolled_back(self, newer_dsn, checkout):
        write(checkout, "functions/answer.sql", NEW_FUNCTION)

        report = migrate(newer_dsn)

        assert not report.done
        assert "newer than this version" in report.notes[0]
        assert not pending(newer_dsn)

    def test_it_is_refused_where_it_has_marked_this_version_as_too_old(self, newer_dsn):
        run(newer_dsn, "CREATE OR REPLACE FUNCTION taskflow.oldest_revision() RETURNS text RETURN '9999'")

        with pytest.raises(SchemaMismatch, match="too old for its database"):
            migrate(newer_dsn)


class TestRefusals:
    def test_a_server_that_cannot_be_reached(self, tmp_path):
        with pytest.raises(DatabaseUnavailable):
            migrate(f"postgresql://postgres@/postgres?host={tmp_path}")

    def test_a_server_older_than_15(self, empty_dsn, monkeypatch):
        monkeypatch.setattr(psycopg.ConnectionInfo, "server_version", 140012)

        with pytest.raises(SchemaMismatch, match="needs PostgreSQL 15 or newer, and this server is 14"):
            migrate(empty_dsn)

    def test_an_encoding_that_is_not_utf8(self, cluster):
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute(
                "CREATE DATABASE in_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            )
            try:
                with pytest.raises(SchemaMismatch, match="has the encoding SQL_ASCII"):
                    migrate(cluster.dsn("in_ascii"))
            finally:
                connection.execute("DROP DATABASE in_ascii")

    def test_a_read_only_server(self, empty_dsn):
        name = psycopg.conninfo.conninfo_to_dict(empty_dsn)["dbname"]
        run(empty_dsn, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

        with pytest.raises(DatabaseUnavailable, match="read-only"):
            migrate(empty_dsn)

    def test_a_login_that_may_not_create_the_schema(self, empty_dsn):
        run(empty_dsn, "DROP ROLE IF EXISTS nobody_much", "CREATE ROLE nobody_much LOGIN")

        with pytest.raises(NotAllowed, match="migrate with the login that made the schema"):
            migrate(empty_dsn.replace("postgres@", "nobody_much@"))

    def test_a_login_that_does_not_own_the_schema(self, dsn, checkout):
        run(
            dsn,
            "DROP ROLE IF EXISTS no_owner",
            "CREATE ROLE no_owner LOGIN IN ROLE taskflow_reader",
        )
        text = (checkout / "sql/functions/ring.sql").read_text()
        write(checkout, "functions/ring.sql", text + "-- changed\n")

        with pytest.raises(NotAllowed, match="migrate with the login that made the schema"):
            migrate(dsn.replace("postgres@", "no_owner@"))


def test_a_migration_waits_for_calls_of_functions_that_it_has_replaced(dsn, connection):
    began = time.monotonic()
    with connect(dsn, name="guard", autocommit=False) as guard, connect(dsn, name="call", autocommit=False) as call:
        guard.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])
        await_older_transactions(connection, 9.0)
        assert time.monotonic() - began < 5  # the migration's own is not waited for
        call.execute("SELECT 1")
        began = time.monotonic()
        await_older_transactions(connection, 0.3)
        assert time.monotonic() - began >= 0.3
        timer = threading.Timer(0.3, call.rollback)
        timer.start()
        began = time.monotonic()
        await_older_transactions(connection, 9.0)
        assert 0.2 < time.monotonic() - began < 5
        timer.join()
