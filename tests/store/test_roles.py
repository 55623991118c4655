"""What a login of each role can do, and what it is refused."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege

from taskflow import web
from taskflow.settings import load
from taskflow.store.roles import PRODUCER_COLUMNS, READABLE, ROLES
from taskflow.web import create_app
from tests.store.support import rows

# A schema that stands first in a producer's search_path, with traps that shadow what the functions of taskflow call.
TRAPS = """
    CREATE SCHEMA traps AUTHORIZATION a_producer;
    SET ROLE a_producer;
    CREATE FUNCTION traps.trap() RETURNS void LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO traps.sprung SELECT current_user WHERE current_user <> 'a_producer'; END $$;
    CREATE TABLE traps.sprung (who text);
    CREATE FUNCTION traps.now() RETURNS timestamptz LANGUAGE sql
        AS $$ SELECT traps.trap(); SELECT pg_catalog.now() $$;
    CREATE FUNCTION traps.clock_timestamp() RETURNS timestamptz LANGUAGE sql
        AS $$ SELECT traps.trap(); SELECT pg_catalog.clock_timestamp() $$;
    CREATE FUNCTION traps.pg_notify(text, text) RETURNS void LANGUAGE sql
        AS $$ SELECT traps.trap(); SELECT pg_catalog.pg_notify($1, $2) $$;
    CREATE FUNCTION traps.hashtext(text) RETURNS integer LANGUAGE sql
        AS $$ SELECT traps.trap(); SELECT pg_catalog.hashtext($1) $$;
    CREATE FUNCTION traps.same(bigint, bigint) RETURNS boolean LANGUAGE sql
        AS $$ SELECT traps.trap(); SELECT $1 OPERATOR(pg_catalog.=) $2 $$;
    CREATE OPERATOR traps.= (FUNCTION = traps.same, LEFTARG = bigint, RIGHTARG = bigint);
    RESET ROLE;
"""


@pytest.fixture
def login(dsn, connection):
    """Connect as a login that is a member of one role: `login("taskflow_producer", "a_producer")`."""
    made = []

    @contextmanager
    def connect(role, name="a_login"):
        connection.execute(f"CREATE ROLE {name} LOGIN IN ROLE {role}")
        made.append(name)
        with psycopg.connect(dsn, user=name, autocommit=True) as opened:
            yield opened

    yield connect
    for name in made:
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")


@pytest.fixture
def producer(login):
    with login("taskflow_producer", "a_producer") as connection:
        yield connection


def not_refused(connection, queries):
    """Those of the queries for which the connection has all the rights it needs."""
    allowed = []
    for query in queries:
        try:
            connection.execute(query)
        except InsufficientPrivilege:
            continue
        allowed.append(query)
    return allowed


class TestProducer:
    def test_it_creates_tasks_in_every_way_and_sees_their_ids(self, producer):
        (plain,) = producer.execute("INSERT INTO taskflow.tasks (type) VALUES ('echo') RETURNING id").fetchone()
        (called,) = producer.execute("SELECT id FROM taskflow.enqueue('echo')").fetchone()
        (of_many,) = producer.execute('SELECT id FROM taskflow.enqueue_many(\'[{"type": "echo"}]\')').fetchone()
        with producer.cursor() as cursor, cursor.copy("COPY taskflow.tasks (type, payload) FROM STDIN") as copy:
            copy.write_row(("echo", "{}"))

        for task_id in (plain, called, of_many):
            assert rows(producer, "SELECT state FROM taskflow.task_status(%s)", task_id) == [("pending",)]
            assert rows(producer, "SELECT taskflow.cancel(%s)", task_id) == [("cancelled",)]
        assert rows(producer, "SELECT count(id) FROM taskflow.tasks") == [(4,)]

    def test_it_cannot_set_what_is_the_queues_business(self, producer):
        for column in ["state", "attempt", "worker_id", "failures", "created_by", "result", "version"]:
            assert column not in PRODUCER_COLUMNS
            insert = f"INSERT INTO taskflow.tasks (type, {column}) VALUES ('echo', DEFAULT)"
            assert not_refused(producer, [insert, f"UPDATE taskflow.tasks SET {column} = DEFAULT"]) == []

    def test_it_cannot_read_payloads_nor_act_as_a_worker_or_operator(self, producer):
        queries = [
            "SELECT payload FROM taskflow.tasks",
            "SELECT * FROM taskflow.task_list",
            "INSERT INTO taskflow.tasks (type) VALUES ('echo') RETURNING payload",
            "SELECT payload FROM taskflow.tasks_live",
            "SELECT id FROM taskflow.tasks ORDER BY payload",
            "SELECT * FROM taskflow.executions",
            "SELECT * FROM taskflow.find_task(1)",
            "SELECT * FROM taskflow.read_task(1)",
            "SELECT * FROM taskflow.api_keys",
            "SELECT * FROM taskflow.claim_tasks(1, '{default}', '{echo}', 1, '{}', '{}')",
            "SELECT taskflow.retry_task(1)",
            "DELETE FROM taskflow.tasks",
            "TRUNCATE taskflow.tasks",
            "COPY taskflow.tasks TO STDOUT",
        ]
        assert not_refused(producer, queries) == []

    def test_it_can_neither_see_nor_cancel_what_another_created(self, producer, connection):
        (task_id,) = connection.execute("SELECT id FROM taskflow.enqueue('echo')").fetchone()

        assert rows(producer, "SELECT * FROM taskflow.task_status(%s)", task_id) == []
        assert rows(producer, "SELECT taskflow.cancel(%s)", task_id) == [(None,)]
        assert rows(connection, "SELECT state::text FROM taskflow.tasks WHERE id = %s", task_id) == [("pending",)]

    def test_it_does_not_replace_what_another_created(self, producer, connection):
        statement = """SELECT id, created FROM taskflow.enqueue(
            'echo', %s, unique_key => 'k', options => '{"on_conflict": "replace"}')"""
        (task_id, _) = connection.execute(statement, ['{"n": 1}']).fetchone()
        with pytest.raises(InsufficientPrivilege, match=f"task {task_id} waits with the unique key") as refused:
            producer.execute(statement, ['{"n": 2}'])
        assert refused.value.diag.message_detail == str(task_id)
        assert rows(connection, "SELECT payload FROM taskflow.tasks WHERE id = %s", task_id) == [({"n": 1},)]
        connection.execute("SELECT taskflow.cancel(%s)", [task_id])
        [(own_id, created)] = rows(producer, statement, '{"n": 2}')
        assert created
        assert rows(producer, statement, '{"n": 3}') == [(own_id, False)]
        assert rows(connection, statement, '{"n": 4}') == [(own_id, False)]
        assert rows(connection, "SELECT payload FROM taskflow.tasks WHERE id = %s", own_id) == [({"n": 4},)]

    def test_traps_in_its_search_path_are_never_sprung_with_the_owners_rights(self, producer, connection):
        connection.execute(TRAPS)
        producer.execute("CREATE TEMP TABLE tasks (id bigint); CREATE TEMP TABLE tasks_live (id bigint)")
        for path in ("traps, pg_catalog, pg_temp", "pg_temp, traps, pg_catalog"):
            producer.execute(f"SET search_path = {path}")
            (task_id,) = producer.execute(
                "SELECT id FROM taskflow.enqueue('echo', unique_key => %s, options => '{\"delay\": 5}')", [path]
            ).fetchone()
            producer.execute('SELECT taskflow.enqueue_many(\'[{"type": "echo"}]\')')
            producer.execute("SELECT * FROM taskflow.task_status(%s)", [task_id])
            producer.execute("SELECT taskflow.cancel(%s)", [task_id])

        assert rows(connection, "SELECT who FROM traps.sprung") == []


class TestWorker:
    def test_it_runs_a_task_from_its_claim_to_its_audit(self, login, connection):
        connection.execute("SELECT taskflow.enqueue('echo')")
        with login("taskflow_worker") as worker:
            (own,) = worker.execute("SELECT taskflow.register_worker('host', 1, NULL, '{echo}', 1, '1')").fetchone()
            frontier = "array_fill('-infinity'::timestamptz, ARRAY[4]), array_fill(0::bigint, ARRAY[4])"
            claim = f"SELECT id, attempt FROM taskflow.claim_tasks(%s, '{{default}}', '{{echo}}', 1, {frontier})"
            task_id, attempt = worker.execute(claim, [own]).fetchone()
            complete = "SELECT * FROM taskflow.complete_tasks(%s, ARRAY[%s::bigint], ARRAY[%s::int], '{0}', '{null}')"

            assert rows(worker, complete, own, task_id, attempt) == []
            assert rows(worker, "SELECT state::text FROM taskflow.tasks WHERE id = %s", task_id) == [("completed",)]
            worker.execute("SELECT taskflow.deregister_worker(%s)", [own])

    def test_it_changes_tasks_only_through_functions_that_check_its_fence(self, login):
        queries = [
            "UPDATE taskflow.tasks SET state = 'completed'",
            "DELETE FROM taskflow.tasks",
            "UPDATE taskflow.queues SET paused = true",
            "DELETE FROM taskflow.executions",
            "SELECT hash FROM taskflow.api_keys",
            "SELECT taskflow.end_attempt(NULL, 'failed', 0, '{}')",
        ]
        with login("taskflow_worker") as worker:
            assert not_refused(worker, queries) == []


class TestReader:
    def test_it_reads_tables_and_views(self, login, connection):
        connection.execute("SELECT taskflow.enqueue('echo')")
        with login("taskflow_reader") as reader:
            for table in [*READABLE, "sql_objects", "alembic_version"]:
                reader.execute(f"SELECT * FROM taskflow.{table}")

    def test_it_reads_tasks_and_attempts_by_id(self, login, connection):
        (task_id,) = connection.execute("SELECT id FROM taskflow.enqueue('echo')").fetchone()
        with login("taskflow_reader") as reader:
            assert rows(reader, "SELECT id, state FROM taskflow.read_task(%s)", task_id) == [(task_id, "pending")]
            assert rows(reader, "SELECT id, state FROM taskflow.task_status(%s)", task_id) == [(task_id, "pending")]
            assert rows(reader, "SELECT * FROM taskflow.task_attempts(%s)", task_id) == []

    def test_it_reads_no_secret_and_writes_nothing(self, login):
        queries = [
            "SELECT hash FROM taskflow.api_keys",
            "SELECT * FROM taskflow.api_keys",
            "SELECT * FROM taskflow.idempotency_keys",
            "INSERT INTO taskflow.tasks (type) VALUES ('echo')",
            "SELECT taskflow.enqueue('echo')",
            "SELECT taskflow.cancel(1)",
            "UPDATE taskflow.queues SET paused = true",
        ]
        with login("taskflow_reader") as reader:
            assert not_refused(reader, queries) == []

    def test_it_reads_the_public_columns_of_api_keys(self, login):
        with login("taskflow_reader") as reader:
            assert rows(reader, "SELECT id, name, prefix, scopes, expires_at FROM taskflow.api_keys") == []


class TestOperator:
    def test_it_cancels_and_retries_the_tasks_of_others(self, login, connection):
        (task_id,) = connection.execute("SELECT id FROM taskflow.enqueue('echo')").fetchone()
        with login("taskflow_operator") as operator:
            assert rows(operator, "SELECT taskflow.cancel(%s)", task_id) == [("cancelled",)]
            assert rows(operator, "SELECT taskflow.retry_task(%s)", task_id) == [("pending",)]

    def test_it_changes_queues_schedules_and_workers_and_writes_the_audit_log(self, login):
        with login("taskflow_operator") as operator:
            operator.execute("INSERT INTO taskflow.queues (name) VALUES ('mail')")
            operator.execute("UPDATE taskflow.queues SET paused = true WHERE name = 'mail'")
            operator.execute("DELETE FROM taskflow.queues WHERE name = 'mail'")
            operator.execute("INSERT INTO taskflow.schedules (name, type, interval) VALUES ('n', 'echo', 60)")
            operator.execute("UPDATE taskflow.schedules SET enabled = false")
            operator.execute("UPDATE taskflow.workers SET state = 'draining'")
            operator.execute("INSERT INTO taskflow.audit_log (actor, action) VALUES ('me', 'pause')")

    def test_it_replaces_the_tasks_of_others_and_so_does_a_worker(self, login, connection):
        replace = """SELECT id FROM taskflow.enqueue(
            'echo', unique_key => 'k', options => '{"on_conflict": "replace"}')"""
        created = rows(connection, replace)
        with login("taskflow_operator", "an_operator") as operator, login("taskflow_worker", "a_worker") as handler:
            assert rows(operator, replace) == rows(handler, replace) == created

    def test_the_api_works_with_it_where_nobody_is_asked_for_a_key(self, login, dsn):
        with login("taskflow_operator", "an_operator"):
            app = create_app(load(database_url=f"{dsn}&user=an_operator", auth="off"))
            client = app.test_client()
            answers = [
                client.post("/api/v1/tasks", json={"type": "echo"}),
                client.post("/api/v1/tasks", json={"type": "echo", "unique_key": "k"}),
                client.post("/api/v1/tasks/bulk", json={"tasks": [{"type": "echo"}]}),
                client.post("/api/v1/events/ticket"),
            ]
            app.extensions["taskflow"].database.engine.dispose()
        assert [answer.status_code for answer in answers] == [201, 201, 201, 201]

    def test_it_can_neither_rewrite_the_audit_log_nor_make_itself_an_admin(self, login):
        queries = [
            "UPDATE taskflow.audit_log SET actor = 'somebody else'",
            "DELETE FROM taskflow.audit_log",
            "UPDATE taskflow.tasks SET state = 'completed'",
            "UPDATE taskflow.workers SET heartbeat = 0",
            "SELECT hash FROM taskflow.api_keys",
            "INSERT INTO taskflow.api_keys (name, prefix, hash, scopes) VALUES ('n', 'p', '', '{admin}')",
        ]
        with login("taskflow_operator") as operator:
            assert not_refused(operator, queries) == []


class TestServer:
    """The login of the REST API: with it everything that the API does is possible, and it is no superuser."""

    def test_the_api_works_with_its_role_keys_and_idempotency_included(self, login, dsn, connection):
        with login("taskflow_server", "a_server"):
            app = create_app(load(database_url=f"{dsn}&user=a_server", auth="on", admin_key="a-key-of-the-tests"))
            client = app.test_client()
            client.environ_base["HTTP_X_API_KEY"] = "a-key-of-the-tests"
            body = {"name": "n", "scopes": ["read"]}
            made = client.post("/api/v1/keys", json=body, headers={"Idempotency-Key": "k"})
            tasks = [client.post("/api/v1/tasks", json={"type": "echo"}, headers={"Idempotency-Key": "k"})] * 2
            answers = [
                made,
                *tasks,
                client.get("/api/v1/audit"),
                client.delete(f"/api/v1/keys/{made.json['id']}"),
                client.post(f"/api/v1/tasks/{tasks[0].json['id']}/cancel"),
            ]
            app.extensions["taskflow"].database.engine.dispose()

        assert [answer.status_code for answer in answers] == [201, 201, 201, 200, 200, 200]

    def test_it_may_call_every_function_that_the_api_calls(self):
        source = "".join(path.read_text() for path in Path(web.__file__).parent.rglob("*.py"))
        functions = {path.stem for path in (Path(web.__file__).parents[2] / "sql" / "functions").glob("*.sql")}
        called = set(re.findall(r"taskflow\.(\w+)\(", source)) & functions
        [server] = [role for role in ROLES if role.name == "taskflow_server"]

        assert len(called) > 10
        assert called - set(server.functions) == set()

    def test_it_cannot_rewrite_the_audit_log_nor_a_key(self, login):
        queries = [
            "UPDATE taskflow.audit_log SET actor = 'somebody else'",
            "DELETE FROM taskflow.audit_log",
            "UPDATE taskflow.api_keys SET scopes = '{admin}'",
            "UPDATE taskflow.api_keys SET hash = ''",
            "DELETE FROM taskflow.api_keys",
        ]
        with login("taskflow_server") as server:
            assert not_refused(server, queries) == []
