"""A COMMIT of `context.transaction()` that gets no answer: the work is done once, whatever became of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from taskflow import CommitUnknown, Context
from taskflow.tasks.registry import task
from taskflow.worker.metrics import WorkerMetrics
from tests.worker.commits import Loses, relay
from tests.worker.conftest import Bench

# COMMIT itself takes its time: a deferred trigger runs in it.
SLOW_COMMIT = """
    CREATE FUNCTION wait_in_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.attempt = 1 THEN PERFORM pg_advisory_xact_lock(4711); END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER wait_in_commit AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait_in_commit();
"""
IN_COMMIT = """
    SELECT pid FROM pg_stat_activity WHERE application_name = 'taskflow handler' AND query = 'COMMIT'
    AND datname = current_database() AND state = 'active' AND wait_event_type = 'Lock'
"""


@pytest.fixture
def effects(bench: Bench) -> Callable[[], list[tuple[int, ...]]]:
    """A table of business writes; calling it reads (task id, attempt) of each."""
    bench.connection.execute("CREATE TABLE effects (task_id bigint, attempt int)")
    return lambda: bench.connection.execute("SELECT task_id, attempt FROM effects ORDER BY 1, 2").fetchall()


def declare(bench: Bench, kind: str, raised: list[BaseException], *, swallow: bool = False) -> None:
    """The type `book`; what its block raises is noted, and goes on unless the handler swallows it."""
    insert = "INSERT INTO effects VALUES (%s, %s)"

    if kind == "async":

        @task("book", registry=bench.registry)
        async def book_async(payload: dict[str, Any], context: Context) -> None:
            try:
                async with context.transaction_async() as conn:
                    await conn.execute(insert, (context.task_id, context.attempt))
                    context.set_result("booked")
            except BaseException as error:
                raised.append(error)
                raise

        return

    @task("book", registry=bench.registry)
    def book(payload: dict[str, Any], context: Context) -> str | None:
        try:
            with context.transaction() as conn:
                conn.execute(insert, (context.task_id, context.attempt))
                context.set_result("booked")
        except CommitUnknown as error:
            raised.append(error)
            if not swallow:
                raise
            return "swallowed"
        return None


def names(logs: list[Any]) -> set[str]:
    return {entry["event"] for entry in logs}


@pytest.mark.parametrize("kind", ["thread", "async"])
def test_a_commit_whose_answer_is_lost_is_found_to_be_one(
    bench: Bench, effects: Callable[[], list[tuple[int, ...]]], kind: str
) -> None:
    raised: list[BaseException] = []
    metrics = WorkerMetrics()
    declare(bench, kind, raised)
    task_id = bench.enqueue("book")
    with relay(bench.dsn, "its answer") as through, capture_logs() as logs:
        with bench.worker(database_url=through.dsn) as worker:
            worker.count_in(metrics)
            assert bench.ended(task_id, "result") == ("completed", "booked")
        assert through.lost == 1
    assert isinstance(raised[0], CommitUnknown)
    assert effects() == [(task_id, 1)]
    assert bench.executions(task_id) == [(1, "succeeded", None)]
    assert not names(logs) & {"attempt_failed", "completion_refused", "handler_failed_after_completion"}
    ends = next(family for family in metrics.collect() if family.name == "taskflow_worker_tasks")
    counts = {s.labels["status"]: s.value for s in ends.samples if s.name.endswith("_total") and s.value}
    assert counts == {"succeeded": 1}


@pytest.mark.parametrize(("kind", "swallow"), [("thread", False), ("thread", True), ("async", False)])
def test_a_commit_that_never_arrived_is_found_to_be_none_and_the_task_runs_again(
    bench: Bench, effects: Callable[[], list[tuple[int, ...]]], kind: str, swallow: bool
) -> None:
    raised: list[BaseException] = []
    declare(bench, kind, raised, swallow=swallow)
    task_id = bench.enqueue("book", retry_delay=0)
    with relay(bench.dsn, "the commit") as through, bench.worker(database_url=through.dsn):
        assert bench.ended(task_id, "result") == ("completed", "booked")
        assert through.lost == 1
    assert isinstance(raised[0], CommitUnknown)
    assert effects() == [(task_id, 2)]
    (first, second) = bench.executions(task_id)
    assert (first[1], second[1]) == ("failed", "succeeded")
    assert first[2] == "the connection was lost at COMMIT, and nothing of the handler's transaction was committed"


@pytest.mark.parametrize("loses", ["the commit", "its answer"])
def test_many_tasks_whose_commits_are_lost_are_done_once_each(
    bench: Bench, effects: Callable[[], list[tuple[int, ...]]], loses: Loses
) -> None:
    declare(bench, "thread", [])
    ids = [bench.enqueue("book", retry_delay=0, concurrency_key=f"key-{number % 5}") for number in range(30)]
    with relay(bench.dsn, loses, count=15) as through, bench.worker(database_url=through.dsn):
        for task_id in ids:
            assert bench.ended(task_id)[0] == "completed"
        assert through.lost == 15
    assert [task_id for task_id, _ in effects()] == ids


@pytest.mark.parametrize("kind", ["thread", "async"])
def test_a_backend_that_is_killed_in_commit_has_done_nothing(
    bench: Bench, effects: Callable[[], list[tuple[int, ...]]], kind: str
) -> None:
    bench.connection.execute(SLOW_COMMIT)
    raised: list[BaseException] = []
    declare(bench, kind, raised)
    with psycopg.connect(bench.dsn) as other, bench.worker():
        other.execute("SELECT pg_advisory_lock(4711)")
        task_id = bench.enqueue("book", retry_delay=0)
        (pid,) = bench.wait(lambda: bench.connection.execute(IN_COMMIT).fetchone())
        bench.connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        assert bench.ended(task_id) == ("completed",)
    assert isinstance(raised[0], CommitUnknown)
    assert effects() == [(task_id, 2)]
    assert [row[1] for row in bench.executions(task_id)] == ["failed", "succeeded"]


def test_a_backend_that_is_killed_in_the_block_has_done_nothing(
    bench: Bench, effects: Callable[[], list[tuple[int, ...]]]
) -> None:
    @task("book", registry=bench.registry)
    def book(payload: dict[str, Any], context: Context) -> None:
        with context.transaction() as conn:
            conn.execute("INSERT INTO effects VALUES (%s, %s)", (context.task_id, context.attempt))
            if context.attempt == 1:
                bench.connection.execute("SELECT pg_terminate_backend(%s, 10000)", (conn.info.backend_pid,))

    task_id = bench.enqueue("book", retry_delay=0)
    with bench.worker():
        assert bench.ended(task_id) == ("completed",)
    assert effects() == [(task_id, 2)]


@pytest.mark.parametrize("commits", [True, False])
def test_a_handler_that_overruns_in_its_commit_is_waited_for(
    bench: Bench, effects: Callable[[], list[tuple[int, ...]]], commits: bool
) -> None:
    bench.connection.execute(SLOW_COMMIT)
    declare(bench, "thread", [])
    with (
        capture_logs() as logs,
        psycopg.connect(bench.dsn, autocommit=True) as other,
        bench.worker(concurrency=1) as worker,
    ):
        other.execute("SELECT pg_advisory_lock(4711)")
        task_id = bench.enqueue("book", retry_delay=0, timeout=1.0)
        (pid,) = bench.wait(lambda: bench.connection.execute(IN_COMMIT).fetchone())
        bench.wait(lambda: worker._dispatcher.abandoned_threads)
        if commits:
            other.execute("SELECT pg_advisory_unlock_all()")
        else:
            bench.connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        assert bench.ended(task_id) == ("completed",)
    assert effects() == [(task_id, 1 if commits else 2)]
    assert [row[1] for row in bench.executions(task_id)] == (["succeeded"] if commits else ["timed_out", "succeeded"])
    assert "completion_refused" not in names(logs)


def test_an_async_handler_that_is_cancelled_in_commit_hears_of_it_afterwards(
    bench: Bench, effects: Callable[[], list[tuple[int, ...]]]
) -> None:
    bench.connection.execute(SLOW_COMMIT)
    heard: list[tuple[str, str]] = []
    running: list[asyncio.Task[Any]] = []

    @task("book", registry=bench.registry)
    async def book(payload: dict[str, Any], context: Context) -> None:
        running.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            async with context.transaction_async() as conn:
                await conn.execute("INSERT INTO effects VALUES (%s, %s)", (context.task_id, context.attempt))
        except asyncio.CancelledError:
            heard.append(bench.task(context.task_id, "state"))  # type: ignore[arg-type]
            raise

    with capture_logs() as logs, psycopg.connect(bench.dsn, autocommit=True) as other, bench.worker():
        other.execute("SELECT pg_advisory_lock(4711)")
        task_id = bench.enqueue("book")
        bench.wait(lambda: bench.connection.execute(IN_COMMIT).fetchone())
        loop, cancelled = running[0].get_loop(), threading.Event()
        loop.call_soon_threadsafe(running[0].cancel)
        loop.call_soon_threadsafe(cancelled.set)
        assert cancelled.wait(20)
        other.execute("SELECT pg_advisory_unlock_all()")
        assert bench.ended(task_id) == ("completed",)
        bench.wait(lambda: "handler_failed_after_completion" in names(logs))
    assert heard == [("completed",)]
    assert effects() == [(task_id, 1)]
