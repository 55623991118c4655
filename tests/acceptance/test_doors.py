"""Bad input at the doors of SQL and Python: refused with a clear error, nothing stored, nobody else disturbed."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql

from taskflow import Client, InvalidTask, NewTask, TaskNotFound

LARGE = 20_000_000
A_PRODUCER = "a_producer_of_the_doors"
SECRET = {"password": "xyzzy"}

# One column of a plain INSERT or COPY with a text that is wrong for it, and what the error must say.
WRONG_VALUES: list[tuple[str, str, str]] = [
    ("payload", '{"a": 1', "invalid input syntax for type json"),
    ("payload", '"text"', "value_is_a_json_object"),
    ("payload", "null", "value_is_a_json_object"),
    ("payload", "[]", "value_is_a_json_object"),
    ("payload", '{"a": NaN}', "invalid input syntax for type json"),
    ("payload", '{"a": "\\u0000"}', "unsupported Unicode escape sequence"),
    ("payload", '{"\\u0000": 1}', "unsupported Unicode escape sequence"),
    ("payload", '{"a": "\\ud800"}', "invalid input syntax for type json"),
    ("payload", json.dumps({"a": "x" * LARGE}), "value_is_at_most_1_mib"),
    ("payload", json.dumps({"a": ["y"] * (LARGE // 5)}), "value_is_at_most_1_mib"),
    ("metadata", "[1]", "value_is_a_json_object"),
    ("metadata", json.dumps({"a": "x" * LARGE}), "value_is_at_most_1_mib"),
    ("type", "", "type_is_1_to_200_characters"),
    ("type", "x" * LARGE, "type_is_1_to_200_characters"),
    ("queue", "", "queue_is_1_to_100"),
    ("queue", "a b", "queue_is_1_to_100"),
    ("queue", "*", "queue_is_1_to_100"),
    ("queue", "'; DROP TABLE taskflow.tasks; --", "queue_is_1_to_100"),
    ("queue", "q" * LARGE, "queue_is_1_to_100"),
    ("priority", "4", "priority_is_0_to_3"),
    ("priority", "-1", "priority_is_0_to_3"),
    ("priority", "99999999999999999999", "out of range for type smallint"),
    ("priority", "NaN", "invalid input syntax for type smallint"),
    ("run_at", "infinity", "run_at_is_a_finite_time"),
    ("run_at", "-infinity", "run_at_is_a_finite_time"),
    ("run_at", "0001-01-01 00:00+00", "run_at_is_a_finite_time"),
    ("run_at", "290000-01-01 00:00+00", "run_at_is_a_finite_time"),
    ("run_at", "1700000000", "time"),
    ("run_at", "soon", "invalid input syntax"),
    ("max_attempts", "0", "max_attempts_is_1_to_1000"),
    ("max_attempts", "-5", "max_attempts_is_1_to_1000"),
    ("max_attempts", "1e9", "invalid input syntax for type integer"),
    ("timeout", "NaN", "timeout_is_positive"),
    ("timeout", "Infinity", "timeout_is_positive"),
    ("timeout", "-0.001", "timeout_is_positive"),
    ("timeout", "1e400", "out of range for type double precision"),
    ("retry_delay", "NaN", "retry_delay_is_0_to_30_days"),
    ("retry_delay", "-Infinity", "retry_delay_is_0_to_30_days"),
    ("max_retry_delay", "-1", "max_retry_delay_is_0_to_30_days"),
    ("retry_strategy", "never", "invalid input value for enum"),
    ("unique_key", "", "key_is_1_to_500_characters"),
    ("unique_key", "k" * LARGE, "key_is_1_to_500_characters"),
    ("concurrency_key", "k" * 501, "key_is_1_to_500_characters"),
    ("tags", "{" + ",".join(["a"] * 100_000) + "}", "tags_are_at_most_20"),
    ("tags", "{" + "t" * LARGE + "}", "tags_are_at_most_20_kb"),
    ("tags", "{NULL}", "tags_are_not_null"),
    ("tags", "{{a,b},{c,d}}", "multidimensional arrays"),
    ("tags", "a", "malformed array literal"),
]
# What the queue decides and no producer: no column of these may be named.
FORBIDDEN_COLUMNS = {
    "state": "completed", "attempt": "3", "failures": "1", "losses": "1", "worker_id": "1", "version": "7",
    "result": "{}", "error": "x", "created_by": "somebody", "created_at": "now", "claimed_at": "now",
    "started_at": "now", "finished_at": "now", "updated_at": "now", "progress": "50", "cancel_requested": "true",
    "schedule_id": "1",
}  # fmt: skip
REFUSED_STATEMENTS = [
    "SELECT payload FROM taskflow.tasks",
    "SELECT id FROM taskflow.tasks WHERE payload ->> 'password' LIKE 'x%'",
    "SELECT id FROM taskflow.tasks FOR UPDATE",
    "SELECT * FROM taskflow.tasks_live",
    "SELECT * FROM taskflow.task_list",
    "SELECT taskflow.find_task(1)",
    "SELECT taskflow.read_task(1)",
    "SELECT taskflow.retry_task(1)",
    "SELECT taskflow.enqueue_and_read('a', '{}', NULL, NULL, NULL, NULL, '{}')",
    "COPY taskflow.tasks TO STDOUT",
    "INSERT INTO taskflow.tasks (type) VALUES ('a') RETURNING payload",
    "INSERT INTO taskflow.tasks (id, type) OVERRIDING SYSTEM VALUE VALUES (1, 'a')",
    "INSERT INTO taskflow.tasks_live (type) VALUES ('a')",
    "MERGE INTO taskflow.tasks USING (VALUES (1)) v ON false"
    " WHEN NOT MATCHED THEN INSERT (type, state) VALUES ('a', 'blocked')",
    "UPDATE taskflow.tasks SET payload = '{}'",
    "DELETE FROM taskflow.tasks",
    "TRUNCATE taskflow.tasks",
    "ALTER TABLE taskflow.tasks DISABLE TRIGGER tasks_ring",
    "CREATE TABLE taskflow.mine ()",
    "UPDATE taskflow.queues SET paused = true",
    "SET session_replication_role = replica",
    "SET SESSION AUTHORIZATION postgres",
    "SET ROLE postgres",
    "SET ROLE taskflow_operator",
    "SET ROLE taskflow_worker",
    "SELECT setval('taskflow.tasks_id_seq', 1)",
    "SELECT taskflow.take_bells('{default}')",
]
# A schema of the producer's own that stands first in its search_path: everything in it reads or writes what it may not,
# if it is ever called with more rights than the producer's.
TRAPS = """
    CREATE TABLE {schema}.caught (who text);
    CREATE FUNCTION {schema}.trap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        IF current_user <> {producer} THEN INSERT INTO {schema}.caught VALUES (current_user); END IF; END $$;
    CREATE FUNCTION {schema}.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {schema}.trap(); RETURN pg_catalog.now(); END $$;
    CREATE FUNCTION {schema}.hashtext(text) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {schema}.trap(); RETURN 1; END $$;
    CREATE FUNCTION {schema}.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {schema}.trap(); END $$;
    CREATE FUNCTION {schema}.same(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {schema}.trap(); RETURN true; END $$;
    CREATE FUNCTION {schema}.same(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {schema}.trap(); RETURN true; END $$;
    CREATE FUNCTION {schema}.same(name, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {schema}.trap(); RETURN true; END $$;
    CREATE FUNCTION {schema}.same(jsonb, jsonb) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        PERFORM {schema}.trap(); RETURN true; END $$;
    CREATE OPERATOR {schema}.= (FUNCTION = {schema}.same, LEFTARG = text, RIGHTARG = text);
    CREATE OPERATOR {schema}.= (FUNCTION = {schema}.same, LEFTARG = bigint, RIGHTARG = bigint);
    CREATE OPERATOR {schema}.= (FUNCTION = {schema}.same, LEFTARG = name, RIGHTARG = text);
    CREATE OPERATOR {schema}.= (FUNCTION = {schema}.same, LEFTARG = jsonb, RIGHTARG = jsonb);
    CREATE TABLE {schema}.tasks (id bigint, type text, payload jsonb, created_by text);
    CREATE TABLE {schema}.tasks_live (id bigint);
    CREATE TEMPORARY TABLE tasks (id bigint, type text, payload jsonb, state text, created_by text);
    CREATE TEMPORARY TABLE tasks_live (id bigint);
    CREATE TEMPORARY TABLE queues (name text);
    CREATE TEMPORARY TABLE pg_roles (rolname text, oid oid);
    INSERT INTO pg_temp.pg_roles SELECT 'taskflow_operator', oid FROM pg_catalog.pg_roles WHERE rolname = {producer};
    SET search_path = pg_temp, {schema}, pg_catalog, taskflow;
"""


@pytest.fixture
def producer(dsn: str, connection) -> Iterator[psycopg.Connection[Any]]:
    """A login that may only create tasks, and a schema of its own."""
    connection.execute(f"CREATE ROLE {A_PRODUCER} LOGIN IN ROLE taskflow_producer")
    connection.execute(f"CREATE SCHEMA mine AUTHORIZATION {A_PRODUCER}")
    try:
        with psycopg.connect(dsn, user=A_PRODUCER, autocommit=True) as opened:
            yield opened
    finally:
        connection.execute(f"DROP OWNED BY {A_PRODUCER} CASCADE")
        connection.execute(f"DROP ROLE {A_PRODUCER}")


@pytest.fixture
def secret(connection) -> int:
    """A task of somebody else."""
    row = connection.execute(
        "INSERT INTO taskflow.tasks (type, payload) VALUES ('secret', %s) RETURNING id", (json.dumps(SECRET),)
    ).fetchone()
    return row[0]


@pytest.fixture
def stored(connection) -> Callable[[], int]:
    return lambda: connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone()[0]


def said(error: psycopg.Error) -> str:
    return f"{error.diag.constraint_name} {error.diag.message_primary}"


def refusal(do: Callable[[], object]) -> str:
    """What the database says to it; fails if it does it."""
    with pytest.raises(psycopg.Error) as refused:
        do()
    assert refused.value.sqlstate is not None, "the connection was lost over it"
    return said(refused.value)


def copy(connection, columns: tuple[str, ...], row: tuple[str, ...]) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    with connection.cursor().copy(sql.SQL("COPY taskflow.tasks ({}) FROM STDIN").format(names)) as stream:
        stream.write_row(row)


def insert(connection, columns: tuple[str, ...], row: tuple[str, ...]) -> None:
    connection.execute(
        sql.SQL("INSERT INTO taskflow.tasks ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), sql.SQL(", ").join(map(sql.Literal, row))
        )
    )


@pytest.mark.parametrize("door", [insert, copy])
def test_wrong_values_are_refused_by_name_and_nothing_is_stored(producer, stored, door) -> None:
    problems = []
    for column, value, complaint in WRONG_VALUES:
        columns, row = (("type",), (value,)) if column == "type" else (("type", column), ("a", value))
        answer = refusal(lambda columns=columns, row=row: door(producer, columns, row))
        if complaint not in answer:
            problems.append((column, value[:50], answer[:200]))
    assert not problems
    assert stored() == 0


@pytest.mark.parametrize("door", [insert, copy])
def test_what_the_queue_decides_no_producer_can_name(producer, stored, door) -> None:
    for column, value in FORBIDDEN_COLUMNS.items():
        assert "permission denied" in refusal(lambda c=column, v=value: door(producer, ("type", c), ("a", v))), column
    assert re.search("permission denied|cannot insert", refusal(lambda: door(producer, ("id", "type"), ("1", "a"))))
    assert stored() == 0


def test_a_nul_is_refused_in_every_spelling(producer, stored) -> None:
    for statement in (
        "INSERT INTO taskflow.tasks (type) VALUES (U&'a\\0000')",
        "INSERT INTO taskflow.tasks (type) VALUES (E'a\\x00')",
        "INSERT INTO taskflow.tasks (type, unique_key) VALUES ('a', E'k\\000')",
        "INSERT INTO taskflow.tasks (type) VALUES ('a' || chr(0))",
        "SELECT taskflow.enqueue('a', '{\"a\": \"\\u0000\"}')",
        'SELECT taskflow.enqueue_many(\'[{"type": "a\\u0000"}]\')',
    ):
        assert refusal(lambda statement=statement: producer.execute(statement))
    assert stored() == 0


def test_what_another_table_holds_compressed_is_measured_as_it_is(producer, stored) -> None:
    producer.execute("CREATE TABLE mine.large AS SELECT jsonb_build_object('a', repeat('x', %s)) AS payload", (LARGE,))
    producer.execute("CREATE TABLE mine.tags AS SELECT array_fill(repeat('x', %s), ARRAY[3]) AS tags", (100_000,))
    for statement, complaint in (
        ("INSERT INTO taskflow.tasks (type, payload) SELECT 'a', payload FROM mine.large", "at_most_1_mib"),
        ("SELECT taskflow.enqueue('a', payload) FROM mine.large", "at_most_1_mib"),
        ("INSERT INTO taskflow.tasks (type, tags) SELECT 'a', tags FROM mine.tags", "at_most_20_kb"),
    ):
        assert complaint in refusal(lambda statement=statement: producer.execute(statement))
    assert stored() == 0


WRONG_TASKS: list[tuple[object, str]] = [
    (None, "must be a JSON array"),
    ({}, "must be a JSON array"),
    ([None], "task 0 is null"),
    ([{"type": "a"}, []], "task 1 is array"),
    ([{}], "type"),
    ([{"type": None}], "type"),
    ([{"type": ""}], "type_is_1_to_200_characters"),
    ([{"type": "a"}, {"type": "a", "state": "completed"}], "task 1 has unknown fields: state"),
    ([{"type": "a", "id": 1, "created_by": "x"}], "unknown fields"),
    ([{"type": "a", "payload": []}], "value_is_a_json_object"),
    ([{"type": "a", "priority": "high"}], "integer"),
    ([{"type": "a", "priority": 1.5}], "integer"),
    ([{"type": "a", "priority": 70_000}], "smallint"),
    ([{"type": "a", "run_at": "infinity"}], "run_at_is_a_finite_time"),
    ([{"type": "a", "run_at": 1_700_000_000}], "time"),
    ([{"type": "a", "delay": -1}], "delay must be 0 seconds to 100 years"),
    ([{"type": "a", "delay": "NaN"}], '"delay" must be of type number'),
    ([{"type": "a", "timeout": "NaN"}], "timeout_is_positive"),
    ([{"type": "a", "max_attempts": 10**20}], "integer"),
    ([{"type": "a", "tags": "x"}], "array"),
    ([{"type": "a", "tags": [None]}], "tags_are_not_null"),
    ([{"type": "a", "metadata": "x"}], "value_is_a_json_object"),
    ([{"type": "a", "on_conflict": "explode"}], "on_conflict must be skip, error or replace"),
]


@pytest.mark.parametrize(
    "time", ["2030-01-01T00:00:00", "2030-01-01", "tomorrow", "05/06/2030", "2030-05-06 07:00 Europe/Berlin", 5]
)
def test_a_time_in_json_that_every_session_would_read_otherwise_is_refused(producer, connection, stored, time) -> None:
    for more in ({}, {"unique_key": "u"}):
        tasks = json.dumps([{"type": "a"}, {"type": "a", "run_at": time, **more}])
        answer = refusal(lambda tasks=tasks: producer.execute("SELECT taskflow.enqueue_many(%s)", (tasks,)))
        assert f'task 1: run_at "{time}" is no time with an offset from UTC' in answer
    assert stored() == 0
    connection.execute("INSERT INTO taskflow.tasks (type) VALUES ('a')")
    connection.execute("SELECT taskflow.cancel(id) FROM taskflow.tasks")
    options = json.dumps({"run_at": time})
    answer = refusal(lambda: connection.execute("SELECT taskflow.retry_task(id, %s) FROM taskflow.tasks", (options,)))
    assert f'run_at "{time}" is no time with an offset from UTC' in answer


@pytest.mark.parametrize("time", ["2030-05-06T07:00:00Z", "2030-05-06T09:00+02", "2030-05-06 12:30:00.5+05:30"])
def test_a_time_in_json_with_an_offset_is_taken(producer, connection, time) -> None:
    producer.execute("SELECT taskflow.enqueue_many(%s)", (json.dumps([{"type": "a", "run_at": time}]),))
    assert connection.execute("SELECT run_at FROM taskflow.tasks").fetchone()[0] == datetime.fromisoformat(time)


def test_options_of_a_retry_that_are_no_object_are_refused(connection) -> None:
    assert "options must be a JSON object" in refusal(lambda: connection.execute("SELECT taskflow.retry_task(1, '[]')"))


@pytest.mark.parametrize("key", [None, "k"], ids=["without_unique_key", "with_unique_key"])
def test_enqueue_and_enqueue_many_refuse_alike_and_store_nothing(producer, stored, key) -> None:
    problems = []
    for tasks, complaint in WRONG_TASKS:
        if key is not None and isinstance(tasks, list) and isinstance(tasks[-1], dict):
            tasks = [*tasks[:-1], {**tasks[-1], "unique_key": key}]
        answer = refusal(lambda tasks=tasks: producer.execute("SELECT taskflow.enqueue_many(%s)", (json.dumps(tasks),)))
        if complaint not in answer:
            problems.append((tasks, answer))
    for options in ("[]", "[1]", '"x"', "null", "1", '{"state": "completed"}', '{"delay": -1}', '{"tags": {}}'):
        answer = refusal(
            lambda options=options: producer.execute(
                "SELECT taskflow.enqueue('a', unique_key => %s, options => %s)", (key, options)
            )
        )
        if not re.search("options must be a JSON object|no option|delay must|must be of type array", answer):
            problems.append((options, answer))
    assert not problems
    assert stored() == 0


def test_a_producer_gets_at_nothing_that_is_not_its_own(producer, connection, secret) -> None:
    before = connection.execute("SELECT * FROM taskflow.tasks").fetchall()
    allowed = []
    for statement in REFUSED_STATEMENTS:
        try:
            producer.execute(statement)
            allowed.append(statement)
        except psycopg.errors.InsufficientPrivilege:
            continue
    assert not allowed
    assert producer.execute("SELECT taskflow.cancel(%s)", (secret,)).fetchone() == (None,)
    assert producer.execute("SELECT * FROM taskflow.task_status(%s)", (secret,)).fetchone() is None
    assert connection.execute("SELECT * FROM taskflow.tasks").fetchall() == before


def test_a_search_path_with_traps_in_front_catches_nobody(producer, connection, secret) -> None:
    producer.execute(sql.SQL(TRAPS).format(schema=sql.Identifier("mine"), producer=sql.Literal(A_PRODUCER)))
    for statement in (
        "SELECT * FROM taskflow.enqueue('a')",
        "SELECT * FROM taskflow.enqueue('a', unique_key => 'u')",
        "SELECT * FROM taskflow.enqueue('a', unique_key => 'u', options => '{\"on_conflict\": \"replace\"}')",
        'SELECT * FROM taskflow.enqueue_many(\'[{"type": "a"}, {"type": "a", "unique_key": "x"}]\')',
        "INSERT INTO taskflow.tasks (type) VALUES ('a')",
        "COPY taskflow.tasks (type) TO STDOUT",
        f"SELECT taskflow.cancel({secret}::bigint)",
        f"SELECT * FROM taskflow.task_status({secret}::bigint)",
    ):
        try:
            cursor = producer.execute(statement)
        except psycopg.DatabaseError:  # spoiling its own statements is all it can do
            continue
        assert not cursor.description or "xyzzy" not in str(cursor.fetchall())
    assert connection.execute("SELECT who FROM mine.caught").fetchall() == []
    assert connection.execute("SELECT count(*) FROM mine.tasks").fetchone() == (0,)
    assert connection.execute("SELECT state, payload FROM taskflow.tasks WHERE id = %s", (secret,)).fetchone() == (
        "pending",
        SECRET,
    )


def test_thousands_of_queues_in_one_transaction_cost_nobody_the_servers_locks(producer, connection, stored) -> None:
    with producer.transaction():
        producer.execute(
            "INSERT INTO taskflow.tasks (type, queue) SELECT 'a', 'q' || n FROM generate_series(1, 20000) n"
        )
        (locks,) = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = %s", (producer.info.backend_pid,)
        ).fetchone()
        assert locks < 2000
        connection.execute("INSERT INTO taskflow.tasks (type) VALUES ('a')")
    assert stored() == 20_001


# The doors of Python


@pytest.fixture
def client(dsn: str) -> Iterator[Client]:
    with Client(dsn) as opened:
        yield opened


NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001
WRONG_CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("",), {}),
    (("x" * 201,), {}),
    (("a\x00",), {}),
    (("caf\udce9",), {}),
    ((5,), {}),
    (("a", "text"), {}),
    (("a", [1]), {}),
    (("a", {"a": "\x00"}), {}),
    (("a", {"\x00": 1}), {}),
    (("a", {"a": float("nan")}), {}),
    (("a", {"a": float("inf")}), {}),
    (("a", {"a": "\ud800"}), {}),
    (("a", {1: 2}), {}),
    (("a", {"a": object()}), {}),
    (("a", {"a": "x" * LARGE}), {}),
    (("a",), {"metadata": {"a": "x" * LARGE}}),
    (("a",), {"metadata": [1]}),
    (("a",), {"queue": "a b"}),
    (("a",), {"priority": 4}),
    (("a",), {"priority": -1}),
    (("a",), {"priority": True}),
    (("a",), {"priority": "urgent"}),
    (("a",), {"run_at": NAIVE}),
    (("a",), {"run_at": "2030-01-01T00:00:00Z"}),
    (("a",), {"run_at": datetime.fromisoformat("2999-01-01T00:00:00+00:00")}),
    (("a",), {"delay": -1}),
    (("a",), {"delay": float("nan")}),
    (("a",), {"delay": 1e300}),
    (("a",), {"timeout": 0}),
    (("a",), {"timeout": float("inf")}),
    (("a",), {"max_attempts": 0}),
    (("a",), {"max_attempts": 10**30}),
    (("a",), {"max_attempts": 1.5}),
    (("a",), {"unique_key": ""}),
    (("a",), {"unique_key": "k\x00"}),
    (("a",), {"unique_key": "\ud800"}),
    (("a",), {"concurrency_key": "\udc80"}),
    (("a",), {"metadata": {"a": "\ud800"}}),
    (("a",), {"unique_key": "k" * LARGE}),
    (("a",), {"concurrency_key": 5}),
    (("a",), {"tags": "abc"}),
    (("a",), {"tags": ["t"] * 100_000}),
    (("a",), {"tags": ["t" * LARGE]}),
    (("a",), {"tags": ["\x00"]}),
    (("a",), {"tags": ["\ud800"]}),
    (("a",), {"tags": [None]}),
    (("a",), {"on_conflict": "explode"}),
    (("a",), {"state": "completed"}),
]


@pytest.mark.parametrize("door", ["enqueue", "enqueue_many", "copy"])
def test_python_refuses_what_is_wrong_with_one_kind_of_error_and_stores_nothing(client, stored, door) -> None:
    def call(arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        if door == "enqueue":
            client.enqueue(*arguments, **options)
        else:
            getattr(client, door)([NewTask("good"), NewTask(*arguments, **options)])

    problems = []
    for arguments, options in WRONG_CALLS:
        try:
            call(arguments, options)
        except InvalidTask as error:
            if not 10 < len(str(error)) < 1000:
                problems.append((str(arguments)[:60], str(options)[:60], str(error)[:1000]))
        except Exception as error:  # noqa: BLE001
            problems.append((str(arguments)[:60], str(options)[:60], repr(error)[:300]))
        else:
            problems.append((str(arguments)[:60], str(options)[:60], "accepted"))
    assert not problems
    assert stored() == 0


@pytest.mark.parametrize("task_id", [0, -1, 2**63 - 1, 2**63, -(2**70), "5", None, 1.5, True])
def test_python_asked_for_a_task_that_cannot_be_says_so(client, task_id) -> None:
    for ask in (client.get, client.cancel, client.retry, client.executions):
        if isinstance(task_id, int | str) and not isinstance(task_id, bool):
            with contextlib.suppress(TaskNotFound):
                assert ask(task_id) == []
        else:
            with pytest.raises(InvalidTask, match="whole number"):
                ask(task_id)


# The doors of notifications


@pytest.mark.parametrize("args", [("--queues", "default"), ()], ids=["one_queue", "every_queue"])
def test_forged_notifications_do_a_worker_no_harm(dsn, connection, producer, start_worker, wait_until, args) -> None:
    worker = start_worker(dsn, "--poll-interval", "60", "--no-leader", *args)
    wait_until(lambda: "worker_ready" in worker.logs())
    junk = [
        "",
        "default",
        "x" * 7999,
        '{"cancel": [1]}',
        '{"cancel": "all"}',
        "null",
        "[" * 5000,
        "{",
        "ä\u2028\n",
        "';--",
    ]
    channels = ("taskflow_wake", "taskflow_control", "taskflow_bell")
    ended = threading.Event()

    def forge() -> None:
        number = 0
        with psycopg.connect(dsn, user=A_PRODUCER, autocommit=True) as forger:
            while not ended.wait(0.01):
                number += 1
                for channel in channels:
                    forger.execute(
                        "SELECT pg_notify(%s, payload || n) FROM unnest(%s::text[]) payload, generate_series(1, 50) n"
                        " WHERE length(payload) < 7000 OR n = 1",
                        (channel, [text[: 8000 - 10] + str(number % 7) * (len(text) < 7000) for text in junk]),
                    )

    forgers = [threading.Thread(target=forge) for _ in range(2)]
    for thread in forgers:
        thread.start()
    try:
        ended_ones = "SELECT count(*) FROM taskflow.tasks WHERE state = 'completed'"
        for number in range(1, 51):
            producer.execute("INSERT INTO taskflow.tasks (type) VALUES ('noop')")
            wait_until(lambda number=number: connection.execute(ended_ones).fetchone() == (number,), timeout=5)
    finally:
        ended.set()
        for thread in forgers:
            thread.join()
    producer.execute("INSERT INTO taskflow.tasks (type) VALUES ('noop')")
    wait_until(lambda: connection.execute(ended_ones).fetchone() == (51,), timeout=5)
    assert [event for event in worker.events() if event["level"] in ("warning", "error")] == []
    assert worker.stop() == 0
