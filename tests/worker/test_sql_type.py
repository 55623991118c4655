"""The built-in type `sql`: one call of an allowed SQL function, exactly once, with its return value as the result."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from taskflow.handlers.sql import sql
from taskflow.settings import process_settings
from tests.worker.commits import Loses, relay
from tests.worker.conftest import Bench

OBJECTS = """
    CREATE SCHEMA billing;
    CREATE SCHEMA "Odd Schema";
    CREATE DOMAIN billing.code AS text CHECK (VALUE ~ '^[A-Z]+$');
    CREATE TYPE billing.pair AS (a int, b text);
    CREATE TABLE billing.calls (at timestamptz DEFAULT clock_timestamp(), what text, UNIQUE (what));
    CREATE FUNCTION billing.count_call(what text DEFAULT NULL) RETURNS bigint LANGUAGE sql AS
        $$ INSERT INTO billing.calls (what) VALUES (what); SELECT count(*) FROM billing.calls $$;
    CREATE FUNCTION billing.kinds(
        n numeric, b boolean, d date, j jsonb, a uuid[], c billing.code, t text DEFAULT 'dflt') RETURNS jsonb
        LANGUAGE sql AS $$ SELECT jsonb_build_object('n', n, 'b', b, 'd', d, 'j', j, 'a', a, 'c', c, 't', t) $$;
    CREATE FUNCTION billing.row_of(OUT x int, OUT y text) LANGUAGE sql AS $$ SELECT 1, 'one' $$;
    CREATE FUNCTION billing.pairs(count int) RETURNS SETOF billing.pair LANGUAGE sql AS
        $$ SELECT i, 'p' || i FROM generate_series(1, count) i $$;
    CREATE FUNCTION billing.big() RETURNS numeric LANGUAGE sql AS $$ SELECT 123456789012345678901234567890.5 $$;
    CREATE FUNCTION billing.nothing() RETURNS void LANGUAGE sql AS $$ INSERT INTO billing.calls DEFAULT VALUES $$;
    CREATE FUNCTION billing.sum_of(first int, VARIADIC more int[]) RETURNS int LANGUAGE sql AS
        $$ SELECT first + (SELECT sum(m)::int FROM unnest(more) m) $$;
    CREATE PROCEDURE billing.proc(what text) LANGUAGE sql AS $$ INSERT INTO billing.calls (what) VALUES (what) $$;
    CREATE PROCEDURE billing.proc_out(INOUT n int) LANGUAGE sql AS $$ SELECT n $$;
    CREATE PROCEDURE billing.proc_commit() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
    CREATE FUNCTION billing.twice(a int) RETURNS int LANGUAGE sql AS $$ SELECT a $$;
    CREATE FUNCTION billing.twice(b text) RETURNS int LANGUAGE sql AS $$ SELECT 2 $$;
    CREATE FUNCTION billing.raises(code text, message text DEFAULT 'as told', api_token text DEFAULT '') RETURNS void
        LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = code, MESSAGE = message || api_token,
        DETAIL = 'the detail quotes a row'; END $$;
    CREATE FUNCTION billing.quotes("apiKey" text DEFAULT '', apikey text DEFAULT '', "access-key" text DEFAULT '')
        RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '22000',
        MESSAGE = 'wrong: ' || "apiKey" || apikey || "access-key"; END $$;
    CREATE FUNCTION billing.loses_first(what text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO billing.calls (what) VALUES (what); RETURN what; END $$;
    CREATE FUNCTION "Odd Schema"."do ""it"" %s"("the %s {}" int) RETURNS int LANGUAGE sql AS $$ SELECT 7 $$;
"""
EVERYTHING = ",".join(
    f"billing.{name}"
    for name in (
        *("count_call", "kinds", "row_of", "pairs", "big", "nothing", "sum_of", "proc", "proc_out", "proc_commit"),
        *("twice", "raises", "quotes", "loses_first", "missing"),
    )
)
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
CALLS = "SELECT what FROM billing.calls ORDER BY what"


@pytest.fixture
def billing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench with functions to call, all of which are allowed."""
    bench.connection.execute(OBJECTS)
    monkeypatch.setenv("TASKFLOW_SQL_FUNCTIONS", EVERYTHING + ',Odd Schema.do "it" %s')
    process_settings.cache_clear()  # read once a process, and a test has its own environment
    bench.registry.add(sql)
    return bench


def call(bench: Bench, function: str, args: Any = (), **columns: Any) -> int:
    return bench.enqueue("sql", json.dumps({"function": function, "args": args}), retry_delay=0, **columns)


@pytest.mark.parametrize("function", ["billing.count_call", "billing.other"])
def test_what_is_not_allowed_is_not_called_and_the_setting_is_named(
    billing: Bench, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    monkeypatch.setenv("TASKFLOW_SQL_FUNCTIONS", "" if function.endswith("call") else "billing.count_call")
    with billing.worker():
        state, error = billing.ended(call(billing, function), "error")
    assert state == "dead_letter"
    assert "TASKFLOW_SQL_FUNCTIONS" in error
    assert function in error
    assert billing.connection.execute(CALLS).fetchall() == []


def test_arguments_are_cast_and_what_is_returned_is_the_result(billing: Bench) -> None:
    uuid = "7f0c0a3e-6f2c-4d6f-9d6e-111111111111"
    kinds = ["1.10", True, "2026-02-03", {"k": ["v"]}, [uuid], "ABC"]
    named = dict(zip("nbdjac", kinds, strict=True))
    cases: list[tuple[str, Any, Any]] = [
        ("billing.kinds", kinds, {**named, "n": 1.10, "t": "dflt"}),
        ("billing.kinds", {**named, "t": "x", "j": "text"}, {**named, "n": 1.10, "t": "x", "j": "text"}),
        ("billing.row_of", [], {"x": 1, "y": "one"}),
        ("billing.pairs", [2], [{"a": 1, "b": "p1"}, {"a": 2, "b": "p2"}]),
        ("billing.pairs", {"count": 0}, []),
        ("billing.nothing", [], None),
        ("billing.sum_of", [1, [2, 3]], 6),
        ("billing.sum_of", {"first": 1, "more": [2]}, 3),
        ("billing.proc", ["by procedure"], None),
        ("billing.twice", {"b": "by name"}, 2),
        ('Odd Schema.do "it" %s', {"the %s {}": 5}, 7),
        ('Odd Schema.do "it" %s', [None], 7),
    ]
    with billing.worker():
        ids = [call(billing, function, args) for function, args, _ in cases]
        found = [billing.ended(task_id, "error", "result") for task_id in ids]
        big = call(billing, "billing.big")
        billing.ended(big)
    assert found == [("completed", None, result) for _, _, result in cases]
    exact = billing.connection.execute("SELECT result::text FROM taskflow.read_task(%s)", (big,)).fetchone()
    assert exact == ("123456789012345678901234567890.5",)
    assert billing.connection.execute(CALLS).fetchall() == [("by procedure",), (None,)]


WRONG: list[tuple[str, Any, str]] = [
    ("billing.missing", [], "there is no function billing.missing"),
    ("billing.pairs", [], "0 arguments do not fit: there is billing.pairs(count integer)"),
    ("billing.pairs", [1, 2], "2 arguments do not fit"),
    ("billing.pairs", {"many": 1}, "arguments named many do not fit"),
    ("billing.twice", [1], "give them by name"),
    ("billing.proc_out", [1], "output parameters"),
    ("billing.proc_commit", [], "SQLSTATE 2D000"),
    ("billing.pairs", [{"a": 1}], "takes no object"),
    ("billing.kinds", ["x", True, "2026-02-03", 1, [], "A"], 'invalid input syntax for type numeric: "x"'),
    ("billing.kinds", [1, True, "2026-02-03", 1, "no list", "A"], "give a list"),
    ("billing.kinds", [1, True, "2026-02-03", 1, [], "lower"], "SQLSTATE 23514"),
    ("billing.raises", ["23505"], "SQLSTATE 23505"),
    ("billing.raises", ["42501"], "SQLSTATE 42501"),
]


def test_a_call_that_is_wrong_is_final_and_says_why(billing: Bench) -> None:
    with billing.worker():
        for task_id, message in [(call(billing, function, args), message) for function, args, message in WRONG]:
            state, error, attempt = billing.ended(task_id, "error", "attempt")
            assert (state, attempt) == ("dead_letter", 1), error
            assert message in error
            assert "the detail" not in error


def test_what_may_pass_is_tried_again(billing: Bench) -> None:
    codes = ["40001", "40P01", "55P03", "53200", "57014", "08006", "58030", "P0001"]
    with billing.worker():
        for code, task_id in [(code, call(billing, "billing.raises", [code], max_attempts=2)) for code in codes]:
            state, error, attempt = billing.ended(task_id, "error", "attempt")
            assert (state, attempt) == ("dead_letter", 2)
            assert error == f"billing.raises: as told (SQLSTATE {code})"


@pytest.mark.parametrize("args", [["22000", "wrong: ", "s3cret-value"], {"code": "22000", "api_token": "s3cret-value"}])
def test_what_sounds_like_a_secret_does_not_reach_the_error(billing: Bench, args: Any) -> None:
    with billing.worker():
        task_id = call(billing, "billing.raises", args)
        (_, error) = billing.ended(task_id, "error")
    assert "[redacted] (SQLSTATE 22000)" in error
    rows = billing.connection.execute("SELECT error, traceback FROM taskflow.executions").fetchall()
    assert "s3cret" not in str(rows)


@pytest.mark.parametrize("name", ["apiKey", "apikey", "access-key"])
@pytest.mark.parametrize("value", ["s3cret-value", 48_151_623.5])
def test_nor_does_it_however_its_name_is_spelt(billing: Bench, name: str, value: Any) -> None:
    with billing.worker():
        task_id = call(billing, "billing.quotes", {name: value})
        assert billing.ended(task_id, "error")[1] == "billing.quotes: wrong: [redacted] (SQLSTATE 22000)"


def test_a_statement_that_takes_longer_than_the_task_may_is_ended_in_the_server(billing: Bench) -> None:
    billing.connection.execute(
        "CREATE OR REPLACE FUNCTION billing.nothing() RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(60) $$"
    )
    with billing.worker():
        task_id = call(billing, "billing.nothing", timeout=0.5, max_attempts=1)
        assert billing.ended(task_id)[0] == "dead_letter"
        billing.wait(lambda: billing.connection.execute(SLEEPING).fetchone() == (0,))
    assert billing.executions(task_id)[0][1] == "timed_out"


def test_a_cancelled_task_ends_its_statement(billing: Bench) -> None:
    billing.connection.execute(
        "CREATE OR REPLACE FUNCTION billing.nothing() RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(60) $$"
    )
    with billing.worker():
        task_id = call(billing, "billing.nothing")
        billing.wait(lambda: billing.connection.execute(SLEEPING).fetchone() == (1,))
        billing.connection.execute("SELECT taskflow.cancel(%s)", (task_id,))
        assert billing.ended(task_id)[0] == "cancelled"
        billing.wait(lambda: billing.connection.execute(SLEEPING).fetchone() == (0,))


@pytest.mark.parametrize("loses", ["the commit", "its answer"])
def test_a_lost_commit_calls_the_function_once_all_the_same(billing: Bench, loses: Loses) -> None:
    with relay(billing.dsn, loses) as through, billing.worker(database_url=through.dsn):
        task_id = call(billing, "billing.loses_first", ["once"])
        assert billing.ended(task_id, "result") == ("completed", "once")
        assert through.lost == 1
    assert billing.connection.execute(CALLS).fetchall() == [("once",)]


def test_a_backend_that_dies_in_the_call_leaves_nothing_of_it(billing: Bench) -> None:
    billing.connection.execute(
        "CREATE OR REPLACE FUNCTION billing.loses_first(what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO billing.calls (what) VALUES (what);"
        " IF EXISTS (SELECT FROM taskflow.tasks_live t WHERE t.type = 'sql' AND t.attempt = 1) THEN"
        " PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60); END IF; RETURN what; END $$"
    )
    with billing.worker():
        assert billing.ended(call(billing, "billing.loses_first", ["once"]), "attempt") == ("completed", 2)
    assert billing.connection.execute(CALLS).fetchall() == [("once",)]


def test_the_login_of_a_worker_needs_a_right_on_the_function_alone(billing: Bench) -> None:
    """Whoever has no right on it gets a final error that says so."""
    billing.connection.execute("CREATE ROLE tx_sql_worker LOGIN IN ROLE taskflow_worker")
    try:
        billing.connection.execute("GRANT USAGE ON SCHEMA billing TO tx_sql_worker")
        billing.connection.execute("REVOKE EXECUTE ON FUNCTION billing.big() FROM PUBLIC")
        dsn = psycopg.conninfo.make_conninfo(billing.dsn, user="tx_sql_worker")
        with billing.worker(database_url=dsn):
            assert billing.ended(call(billing, "billing.row_of"))[0] == "completed"
            state, error = billing.ended(call(billing, "billing.big"), "error")
        assert state == "dead_letter"
        assert "permission denied for function big" in error
    finally:
        billing.connection.execute("DROP OWNED BY tx_sql_worker")
        billing.connection.execute("DROP ROLE tx_sql_worker")
