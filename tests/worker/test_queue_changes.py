"""What is changed about a queue reaches workers within a second, busy, asleep or cut off from hints."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from taskflow.store.connection import repeat_on_conflict
from taskflow.tasks.context import Context
from taskflow.tasks.registry import task
from taskflow.worker.listener import Listener
from tests.worker.conftest import Bench

SECOND = 1.0
UPDATE = "UPDATE taskflow.queues SET {} WHERE name = %s"
RUNS_SINCE = """SELECT count(*) FROM taskflow.tasks
    WHERE queue = %s AND claimed_at > %s::timestamptz + interval '1 second'"""

RUNNING = "SELECT count(*) FROM taskflow.tasks WHERE state = 'running'"


def change(bench: Bench, queue: str, assignment: str) -> Any:
    """Change a queue; returns the time of the database after that."""
    bench.connection.execute(UPDATE.format(assignment), [queue])
    row = bench.connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return row[0]


@pytest.fixture(params=["hinted", "unhinted"])
def settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Those of a worker that asks rarely by itself; unhinted: behind a pooler, where no notification arrives."""
    if request.param == "unhinted":
        monkeypatch.setattr(Listener, "hears", lambda *_: False)
        monkeypatch.setattr(Listener, "_receive", lambda *_: None)
    return {"poll_interval": 60.0}


def test_a_busy_worker_claims_nothing_more_from_a_queue_that_is_paused(bench: Bench, settings: dict[str, Any]) -> None:
    ran: list[str] = []

    @task("quick", registry=bench.registry)
    def quick(payload: dict[str, Any], context: Context) -> None:
        ran.append(context.queue)
        time.sleep(0.002)  # it takes a little, so that there is always more to claim

    bench.connection.execute("INSERT INTO taskflow.queues (name) VALUES ('a'), ('b')")
    bench.connection.execute(
        "INSERT INTO taskflow.tasks (type, queue)"
        " SELECT 'quick', q FROM generate_series(1, 4000), unnest('{a,b}'::text[]) q"
    )
    with bench.worker(queues=("a", "b"), **settings):
        bench.wait(lambda: len(ran) > 50)
        paused_at = change(bench, "a", "paused = true")
        seen = len(ran)
        bench.wait(lambda: ran[seen:].count("b") > 1200)
        claimed_late = bench.connection.execute(RUNS_SINCE, ["a", paused_at]).fetchone()
        assert claimed_late == (0,)
        repeat_on_conflict(lambda: bench.connection.execute("DELETE FROM taskflow.tasks_live WHERE state = 'pending'"))


def test_a_sleeping_worker_takes_up_a_queue_that_is_resumed(bench: Bench, settings: dict[str, Any]) -> None:
    done = threading.Event()

    @task("quick", registry=bench.registry)
    def quick(payload: dict[str, Any]) -> None:
        done.set()

    bench.connection.execute("INSERT INTO taskflow.queues (name, paused) VALUES ('a', true)")
    ready = threading.Event()

    @task("other", registry=bench.registry)
    def other(payload: dict[str, Any]) -> None:
        ready.set()

    with bench.worker(**settings):
        bench.enqueue("quick", queue="a")
        bench.enqueue("other", queue="b")
        assert ready.wait(15)
        assert not done.is_set()

        resumed = time.monotonic()
        change(bench, "a", "paused = false")

        assert done.wait(15)
        assert time.monotonic() - resumed < SECOND


def test_a_new_timeout_holds_for_what_is_claimed_from_then_on(bench: Bench, settings: dict[str, Any]) -> None:
    @task("slow", registry=bench.registry)
    async def slow(payload: dict[str, Any]) -> None:
        await asyncio.sleep(payload["seconds"])

    bench.connection.execute("INSERT INTO taskflow.queues (name) VALUES ('a')")
    with bench.worker(**settings):
        bench.ended(bench.enqueue("slow", '{"seconds": 0}', queue="a"))
        change(bench, "a", "timeout = 0.2")
        threading.Event().wait(SECOND)  # what is promised: a second

        late = bench.enqueue("slow", '{"seconds": 30}', queue="a", max_attempts=1)

        bench.ended(late)
        assert [status for _, status, _ in bench.executions(late)] == ["timed_out"]


def test_a_queue_of_higher_priority_is_served_first_from_then_on(bench: Bench, settings: dict[str, Any]) -> None:
    order: list[str] = []
    go = threading.Event()

    @task("quick", registry=bench.registry)
    def quick(payload: dict[str, Any], context: Context) -> None:
        go.wait(20)
        order.append(context.queue)

    bench.connection.execute("INSERT INTO taskflow.queues (name) VALUES ('a'), ('b'), ('block')")
    with bench.worker(concurrency=1, prefetch_seconds=0, queues=("a", "b", "block"), **settings):
        bench.enqueue("quick", queue="block")
        bench.wait(lambda: bench.connection.execute(RUNNING).fetchone() == (1,))
        for queue in "ab" * 5:
            bench.enqueue("quick", queue=queue)
        change(bench, "b", "priority = 10")
        threading.Event().wait(SECOND)  # what is promised: a second
        go.set()
        bench.wait(lambda: len(order) == 11)

    assert order == ["block", *"bbbbb", *"aaaaa"]


def test_a_paused_queue_is_not_served_until_it_is_resumed(bench: Bench) -> None:
    @task("noop", registry=bench.registry)
    def noop(payload: dict[str, Any]) -> None: ...

    bench.connection.execute("INSERT INTO taskflow.queues (name, paused) VALUES ('held', true)")
    held = bench.enqueue("noop", queue="held")
    with bench.worker():
        bench.ended(bench.enqueue("noop"))
        assert bench.task(held, "state") == ("pending",)
        bench.connection.execute("UPDATE taskflow.queues SET paused = false WHERE name = 'held'")
        bench.connection.execute("SELECT pg_notify('taskflow_control', '')")
        assert bench.ended(held)[0] == "completed"


def test_max_workers_holds_on_a_server_that_has_gone_back_in_time(bench: Bench) -> None:
    """Restored from a backup, it numbers claims from before the one from which on a worker counts."""
    ran = threading.Semaphore(0)

    @task("quick", registry=bench.registry)
    def quick(payload: dict[str, Any]) -> None:
        ran.release()

    execute = bench.connection.execute
    execute("INSERT INTO taskflow.queues (name, max_workers) VALUES ('a', 1)")
    execute("SELECT setval('taskflow.claims_id_seq', 1000000)")
    with bench.worker():
        bench.ended(bench.enqueue("quick", queue="a"))
        assert ran.acquire(timeout=15)
        bench.wait(lambda: execute("SELECT FROM taskflow.claims").fetchone() is None)
        execute("SELECT setval('taskflow.claims_id_seq', 1)")
        with bench.connection.transaction():  # what another worker runs there
            bench.enqueue("quick", queue="a")
            (other,) = execute(
                "SELECT taskflow.register_worker('other', 1, '{a}', '{quick}', 1, '', NULL)",
            ).fetchone() or (0,)
            claimed = execute(
                "SELECT id FROM taskflow.claim_limited(%s, 'a', '{quick}', 1, 1, %s, %s, 0) WHERE id IS NOT NULL",
                [other, ["-infinity"] * 4, [0] * 4],
            ).fetchall()
            assert len(claimed) == 1
        execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        bench.enqueue("quick", queue="a")
        assert not ran.acquire(timeout=2)
        bench.connection.execute("DELETE FROM taskflow.tasks_live WHERE id = %s", claimed[0])
        assert ran.acquire(timeout=15)
