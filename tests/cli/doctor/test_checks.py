"""Each check finds what it is for, says what to do about it, and is silent once that is done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from taskflow.cli.commands.doctor import line, sessions, work
from taskflow.cli.commands.doctor.finding import Finding
from taskflow.errors import DatabaseUnavailable
from taskflow.leader.lease import Lease
from taskflow.store import diagnosis, objects
from tests.cli.doctor.conftest import Check
from tests.conftest import ClusterFactory

Connection = psycopg.Connection[Any]


def one(found: list[Finding], severity: str, *words: str) -> Finding:
    assert len(found) == 1, found
    assert found[0].severity == severity
    for word in words:
        assert word in f"{found[0].what}\n{found[0].why}\n{found[0].fix}"
    return found[0]


def test_a_slow_line_is_noticed(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check("latency") == []
    monkeypatch.setattr(line, "SLOW_SECONDS", 0.0)
    one(check("latency"), "warning", "round trip")


@pytest.mark.parametrize(("seconds", "word"), [(90, "ahead of"), (-90, "behind")])
def test_a_clock_that_is_off_is_noticed(check: Check, monkeypatch: pytest.MonkeyPatch, seconds: int, word: str) -> None:
    assert check("clock") == []
    monkeypatch.setattr(line, "now", lambda: datetime.now(UTC) + timedelta(seconds=seconds))
    one(check("clock"), "warning", f"90 seconds {word} the database's", "NTP")


def test_a_pooler_that_swallows_notifications_is_named(
    check: Check,
    pooled_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert check("notifications") == []
    assert check("notifications", database_url=pooled_dsn) == []  # in session mode it is not in the way
    monkeypatch.setattr(line.bells, "probe", lambda *_: None)  # as if what is sent never arrived
    monkeypatch.setattr(line, "HEARING_SECONDS", 0.1)
    one(check("notifications", database_url=pooled_dsn), "warning", "a pooler in transaction mode", "session")
    one(check("notifications"), "warning", "notifications do not arrive")


def test_a_schema_that_is_behind_is_an_error(check: Check, healthy: Connection) -> None:
    assert check("schema") == []
    healthy.execute("UPDATE taskflow.sql_objects SET hash = 'old' WHERE path = 'functions/ring.sql'")
    one(check("schema"), "error", "objects functions/ring.sql", "taskflow migrate")
    healthy.execute("UPDATE taskflow.alembic_version SET version_num = '0001'")
    one(check("schema"), "error", "older (revision 0001)", "taskflow migrate")


def test_a_newer_schema_is_a_note(check: Check, healthy: Connection) -> None:
    healthy.execute("UPDATE taskflow.alembic_version SET version_num = '9999'")
    one(check("schema"), "note", "newer than this program")


def test_a_function_that_was_changed_by_hand_is_found_and_the_fix_mends_it(
    check: Check, healthy: Connection, dsn: str
) -> None:
    from taskflow.store.migrate import migrate

    assert check("functions") == []
    healthy.execute(
        "CREATE OR REPLACE FUNCTION taskflow.effective_timeout(p_timeout double precision, p_type text, p_queue text)"
        " RETURNS double precision LANGUAGE sql STABLE AS 'SELECT 1.0'"
    )
    healthy.execute("DROP FUNCTION taskflow.contract_version()")

    found = one(check("functions"), "error", "contract_version, effective_timeout")

    healthy.execute(found.fix.partition(";")[0])
    migrate(dsn)
    assert check("functions") == []


def test_what_a_file_makes_is_what_the_catalog_keeps() -> None:
    bodies = {item.name: diagnosis.body_of(item.text) for item in objects.load("functions")}
    assert len([body for body in bodies.values() if body is not None]) > 70
    assert "CREATE" not in (bodies["ring"] or "")


def definition(connection: Connection, name: str) -> str:
    row = connection.execute("SELECT pg_get_indexdef(%s::regclass)", [f"taskflow.{name}"]).fetchone()
    assert row is not None
    return str(row[0])


def drop(connection: Connection, name: str) -> None:
    if name in diagnosis.OF_CONSTRAINTS:
        connection.execute(f"ALTER TABLE taskflow.{name.removesuffix('_pkey')} DROP CONSTRAINT {name}")
    else:
        connection.execute(f"DROP INDEX taskflow.{name}")


def follow(connection: Connection, fix: str) -> None:
    for statement in fix.split(";"):  # one by one, as psql sends them
        connection.execute(statement)


def test_indexes_that_are_missing_or_broken_are_found(check: Check, healthy: Connection) -> None:
    assert check("indexes") == []
    healthy.execute("DROP INDEX taskflow.tasks_unique_key")
    one(check("indexes"), "error", "tasks_unique_key is missing", "CREATE UNIQUE INDEX CONCURRENTLY tasks_unique_key")
    healthy.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'taskflow.tasks_claim'::regclass")
    invalid, missing = check("indexes")
    assert (invalid.fix, missing.severity) == ("REINDEX INDEX CONCURRENTLY taskflow.tasks_claim", "error")
    healthy.execute(invalid.fix)
    assert len(check("indexes")) == 1


@pytest.mark.parametrize("name", diagnosis.wanted_indexes())
def test_what_is_said_of_a_missing_index_makes_it_anew(check: Check, healthy: Connection, name: str) -> None:
    before = definition(healthy, name)
    drop(healthy, name)
    found = one(check("indexes"), "error", f"{name} is missing")
    follow(healthy, found.fix)
    assert (definition(healthy, name), check("indexes")) == (before, [])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("tasks_claim", "CREATE INDEX tasks_claim ON taskflow.tasks_live (queue, priority, run_at, id, type)"),
        ("tasks_unique_key", "CREATE INDEX tasks_unique_key ON taskflow.tasks_live (type, unique_key)"),
        ("tasks_schedule", "CREATE INDEX tasks_schedule ON taskflow.tasks_dead (schedule_id)"),
        ("tasks_live_pkey", "CREATE INDEX tasks_live_pkey ON taskflow.tasks_live (id)"),
        ("tasks_ended_order", "CREATE INDEX tasks_ended_order ON taskflow.tasks_ended (finished_at DESC)"),
    ],
)
def test_an_index_that_is_another_is_found_and_the_fix_mends_it(
    check: Check, healthy: Connection, name: str, wrong: str
) -> None:
    before = definition(healthy, name)
    drop(healthy, name)
    healthy.execute(wrong)
    found = one(check("indexes"), "error", f"{name} is not the one that the migrations make", definition(healthy, name))
    follow(healthy, found.fix)
    assert (definition(healthy, name), check("indexes")) == (before, [])


def test_indexes_are_told_apart_by_what_they_hold_and_not_by_how_it_is_shown_or_stored(
    check: Check, healthy: Connection, dsn: str
) -> None:
    healthy.execute("ALTER INDEX taskflow.tasks_claim SET (fillfactor = 70)")
    options = "-c search_path=taskflow,public -c timezone=Asia/Tokyo -c datestyle=German -c quote_all_identifiers=on"
    assert check("indexes", database_url=conninfo.make_conninfo(dsn, options=options)) == []


@pytest.mark.parametrize("revision", ["0004", "9999"])
def test_which_indexes_another_version_has_is_not_known(check: Check, healthy: Connection, revision: str) -> None:
    healthy.execute("DROP INDEX taskflow.tasks_claim")
    healthy.execute("UPDATE taskflow.alembic_version SET version_num = %s", [revision])
    assert check("indexes") == []


def test_every_index_of_the_schema_is_known(connection: Connection) -> None:
    rows = connection.execute(
        "SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid"
        " WHERE c.relnamespace = 'taskflow'::regnamespace AND c.relname !~ '_[0-9]{8}' AND NOT c.relispartition"
        " AND (c.relname = ANY (%s) OR NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid))",
        [list(diagnosis.OF_CONSTRAINTS)],
    ).fetchall()
    assert dict(rows) == diagnosis.wanted_indexes()


def test_triggers_that_are_off_or_gone_are_found(check: Check, healthy: Connection) -> None:
    assert check("triggers") == []
    healthy.execute("ALTER TABLE taskflow.tasks DISABLE TRIGGER tasks_ring")
    healthy.execute("DROP TRIGGER queue_changed ON taskflow.queues")
    gone, off = check("triggers")
    assert "queue_changed is missing" in gone.what
    assert "not woken" in off.why
    healthy.execute(off.fix)
    healthy.execute(gone.fix.partition(";")[0])
    assert len(check("triggers")) == 1


def test_rights_that_roles_lack_or_public_has_are_found(check: Check, healthy: Connection) -> None:
    assert check("rights") == []
    with healthy.transaction(force_rollback=False):
        healthy.execute("REVOKE EXECUTE ON FUNCTION taskflow.heartbeat FROM taskflow_worker")
        healthy.execute("GRANT EXECUTE ON FUNCTION taskflow.ring TO PUBLIC")
    found = check("rights")
    assert sorted(item.severity for item in found) == ["error", "warning"]
    assert any("taskflow_worker lacks 1 rights: taskflow_worker: EXECUTE on function" in item.what for item in found)


def test_a_login_without_any_role_is_an_error(check: Check, healthy: Connection, dsn: str) -> None:
    healthy.execute("DROP ROLE IF EXISTS doctors_stranger")
    healthy.execute("CREATE ROLE doctors_stranger LOGIN")
    healthy.execute("GRANT USAGE ON SCHEMA taskflow TO doctors_stranger")
    found = check("rights", database_url=dsn.replace("postgres@", "doctors_stranger@", 1))
    assert [item.severity for item in found] == ["error", "note"]
    assert 'GRANT taskflow_worker TO "doctors_stranger"' in found[0].fix
    healthy.execute("DROP OWNED BY doctors_stranger")
    healthy.execute("DROP ROLE doctors_stranger")


def test_too_few_connections_are_an_error_before_they_are_needed(check: Check, healthy: Connection) -> None:
    assert check("connections") == []
    one(check("connections", web_processes=64), "error", "want up to 389 connections", "max_connections = 778")


def test_connections_that_are_nearly_all_taken_are_noticed(
    check: Check, healthy: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "FULL", 0.0)
    one(check("connections"), "warning", "connections are open", "pg_stat_activity")


def test_transactions_that_are_old_or_idle_are_found_with_their_owner(
    check: Check, healthy: Connection, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(dsn, application_name="report") as other:
        other.execute("SELECT 1")
        assert check("transactions") == []
        monkeypatch.setattr(sessions, "IDLE_SECONDS", 0.0)
        found = one(check("transactions"), "warning", "report of postgres", "has been idle in a transaction", "locks")
        assert f"SELECT pg_terminate_backend({other.info.backend_pid})" in found.fix
        monkeypatch.setattr(sessions, "IDLE_SECONDS", 60.0)
        monkeypatch.setattr(sessions, "OLD_SECONDS", 0.0)
        one(check("transactions"), "warning", "a transaction of report of postgres", "dead rows stay")
        healthy.execute(f"SELECT pg_terminate_backend({other.info.backend_pid})")
        with pytest.raises(psycopg.OperationalError):
            other.execute("SELECT 1")
    assert check("transactions") == []


def test_a_prepared_transaction_that_nobody_ends_is_found(
    check: Check, healthy: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with healthy.transaction():
        healthy.execute("SELECT txid_current()")
        healthy.execute("PREPARE TRANSACTION 'left''over'")
    monkeypatch.setattr(sessions, "OLD_SECONDS", 0.0)
    found = one(check("transactions"), "warning", "has been prepared for")
    healthy.execute(found.fix.partition(" (")[0])
    assert check("transactions") == []


def test_a_replication_slot_that_nobody_reads_is_found(check: Check, healthy: Connection) -> None:
    assert check("slots") == []
    healthy.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
    found = one(check("slots"), "warning", "forgotten, which nobody reads, keeps from now on all WAL")
    healthy.execute(found.fix.partition("or: ")[2])
    assert check("slots") == []


def test_days_that_nobody_makes_are_found(check: Check, connection: Connection) -> None:
    one(check("tables"), "warning", "tables for the next 2 days only", "taskflow migrate")


def test_days_that_the_leader_may_not_drop_are_found(check: Check, healthy: Connection) -> None:
    assert check("tables") == []
    Lease("me", 60).want_owner(healthy, 60)
    one(check("tables"), "warning", "have expired and are not dropped", "does not own", "taskflow scheduler")
    healthy.execute("UPDATE taskflow.leases SET holder = 'somebody else' WHERE name = 'leader'")
    assert check("tables") == []


def test_a_live_table_that_is_vacuumed_too_seldom_or_never_is_found(check: Check, healthy: Connection) -> None:
    assert check("vacuum") == []
    healthy.execute("ALTER TABLE taskflow.tasks_live RESET (autovacuum_vacuum_scale_factor)")
    one(check("vacuum"), "warning", "when 20% of it is dead", "autovacuum_vacuum_scale_factor = 0.01")
    healthy.execute("ALTER TABLE taskflow.tasks_live SET (autovacuum_enabled = off)")
    worst, late = check("vacuum")
    assert (worst.severity, late.severity) == ("error", "warning")
    healthy.execute(worst.fix)
    healthy.execute(late.fix)
    assert check("vacuum") == []


def test_a_system_without_a_leader_is_noticed(check: Check, healthy: Connection) -> None:
    assert check("leader") == []
    healthy.execute("UPDATE taskflow.leases SET expires_at = now() - interval '10 minutes'")
    one(check("leader"), "warning", "nobody leads (since 10 minutes)")
    healthy.execute("DELETE FROM taskflow.leases")
    one(check("leader"), "warning", "nobody leads", "taskflow scheduler")


def test_workers_that_died_unnoticed_are_found(check: Check, healthy: Connection) -> None:
    assert check("silent-workers") == []
    healthy.execute("UPDATE taskflow.workers SET last_heartbeat = now() - interval '10 minutes'")
    one(check("silent-workers"), "warning", "somewhere, 10 minutes")


def test_queues_that_nobody_serves_and_types_that_nobody_runs_are_found(check: Check, healthy: Connection) -> None:
    add = "INSERT INTO taskflow.tasks (type, queue, run_at) VALUES (%s, %s, now() + %s * interval '1 second')"
    healthy.execute(add, ["echo", "mail", -1])
    healthy.execute(add, ["later", "images", 3600])
    assert check("unserved") == []
    healthy.execute(add, ["report", "mail", -7300])
    one(check("unserved"), "warning", "report in mail (for 2 hours)", "--import")
    healthy.execute("UPDATE taskflow.workers SET queues = '{images}'")
    one(check("unserved"), "warning", "nobody serves: mail (for 2 hours)", "serve others", "--queues mail")
    healthy.execute("UPDATE taskflow.workers SET queues = NULL, types = '{echo,report}'")
    assert check("unserved") == []
    healthy.execute("UPDATE taskflow.workers SET state = 'paused'")
    one(check("unserved"), "warning", "no worker runs")


def test_what_is_paused_while_tasks_wait_is_found(check: Check, healthy: Connection) -> None:
    healthy.execute("INSERT INTO taskflow.queues (name, paused) VALUES ('mail', true), ('empty', true)")
    healthy.execute("""UPDATE taskflow.queues SET type_limits = '{"echo": {"paused": true}}' WHERE name = 'default'""")
    assert check("paused") == []
    healthy.execute("INSERT INTO taskflow.tasks (type, queue) VALUES ('echo', 'mail')")
    one(check("paused"), "warning", "in what is paused: mail (for", "taskflow queues resume mail;")
    assert check("unserved") == []  # said once
    healthy.execute("INSERT INTO taskflow.tasks (type) VALUES ('echo')")
    one(check("paused"), "warning", "mail (for", "echo in default (for")


def test_schedules_that_cannot_fire_are_found(check: Check, healthy: Connection) -> None:
    add = "INSERT INTO taskflow.schedules (name, type, queue, cron, next_run_at) VALUES (%s, %s, %s, %s, %s)"
    soon = datetime.now(UTC) + timedelta(hours=1)
    healthy.execute(add, ["fine", "echo", "default", "0 7 * * *", soon])
    assert check("schedules") == []
    healthy.execute(add, ["wrong", "echo", "default", "61 * * * *", soon])
    healthy.execute(add, ["late", "echo", "default", "0 7 * * *", soon - timedelta(hours=4)])
    healthy.execute(add, ["orphan", "report", "default", "0 7 * * *", soon])
    healthy.execute(add, ["stopped", "echo", "mail", "0 7 * * *", soon])
    healthy.execute("INSERT INTO taskflow.queues (name, paused) VALUES ('mail', true)")
    said = [item.what.partition(": ")[2] for item in check("schedules")]
    assert [text.split(" (")[0] for text in said] == ["wrong", "late", "orphan", "stopped"]
    healthy.execute("UPDATE taskflow.schedules SET enabled = false")
    assert check("schedules") == []


def test_a_key_that_holds_tasks_up_for_nothing_is_found(check: Check, healthy: Connection) -> None:
    healthy.execute("INSERT INTO taskflow.tasks (type, concurrency_key) VALUES ('echo', 'k'), ('echo', 'k')")
    blocked = """UPDATE taskflow.tasks SET state = 'blocked', key_state = 'blocked',
        updated_at = now() - interval '5 minutes' WHERE id %s"""
    healthy.execute(blocked % "= (SELECT max(id) FROM taskflow.tasks)")
    assert check("keys") == []  # the other one waits, and comes first
    healthy.execute(blocked % "> 0")
    one(check("keys"), "warning", "k in default")
    healthy.execute("SELECT taskflow.release_waiting_keys()")
    assert check("keys") == []


def test_a_server_without_keys_beyond_this_machine_is_noticed(check: Check) -> None:
    assert check("auth") == check("auth", auth="off") == check("auth", host="0.0.0.0") == []
    one(check("auth", auth="off", host="0.0.0.0"), "warning", "0.0.0.0", "TASKFLOW_AUTH=on")
    one(check("auth", auth="off", allowed_hosts="*"), "warning", "no key")


def test_variables_that_are_no_settings_are_noticed(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check("variables") == []
    monkeypatch.setenv("TASKFLOW_PROT", "1")
    monkeypatch.setenv("REDIS_URL", "redis://h")
    found = check("variables")
    assert [item.severity for item in found] == ["warning", "note"]
    assert "TASKFLOW_PORT" in found[0].why


@pytest.mark.slow
def test_a_server_that_is_remote_unencrypted_small_and_never_vacuums(
    cluster_factory: ClusterFactory, check: Check, free_port: int
) -> None:
    from taskflow.store.migrate import migrate

    server = cluster_factory(free_port, {"autovacuum": "off", "max_connections": "15"})
    name, url = "db.example.com", server.dsn("postgres")
    migrate(url)
    there = conninfo.make_conninfo(url, host=name, hostaddr="127.0.0.1", port=free_port, sslmode="disable")
    found = check("tls", database_url=there)
    one(found, "warning", f"the connection to {name} is not encrypted", "sslmode=require")
    with pytest.raises(DatabaseUnavailable, match="sslmode=disable"):
        check("tls", database_url=there.replace("sslmode=disable", ""))  # as a remote host is spoken to
    one(check("vacuum", database_url=url), "error", "autovacuum is off on this server", "ALTER SYSTEM")
    one(check("connections", database_url=url), "error", "want up to 17 connections, and there may be 12")


def test_the_line_to_a_socket_needs_no_tls_and_this_server_is_supported(check: Check) -> None:
    assert check("tls") == check("version") == []


def test_a_backlog_of_one_type_does_not_hide_how_it_is_sampled(check: Check, healthy: Connection) -> None:
    healthy.execute("INSERT INTO taskflow.tasks (type) SELECT 'echo' FROM generate_series(1, 3000)")
    healthy.execute("INSERT INTO taskflow.tasks (type, run_at) VALUES ('report', now() - interval '1 day')")
    one(check("unserved"), "warning", "report in default (for 24 hours)")
    assert work.SAMPLE == 1000
