"""`context.transaction()`: what a handler writes and the completion of its task are one commit."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from structlog.testing import capture_logs

from taskflow import AttemptLost, Client, Context, Snooze
from taskflow.store import rescue
from taskflow.tasks.registry import task
from tests.worker.blocks import complaints, declare, named, nothing, write
from tests.worker.conftest import Bench

HANDLERS_BACKENDS = """
    SELECT count(*) FROM pg_stat_activity WHERE application_name = 'taskflow handler' AND datname = current_database()
"""


def test_what_the_handler_writes_and_its_task_are_done_together(bench: Bench, effects: Any) -> None:
    def body(conn: psycopg.Connection[Any], context: Context) -> None:
        context.log("booked", amount=3)
        conn.row_factory = dict_row
        conn.cursor_factory = psycopg.ClientCursor
        assert conn.execute("SELECT 1 AS one").fetchone() == {"one": 1}
        assert bench.task(context.task_id, "state") == ("running",)
        assert (context.task_id, 1) not in effects(), "nothing is committed before the end of the block"
        context.set_result({"receipt": 42})

    def after(context: Context) -> dict[str, int]:
        assert bench.task(context.task_id, "state", "result") == ("completed", {"receipt": 42})
        assert (context.task_id, 1) in effects()
        return {"receipt": 42}

    declare(bench, body, after)
    with capture_logs() as logs, bench.worker():
        task_id = bench.enqueue("book")
        assert bench.ended(task_id, "result") == ("completed", {"receipt": 42})
        other = bench.enqueue("book")
        bench.ended(other)
    assert bench.executions(task_id) == [(1, "succeeded", None)]
    assert bench.connection.execute("SELECT logs -> 0 ->> 'message' FROM taskflow.executions").fetchall() == [
        ("booked",),
        ("booked",),
    ]
    assert not complaints(logs), "neither a second completion nor anything about it"
    assert bench.connection.execute("SELECT count(*) FROM taskflow.workers").fetchone() == (0,)


def test_an_async_handler_completes_its_task_in_its_transaction(bench: Bench, effects: Any) -> None:
    @task("book", registry=bench.registry)
    async def book(payload: dict[str, Any], context: Context) -> None:
        async with context.transaction_async() as conn:
            conn.row_factory = dict_row
            await conn.execute("INSERT INTO effects VALUES (%s, %s)", (context.task_id, context.attempt))
            context.set_result([1, 2])
        assert bench.task(context.task_id, "state") == ("completed",)

    with capture_logs() as logs, bench.worker():
        task_id = bench.enqueue("book")
        assert bench.ended(task_id, "result") == ("completed", [1, 2])
    assert effects() == [(task_id, 1)]
    assert not complaints(logs)


def test_tasks_that_are_enqueued_in_the_block_come_with_it_or_not_at_all(bench: Bench, effects: Any) -> None:
    def body(conn: psycopg.Connection[Any], context: Context) -> None:
        with Client(bench.dsn) as client:
            client.enqueue("next", {}, connection=conn)
        if context.attempt == 1:
            raise ValueError("no")

    declare(bench, body)
    task_id = bench.enqueue("book", retry_delay=0)
    with bench.worker():
        assert bench.ended(task_id) == ("completed",)
    assert effects() == [(task_id, 2)]
    assert bench.connection.execute("SELECT count(*) FROM taskflow.tasks WHERE type = 'next'").fetchone() == (1,)
    assert [row[:2] for row in bench.executions(task_id)] == [(1, "failed"), (2, "succeeded")]


def test_an_error_at_commit_rolls_back_task_and_writes(bench: Bench, effects: Any) -> None:
    def body(conn: psycopg.Connection[Any], context: Context) -> None:
        if context.attempt == 1:
            write(conn, context)  # twice, which the deferred constraint refuses at COMMIT

    declare(bench, body)
    task_id = bench.enqueue("book", retry_delay=0)
    with capture_logs() as logs, bench.worker():
        assert bench.ended(task_id) == ("completed",)
    assert effects() == [(task_id, 2)]
    (first, second) = bench.executions(task_id)
    assert (first[1], second[1]) == ("failed", "succeeded")
    assert "UniqueViolation" in first[2]
    assert not named(logs, "completion_refused")


def test_a_rescued_attempt_commits_nothing_and_is_told_so(bench: Bench, effects: Any) -> None:
    raised: list[BaseException] = []
    entered, go_on = threading.Event(), threading.Event()

    @task("book", registry=bench.registry)
    def book(payload: dict[str, Any], context: Context) -> None:
        try:
            with context.transaction() as conn:
                write(conn, context)
                if context.attempt == 1:
                    entered.set()
                    go_on.wait(20)
        except AttemptLost as error:
            raised.append(error)
            raise

    task_id = bench.enqueue("book", retry_delay=0)
    with bench.worker(heartbeat_interval=60.0, heartbeat_timeout=300.0):
        assert entered.wait(20)
        worker_id = bench.task(task_id, "worker_id")[0]
        beats = bench.connection.execute("SELECT heartbeat FROM taskflow.workers").fetchone()
        assert beats is not None
        assert rescue.rescue(bench.connection, worker_id, beats[0]) == 1
        go_on.set()
        bench.wait(lambda: raised)
    assert f"attempt 1 of task {task_id} is not this worker's any more" in str(raised[0])
    assert (task_id, 1) not in effects()
    assert bench.executions(task_id)[0][:2] == (1, "lost")


def test_a_task_cancelled_in_its_block_is_rolled_back_and_cancelled(bench: Bench, effects: Any) -> None:
    def body(conn: psycopg.Connection[Any], context: Context) -> None:
        bench.connection.execute("SELECT taskflow.cancel(%s)", (context.task_id,))
        bench.wait(lambda: context.cancelled)

    declare(bench, body)
    task_id = bench.enqueue("book")
    with bench.worker():
        assert bench.ended(task_id) == ("cancelled",)
    assert effects() == []


@pytest.mark.parametrize("kind", ["raises", "overruns", "snoozes"])
def test_whatever_happens_after_the_block_the_task_is_done_and_not_run_again(
    bench: Bench, effects: Any, kind: str
) -> None:
    ran, free = threading.Event(), threading.Event()

    def after(context: Context) -> None:
        ran.set()
        if kind == "raises":
            raise ValueError("after the fact")
        if kind == "snoozes":
            raise Snooze(1, "later")
        free.wait(20)

    declare(bench, nothing, after)
    task_id = bench.enqueue("book", retry_delay=0, timeout=1.0)
    with capture_logs() as logs, bench.worker(concurrency=1):
        assert bench.ended(task_id) == ("completed",)
        assert ran.wait(20)
        bench.wait(lambda: named(logs, "handler_failed_after_completion"))
        second = bench.enqueue("book")
        assert bench.ended(second) == ("completed",), "the slot is free again"
        free.set()
    assert effects() == [(task_id, 1), (second, 1)]
    assert bench.executions(task_id) == [(1, "succeeded", None)]
    entry = named(logs, "handler_failed_after_completion")[0]
    assert (entry["task_id"], entry["attempt"]) == (task_id, 1)
    said = {"raises": "ValueError: after the fact", "overruns": "longer than its timeout", "snoozes": "later"}
    assert said[kind] in entry["error"]
    assert not named(logs, "completion_refused")


def test_an_async_handler_that_overruns_after_its_block_has_completed_its_task(bench: Bench, effects: Any) -> None:
    @task("book", registry=bench.registry, timeout=1.0)
    async def book(payload: dict[str, Any], context: Context) -> None:
        async with context.transaction_async() as conn:
            await conn.execute("INSERT INTO effects VALUES (%s, %s)", (context.task_id, context.attempt))
        await asyncio.sleep(60)

    with capture_logs() as logs, bench.worker():
        task_id = bench.enqueue("book")
        bench.wait(lambda: named(logs, "handler_failed_after_completion"))
        assert bench.ended(task_id) == ("completed",)
    assert effects() == [(task_id, 1)]


@pytest.mark.parametrize("kind", ["thread", "async"])
def test_a_handler_that_overruns_in_its_block_has_written_nothing(bench: Bench, effects: Any, kind: str) -> None:
    free = threading.Event()

    def body(conn: psycopg.Connection[Any], context: Context) -> None:
        if context.attempt == 1:
            free.wait(20)

    if kind == "thread":
        declare(bench, body)
    else:

        @task("book", registry=bench.registry)
        async def book(payload: dict[str, Any], context: Context) -> None:
            async with context.transaction_async() as conn:
                await conn.execute("INSERT INTO effects VALUES (%s, %s)", (context.task_id, context.attempt))
                await conn.execute("SELECT pg_sleep(%s)", (20 if context.attempt == 1 else 0,))

    task_id = bench.enqueue("book", retry_delay=0, timeout=0.5)
    with bench.worker():
        # The second one's COMMIT has to wait for the first one's lock, which goes when the server ends its transaction.
        assert bench.ended(task_id) == ("completed",)
        bench.wait(lambda: bench.connection.execute(HANDLERS_BACKENDS).fetchone() == (0,))
        free.set()
    statuses = [row[1] for row in bench.executions(task_id)]
    assert statuses[0] == "timed_out"
    assert statuses[1:].count("succeeded") == 1
    assert effects() == [(task_id, 1 + statuses.index("succeeded"))]


def test_the_server_knows_the_tasks_timeout_unless_the_login_has_a_stricter_one(bench: Bench, effects: Any) -> None:
    shown: dict[int, tuple[Any, ...]] = {}

    def body(conn: psycopg.Connection[Any], context: Context) -> None:
        names = ("statement_timeout", "idle_in_transaction_session_timeout")
        rows = conn.execute(
            "SELECT setting::int FROM pg_settings WHERE name = ANY (%s) ORDER BY name DESC", (list(names),)
        ).fetchall()
        shown[context.task_id] = tuple(row[0] for row in rows)

    declare(bench, body)
    bench.connection.execute(
        f"ALTER ROLE CURRENT_USER IN DATABASE {bench.connection.info.dbname} SET statement_timeout = '7s'"
    )
    with bench.worker():
        short, long = bench.enqueue("book", timeout=3), bench.enqueue("book", timeout=30 * 86400)
        assert bench.ended(short) == ("completed",)
        assert bench.ended(long) == ("completed",)
    assert all(3000 < value <= 4000 for value in shown[short])
    assert shown[long] == (7000, 2**31 - 1)


def test_one_block_an_attempt_unless_it_was_rolled_back(bench: Bench, effects: Any) -> None:
    messages: list[str] = []

    @task("book", registry=bench.registry, max_attempts=1)
    def book(payload: dict[str, Any], context: Context) -> None:
        for rolled_back in (ValueError(), psycopg.Rollback()):
            try:
                with context.transaction() as conn:
                    write(conn, context)
                    raise rolled_back
            except ValueError:
                pass
        with context.transaction() as conn:
            write(conn, context)
            with pytest.raises(Exception, match="nest with") as nested, context.transaction():
                pass
            messages.append(str(nested.value))
        with pytest.raises(Exception, match="completed its task already") as second, context.transaction():
            pass
        messages.append(str(second.value))
        with pytest.raises(Exception, match="set_result") as third:
            context.set_result(1)
        messages.append(str(third.value))

    with capture_logs() as logs, bench.worker():
        task_id = bench.enqueue("book")
        assert bench.ended(task_id) == ("completed",)
        bench.wait(lambda: len(messages) == 3)
    assert effects() == [(task_id, 1)]
    assert not complaints(logs)


def test_a_handler_that_gives_up_its_block_ends_as_it_says_itself(bench: Bench, effects: Any) -> None:
    @task("book", registry=bench.registry)
    def book(payload: dict[str, Any], context: Context) -> str:
        with context.transaction() as conn:
            write(conn, context)
            raise psycopg.Rollback
        return "nothing to do"

    with bench.worker():
        assert bench.ended(bench.enqueue("book"), "result") == ("completed", "nothing to do")
    assert effects() == []


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("COMMIT", "ended inside of its block"),
        ("ROLLBACK", "ended inside of its block"),
        ("SELECT 1/0", "a statement in the block has failed"),
    ],
)
def test_a_transaction_that_is_not_whole_any_more_completes_nothing(
    bench: Bench, effects: Any, statement: str, message: str
) -> None:
    def body(conn: psycopg.Connection[Any], context: Context) -> None:
        with suppress(psycopg.errors.DivisionByZero):
            conn.execute(statement)
        with pytest.raises(psycopg.ProgrammingError, match="forbidden"):
            conn.commit()

    declare(bench, body, max_attempts=1)
    with bench.worker():
        assert bench.ended(bench.enqueue("book"))[0] == "dead_letter"
    assert message in bench.executions(1)[0][2]


@pytest.mark.parametrize("result", [object(), "\x00", 2**70])
def test_a_result_that_cannot_be_stored_rolls_back_and_ends_the_task(bench: Bench, effects: Any, result: Any) -> None:
    declare(bench, lambda _, context: context.set_result(result))
    with bench.worker():
        task_id = bench.enqueue("book")
        state, error = bench.ended(task_id, "error")
    assert state == "dead_letter"
    assert "the result cannot be stored" in error
    assert effects() == []


def test_a_result_that_is_returned_too_late_is_said_to_be_dropped(bench: Bench, effects: Any) -> None:
    declare(bench, nothing, lambda _: {"receipt": 42})
    with capture_logs() as logs, bench.worker():
        assert bench.ended(bench.enqueue("book"), "result") == ("completed", None)
        bench.wait(lambda: named(logs, "result_not_stored"))
    assert "set_result" in named(logs, "result_not_stored")[0]["next"]


def test_a_task_that_somebody_has_locked_is_completed_when_it_is_free(bench: Bench, effects: Any) -> None:
    locked, tried = threading.Event(), threading.Event()

    def body(conn: psycopg.Connection[Any], context: Context) -> None:
        locked.wait(20)

    def after(context: Context) -> None:
        tried.set()

    declare(bench, body, after)
    with capture_logs() as logs, bench.worker(), psycopg.connect(bench.dsn) as other:
        task_id = bench.enqueue("book")
        bench.wait(lambda: bench.task(task_id, "started_at")[0])
        other.execute("SELECT FROM taskflow.tasks_live WHERE id = %s FOR UPDATE", (task_id,))
        locked.set()
        assert not tried.wait(0.6), "longer than the lock timeout of the function"
        other.rollback()
        assert bench.ended(task_id) == ("completed",)
    assert effects() == [(task_id, 1)]
    assert not complaints(logs)


def test_in_stricter_isolation_a_conflict_fails_the_attempt_and_nothing_is_committed(
    bench: Bench, effects: Any
) -> None:
    levels: list[str] = []

    @task("book", registry=bench.registry)
    def book(payload: dict[str, Any], context: Context) -> None:
        with context.transaction(psycopg.IsolationLevel.REPEATABLE_READ) as conn:
            write(conn, context)
            levels.append(conn.execute("SHOW transaction_isolation").fetchone()[0])  # type: ignore[index]
            if context.attempt == 1:
                bench.connection.execute(
                    "UPDATE taskflow.tasks_live SET progress = 1 WHERE id = %s", (context.task_id,)
                )

    with bench.worker(heartbeat_interval=60.0, heartbeat_timeout=300.0):
        task_id = bench.enqueue("book", retry_delay=0)
        assert bench.ended(task_id) == ("completed",)
    assert effects() == [(task_id, 2)]
    assert levels == ["repeatable read"] * 2
    assert "SerializationFailure" in bench.executions(task_id)[0][2]


def test_a_day_that_nobody_has_made_is_made(bench: Bench, effects: Any) -> None:
    days = bench.connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'taskflow'::regnamespace"
        " AND relname ~ '^(tasks_completed|executions)_[0-9]{8}$'"
    ).fetchall()
    assert days

    def body(conn: psycopg.Connection[Any], context: Context) -> None:
        conn.execute("SELECT taskflow.enqueue('next')")

    declare(bench, body)
    with bench.worker():
        for (day,) in days:
            bench.connection.execute(f"DROP TABLE taskflow.{day}")
        task_id = bench.enqueue("book")
        assert bench.ended(task_id) == ("completed",)
    assert effects() == [(task_id, 1)]
