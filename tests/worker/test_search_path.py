"""Who may create functions and operators in `public` catches nobody with them: neither who inserts, nor a worker."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from taskflow import Client, task
from taskflow.store.connection import connect, settle_session
from tests.worker.conftest import Bench

Connection = psycopg.Connection

# For every function and operator of PostgreSQL that takes any type, one for each of the types that we use, which is
# preferred for its exact type; the same for literals where PostgreSQL has a regclass, and for the types of our schema.
TRAPS = """
DO $do$
DECLARE
    f record;
    t text;
    l text;
    r text;
    v_number integer := 0;
    v_types constant text[] := ARRAY['text', 'bigint', 'integer', 'smallint', 'timestamptz', 'double precision',
        'jsonb', 'uuid', 'boolean', 'name', 'interval', 'oid']
        || ARRAY(SELECT y.oid::regtype::text FROM pg_type y
                 WHERE y.typnamespace = 'taskflow'::regnamespace AND y.typtype IN ('e', 'd'));
    v_body constant text := 'LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION ''caught by %s''; END $$';
BEGIN
    FOR f IN SELECT p.proname, p.proargtypes::oid[]::regtype[]::text[] AS arguments FROM pg_proc p
             WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND p.pronargs BETWEEN 1 AND 3
               AND p.proargtypes::oid[]::regtype[]::text[] && ARRAY['anyelement', 'anyarray', 'anynonarray', 'anyenum',
                   'anycompatible', 'anycompatiblearray', '"any"', 'regclass'] LOOP
        FOREACH t IN ARRAY v_types LOOP
            l := (SELECT string_agg(CASE WHEN a LIKE 'any%array' AND a <> 'anynonarray' THEN t || '[]'
                                         WHEN a LIKE 'any%' OR a = '"any"' THEN t
                                         WHEN a = 'regclass' THEN 'text' ELSE a END, ', ' ORDER BY i)
                  FROM unnest(f.arguments) WITH ORDINALITY AS u (a, i));
            BEGIN
                EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS bigint ' || v_body, f.proname, l, f.proname);
            EXCEPTION WHEN others THEN NULL;  -- what cannot be made catches nobody
            END;
        END LOOP;
    END LOOP;
    FOR f IN SELECT o.oprname, o.oprleft::regtype::text AS l, o.oprright::regtype::text AS r,
                    d.oid::regtype::text AS domain
             FROM pg_operator o
             LEFT JOIN pg_type d ON d.typnamespace = 'taskflow'::regnamespace AND d.typtype = 'd'
                                AND d.typbasetype = o.oprleft AND d.typbasetype = o.oprright
             WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprleft <> 0
               AND (d.oid IS NOT NULL OR o.oprleft::regtype::text LIKE 'any%' OR o.oprright::regtype::text LIKE 'any%')
    LOOP
        FOREACH t IN ARRAY CASE WHEN f.domain IS NULL THEN v_types ELSE ARRAY['both', 'left', 'right'] END LOOP
            l := CASE WHEN f.domain IS NOT NULL AND t <> 'right' THEN f.domain
                      WHEN f.l LIKE '%array' AND f.l <> 'anynonarray' THEN t || '[]'
                      WHEN f.l LIKE 'any%' THEN t ELSE f.l END;
            r := CASE WHEN f.domain IS NOT NULL AND t <> 'left' THEN f.domain
                      WHEN f.r LIKE '%array' AND f.r <> 'anynonarray' THEN t || '[]'
                      WHEN f.r LIKE 'any%' THEN t ELSE f.r END;
            v_number := v_number + 1;
            BEGIN
                EXECUTE format('CREATE FUNCTION public.operator_%s(%s, %s) RETURNS boolean ' || v_body, v_number, l, r,
                               f.oprname);
                EXECUTE format('CREATE OPERATOR public.%s (FUNCTION = public.operator_%s, LEFTARG = %s, RIGHTARG = %s)',
                               f.oprname, v_number, l, r);
            EXCEPTION WHEN others THEN NULL;
            END;
        END LOOP;
    END LOOP;
END $do$
"""

# What anybody may execute, each as a statement in which nothing but the call itself is looked up.
STATEMENTS = [
    "INSERT INTO taskflow.tasks (type) VALUES ('a')",
    "SELECT * FROM taskflow.enqueue('a', unique_key => 'u')",
    "SELECT * FROM taskflow.enqueue('a', unique_key => 'u', options => '{\"on_conflict\": \"replace\"}')",
    'SELECT * FROM taskflow.enqueue_many(\'[{"type": "a"}, {"type": "a", "unique_key": "x"}]\')',
    "SELECT * FROM taskflow.task_status(1)",
    "SELECT taskflow.cancel(1)",
    "SELECT taskflow.retry_task(1)",
    "SELECT * FROM taskflow.task_list",
    "SELECT * FROM taskflow.task_executions",
    "SELECT * FROM taskflow.find_task(1)",
    "SELECT * FROM taskflow.read_task(1)",
    "SELECT * FROM taskflow.task_attempts(1)",
    "SELECT * FROM taskflow.waiting_facts(1, 30)",
    "SELECT * FROM taskflow.live_counts()",
    "SELECT * FROM taskflow.ended_counts()",
    "SELECT * FROM taskflow.running_counts()",
    "SELECT * FROM taskflow.queue_depths()",
    "SELECT * FROM taskflow.queue_depths_below(5)",
    "SELECT * FROM taskflow.read_totals(1, 1)",
    "SELECT * FROM taskflow.take_bells('{a,*}')",
    "SELECT taskflow.give_bells('{a,*}')",
    "SELECT taskflow.ring('{a}')",
    "SELECT taskflow.wake_schedules()",
    "SELECT * FROM taskflow.begin_request('a', 'b', 'c')",
    "SELECT * FROM taskflow.enqueue_and_read('a', '{}', NULL, NULL, NULL, NULL, '{}')",
    "INSERT INTO taskflow.queues (name, max_depth, max_workers) VALUES ('mail', 5000, 3)",
    "INSERT INTO taskflow.tasks (type, queue) VALUES ('a', 'mail')",
    "UPDATE taskflow.queues SET max_workers = 4, max_depth = 10",
    "INSERT INTO taskflow.schedules (name, type, cron) VALUES ('s', 'a', '* * * * *')",
    "UPDATE taskflow.schedules SET enabled = false",
    "DELETE FROM taskflow.tasks",
]


@pytest.fixture
def trapped(connection: Connection) -> Connection:
    """A superuser with the search_path that everybody has, in a database whose `public` is full of traps."""
    connection.execute(TRAPS)
    with pytest.raises(psycopg.Error, match="caught by cardinality"):
        connection.execute("SELECT cardinality(ARRAY['a'])")
    with pytest.raises(psycopg.Error, match="caught by ="):
        connection.execute("SELECT 'pending'::taskflow.task_state = 'pending'")
    return connection


def test_a_statement_of_a_superuser_runs_nothing_of_others(trapped: Connection) -> None:
    for statement in STATEMENTS:
        trapped.execute(statement)


def test_a_worker_and_a_client_run_nothing_of_others(bench: Bench, trapped: Connection) -> None:
    task("noop", registry=bench.registry)(lambda payload: None)
    with bench.worker(), Client(bench.dsn) as client:
        assert client.wait(client.enqueue("noop").id, timeout=20).state == "completed"


def test_a_connection_of_ours_is_in_read_committed_whatever_the_logins_default_is(dsn: str) -> None:
    given = make_conninfo(dsn, options="-c default_transaction_isolation=serializable -c search_path=public")
    with connect(given, name="test") as connection:
        assert settle_session(connection)
        row = connection.execute("SELECT current_setting('transaction_isolation'), current_setting('search_path')")
        assert row.fetchone() == ("read committed", "pg_catalog, pg_temp")
