"""`Harness.drain`: the tasks of a test's database run in the test, as a worker would run them."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel

from taskflow import Cancel, Client, Context, DeadLetter, InvalidPayload, Registry, Retry, Snooze, task
from taskflow.client.decorator import default_client
from taskflow.testing import AttemptFailed, Harness, NoHandlerWarning

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def harness(dsn: str) -> Iterator[Harness]:
    """A harness on this test's database, with a registry of its own."""
    with Harness(dsn, registry=Registry()) as made:
        yield made


@pytest.fixture
def registry(harness: Harness) -> Registry:
    return harness._registry


def test_what_is_due_runs_in_this_thread_in_the_order_of_workers(harness: Harness, registry: Registry) -> None:
    seen: list[tuple[int, threading.Thread]] = []

    @task("note", registry=registry)
    def note(payload: dict[str, Any]) -> int:
        seen.append((payload["n"], threading.current_thread()))
        return int(payload["n"]) * 2

    for number, priority in ((1, "low"), (2, "normal"), (3, "critical"), (4, "normal")):
        harness.client.enqueue("note", {"n": number}, priority=priority)
    harness.client.enqueue("note", {"n": 5}, delay=3600)
    runs = harness.drain()
    assert [number for number, _ in seen] == [3, 2, 4, 1]
    assert {thread for _, thread in seen} == {threading.current_thread()}
    assert (runs[0].outcome, runs[0].state, runs[0].result) == ("succeeded", "completed", 6)
    assert harness.client.get(runs[0].task_id).result == 6
    assert [execution.status for execution in harness.client.executions(runs[0].task_id)] == ["succeeded"]
    assert harness.drain() == []


def test_what_a_handler_enqueues_runs_in_the_same_drain(harness: Harness, registry: Registry) -> None:
    @task("first", registry=registry)
    def first(_: dict[str, Any]) -> None:
        second.enqueue({}, queue="other")

    @task("second", registry=registry)
    async def second(_: dict[str, Any]) -> str:
        await asyncio.sleep(0)
        return "done"

    first.enqueue()
    assert [(run.type, run.state) for run in harness.drain()] == [("first", "completed"), ("second", "completed")]


def test_a_failure_is_recorded_and_raised_only_on_request(harness: Harness, registry: Registry) -> None:
    @task("break", registry=registry, max_attempts=2)
    def break_(_: dict[str, Any]) -> None:
        raise ValueError("no paper")

    enqueued = break_.enqueue()
    (run,) = harness.drain()
    assert (run.outcome, run.state, run.error) == ("failed", "retrying", "ValueError: no paper")
    assert isinstance(run.exception, ValueError)
    harness.travel(hours=1)
    with pytest.raises(ValueError, match="no paper"):
        harness.drain(raise_errors=True)
    assert harness.client.get(enqueued.id).state == "dead_letter"
    assert [execution.status for execution in harness.client.executions(enqueued.id)] == ["failed", "failed"]


def test_until_empty_lets_time_pass_until_retries_and_delays_are_through(harness: Harness, registry: Registry) -> None:
    @task("flaky", registry=registry, max_attempts=3, retry="exponential")
    def flaky(_: dict[str, Any], context: Context) -> int:
        if context.attempt < 3:
            raise Retry("not yet", after=7200)
        return context.attempt

    flaky.enqueue(delay=timedelta(days=30))
    before = time.monotonic()
    runs = harness.drain(until_empty=True)
    assert [run.state for run in runs] == ["retrying", "retrying", "completed"]
    assert time.monotonic() - before < 10


@pytest.mark.parametrize(
    ("raised", "outcome", "state"),
    [
        (Snooze(60), "snoozed", "scheduled"),
        (Cancel("not wanted"), "cancelled", "cancelled"),
        (DeadLetter("hopeless"), "failed", "dead_letter"),
        (SystemExit(3), "failed", "retrying"),
    ],
)
def test_a_handler_chooses_its_outcome_as_under_a_worker(
    harness: Harness, registry: Registry, raised: BaseException, outcome: str, state: str
) -> None:
    @task("choose", registry=registry)
    def choose(_: dict[str, Any]) -> None:
        raise raised

    choose.enqueue()
    if outcome == "failed":
        with pytest.raises(type(raised)):
            harness.drain(raise_errors=True)
    else:
        assert [run.outcome for run in harness.drain(raise_errors=True)] == [outcome]
    assert [task.state for task in harness.tasks()] == [state]


def test_what_is_no_error_of_the_handler_ends_the_drain(harness: Harness, registry: Registry) -> None:
    @task("interrupted", registry=registry)
    def interrupted(_: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    interrupted.enqueue()
    with pytest.raises(KeyboardInterrupt):
        harness.drain()
    assert [task.state for task in harness.tasks()] == ["retrying"]


def test_a_timeout_is_recorded_for_every_kind_of_handler(harness: Harness, registry: Registry) -> None:
    @task("blocks", registry=registry, timeout=0.01)
    def blocks(_: dict[str, Any]) -> None:
        time.sleep(0.02)

    @task("waits", registry=registry, timeout=0.01)
    async def waits(_: dict[str, Any]) -> None:
        await asyncio.sleep(60)

    blocks.enqueue()
    waits.enqueue()
    assert [run.outcome for run in harness.drain()] == ["timed_out", "timed_out"]
    harness.travel(hours=1)
    with pytest.raises(AttemptFailed, match=r"task \d+ '\w+', attempt 2: the handler ran longer than its timeout"):
        harness.drain(raise_errors=True)


class Order(BaseModel):
    article: str


def test_a_payload_that_does_not_fit_is_refused_as_by_a_worker(
    harness: Harness, registry: Registry, connection: Connection
) -> None:
    @task("order", registry=registry)
    def order(_: Order) -> None: ...

    connection.execute("INSERT INTO taskflow.tasks (type, payload) VALUES ('order', '{}')")
    with pytest.raises(InvalidPayload, match="article"):
        harness.drain(raise_errors=True)
    assert [task.state for task in harness.tasks()] == ["dead_letter"]


def test_a_result_that_cannot_be_stored_is_a_failure(harness: Harness, registry: Registry) -> None:
    @task("nul", registry=registry)
    def nul(_: dict[str, Any]) -> str:
        return "a\x00b"

    @task("object", registry=registry)
    def object_(_: dict[str, Any]) -> object:
        return object()

    nul.enqueue()
    object_.enqueue()
    assert [(run.outcome, run.state) for run in harness.drain()] == [("failed", "dead_letter")] * 2


def test_a_context_reports_and_asks_at_once(harness: Harness, registry: Registry) -> None:
    seen: list[Any] = []

    @task("report", registry=registry)
    def report(_: dict[str, Any], context: Context) -> None:
        context.progress(40, "almost")
        context.log("looked", depth=3)
        seen.append(harness.client.get(context.task_id).progress)
        seen.append(context.cancelled)
        harness.client.cancel(context.task_id)
        seen.append(context.cancelled)
        with context.connection() as own:
            seen.append(own.execute("SELECT 1").fetchone())
        context.heartbeat()

    enqueued = report.enqueue()
    (run,) = harness.drain()
    assert seen == [40, False, True, (1,)]
    assert (run.outcome, run.state) == ("cancelled", "cancelled")
    (execution,) = harness.client.executions(enqueued.id)
    assert execution.logs[0]["message"] == "looked"


def test_an_async_handler_runs_below_a_running_loop_with_its_context_variables(
    harness: Harness, registry: Registry
) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")

    @task("ask", registry=registry)
    async def ask(_: dict[str, Any]) -> str:
        await asyncio.sleep(0)
        return tenant.get()

    async def an_async_test() -> Any:
        tenant.set("acme")
        await ask.enqueue_async()
        return harness.drain(raise_errors=True)[0].result

    assert asyncio.run(an_async_test()) == "acme"


def test_queue_and_limit_bound_what_runs(harness: Harness, registry: Registry) -> None:
    @task("note", registry=registry)
    def note(_: dict[str, Any]) -> None: ...

    for queue in ("a", "b", "a", "c"):
        note.enqueue({}, queue=queue)
    assert len(harness.drain(queue="a", limit=1)) == 1
    assert len(harness.drain(queue=["a", "b"])) == 2
    assert len(harness.drain()) == 1


def test_limits_keys_and_pauses_hold_as_under_workers(
    harness: Harness, registry: Registry, connection: Connection
) -> None:
    @task("note", registry=registry)
    def note(_: dict[str, Any]) -> None: ...

    connection.execute(
        "INSERT INTO taskflow.queues (name, paused, rate_limit, rate_period) VALUES"
        " ('asleep', true, NULL, DEFAULT), ('slow', false, 2, 60)"
    )
    note.enqueue({}, queue="asleep")
    for _ in range(5):
        note.enqueue({}, queue="slow")
        note.enqueue({}, concurrency_key="k")
    assert len(harness.drain()) == 7
    assert len(harness.drain()) == 0
    harness.travel(minutes=2)
    assert len(harness.drain()) == 2
    assert len(harness.drain(until_empty=True)) == 1
    assert [task.queue for task in harness.tasks() if task.state != "completed"] == ["asleep"]


def test_a_handler_that_goes_on_for_ever_is_told(
    harness: Harness, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.testing.harnesses.MOST_ATTEMPTS", 20)

    @task("again", registry=registry)
    def again(_: dict[str, Any]) -> None:
        again.enqueue()

    again.enqueue()
    with pytest.raises(AssertionError, match=r"20 attempts were run .* 20 of them of 'again'"):
        harness.drain()


def test_a_due_task_without_a_handler_is_warned_of(harness: Harness, registry: Registry) -> None:
    first = harness.client.enqueue("unheard_of").id
    harness.client.enqueue("unheard_of")
    with pytest.warns(NoHandlerWarning, match=f"task {first} is due and 1 more.*'unheard_of'.*import the module"):
        assert harness.drain() == []


def test_travelling_also_ends_unique_for(dsn: str) -> None:
    with Harness(dsn) as harness:
        assert harness.client.enqueue("echo", unique_key="k", unique_for=3600).created
        assert len(harness.drain()) == 1
        assert not harness.client.enqueue("echo", unique_key="k", unique_for=3600).created
        assert harness.travel(timedelta(hours=1), seconds=1) == 0
        assert harness.client.enqueue("echo", unique_key="k").created


def test_within_the_block_everything_uses_its_database(
    dsn: str, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_dsn)
    monkeypatch.delenv("TASKFLOW_DATABASE_URL", raising=False)
    before = default_client()
    with Harness(dsn) as harness:
        assert default_client() is not before
        with Client() as client:
            assert client.get(harness.client.enqueue("echo").id).type == "echo"
        harness.drain()
    assert os.environ["DATABASE_URL"] == empty_dsn
    assert "TASKFLOW_DATABASE_URL" not in os.environ
    assert default_client().settings.dsn == empty_dsn
    default_client.cache_clear()


def test_nothing_is_left_behind(dsn: str, connection: Connection) -> None:
    threads = set(threading.enumerate())
    with Harness(dsn) as harness:
        harness.client.enqueue("echo")
        harness.drain()
    assert connection.execute("SELECT count(*) FROM taskflow.workers").fetchone() == (0,)
    assert set(threading.enumerate()) <= threads


@task("own_process", isolation="process", timeout=30)
def own_process(payload: dict[str, Any]) -> int:
    if payload.get("die"):
        os._exit(3)
    return os.getpid()


def test_a_handler_for_processes_runs_in_one_that_is_kept(dsn: str) -> None:
    with Harness(dsn) as harness:
        own_process.enqueue()
        own_process.enqueue()
        own_process.enqueue({"die": True}, max_attempts=1)
        first, second, third = harness.drain()
        assert first.result == second.result
        assert first.result != os.getpid()
        assert (third.state, third.error) == ("dead_letter", "the handler's process ended with exit code 3")
        with pytest.raises(AttemptFailed, match="exit code 3"):
            third.raise_if_failed()
    with pytest.raises(ProcessLookupError):
        os.kill(first.result, 0)
