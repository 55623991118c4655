"""A worker with a database: every kind of handler, every way an attempt can end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from taskflow import Cancel, Context, DeadLetter, Retry, Snooze
from taskflow.errors import RegistrationError
from taskflow.leader import Leader, looper
from taskflow.settings import load
from taskflow.store import tasks
from taskflow.store.migrate import migrate
from taskflow.store.outage import ROLE_NEEDED
from taskflow.tasks.registry import Registry, task
from taskflow.tasks.retry import RetryPolicy
from taskflow.worker import Worker, session
from tests.worker.conftest import Bench


def test_a_function_runs_in_a_thread_and_its_result_is_stored(bench: Bench) -> None:
    @task("add", registry=bench.registry)
    def add(payload: dict[str, Any]) -> dict[str, Any]:
        return {"sum": payload["a"] + payload["b"], "thread": threading.current_thread().name}

    task_id = bench.enqueue("add", '{"a": 1, "b": 2}')
    with bench.worker():
        state, result, attempt = bench.ended(task_id, "result", "attempt")
    assert (state, result["sum"], attempt) == ("completed", 3, 1)
    assert result["thread"].startswith("slot-")


def test_a_coroutine_function_runs_in_the_event_loop_beside_others(bench: Bench) -> None:
    meeting: dict[str, asyncio.Event] = {}

    @task("meet", registry=bench.registry)
    async def meet(payload: dict[str, Any], context: Context) -> str:
        mine = meeting.setdefault(payload["me"], asyncio.Event())
        mine.set()
        other = meeting.setdefault(payload["other"], asyncio.Event())
        await other.wait()
        return payload["other"]

    first = bench.enqueue("meet", '{"me": "a", "other": "b"}')
    second = bench.enqueue("meet", '{"me": "b", "other": "a"}')
    with bench.worker():
        assert bench.ended(first, "result") == ("completed", "b")
        assert bench.ended(second, "result") == ("completed", "a")


class Order(BaseModel):
    item: str
    count: int = 1


def test_the_payload_arrives_as_the_model_it_is_annotated_with(bench: Bench) -> None:
    @task("order", registry=bench.registry)
    def order(payload: Order) -> str:
        return f"{payload.count} x {payload.item}"

    good, bad = bench.enqueue("order", '{"item": "tea"}'), bench.enqueue("order", '{"count": "many"}', max_attempts=5)
    with bench.worker():
        assert bench.ended(good, "result") == ("completed", "1 x tea")
        state, error, attempt = bench.ended(bad, "error", "attempt")
    assert (state, attempt) == ("dead_letter", 1)
    assert "/item" in error
    assert "/count" in error


def test_whatever_a_handler_raises_ends_its_attempt_and_nothing_else(bench: Bench) -> None:
    @task("raise", registry=bench.registry)
    def raise_(payload: dict[str, Any]) -> None:
        raise {
            "error": ValueError("no such thing"), "exit": SystemExit(3), "cancel": Cancel("not wanted"),
            "dead": DeadLetter("hopeless"), "surrogate": ValueError("\ud800"), "nul": ValueError("a\x00b"),
        }[payload["what"]]  # fmt: skip

    ids = {
        what: bench.enqueue("raise", f'{{"what": "{what}"}}', max_attempts=1)
        for what in ("error", "exit", "cancel", "dead", "surrogate", "nul")
    }
    with bench.worker():
        ended = {what: bench.ended(task_id, "error") for what, task_id in ids.items()}
    assert ended["error"] == ("dead_letter", "ValueError: no such thing")
    assert ended["exit"] == ("dead_letter", "SystemExit: 3")
    assert ended["cancel"] == ("cancelled", "not wanted")
    assert ended["dead"] == ("dead_letter", "hopeless")
    assert ended["surrogate"] == ("dead_letter", "ValueError: ?")
    assert ended["nul"] == ("dead_letter", "ValueError: a\ufffdb")


def test_a_retry_with_a_time_of_its_own_runs_again_then(bench: Bench) -> None:
    @task("again", registry=bench.registry)
    def again(payload: dict[str, Any], context: Context) -> int:
        if context.attempt < 3:
            raise Retry("not yet", after=0.05)
        return context.attempt

    task_id = bench.enqueue("again", retry_strategy="fixed", retry_delay=3600)
    with bench.worker():
        assert bench.ended(task_id, "result", "failures") == ("completed", 3, 2)
    assert [status for _, status, _ in bench.executions(task_id)] == ["failed", "failed", "succeeded"]


def test_a_snooze_runs_again_without_a_charge(bench: Bench) -> None:
    @task("snooze", registry=bench.registry)
    def snooze(payload: dict[str, Any], context: Context) -> None:
        if context.attempt == 1:
            raise Snooze(0.05)

    task_id = bench.enqueue("snooze", max_attempts=1)
    with bench.worker():
        assert bench.ended(task_id, "attempt", "failures") == ("completed", 2, 0)


@pytest.mark.parametrize("result", [object(), {1, 2}, "\u0000", float("nan"), {"deep": ["\u0000"]}])
def test_a_result_that_cannot_be_stored_is_a_final_failure_of_that_task_alone(bench: Bench, result: object) -> None:
    @task("give", registry=bench.registry)
    def give(payload: dict[str, Any]) -> object:
        return result if payload.get("bad") else "fine"

    bad = bench.enqueue("give", '{"bad": true}')
    good = [bench.enqueue("give") for _ in range(20)]
    with capture_logs() as logs, bench.worker():
        state, error, stored = bench.ended(bad, "error", "result")
        assert all(bench.ended(task_id, "result") == ("completed", "fine") for task_id in good)
    told = [
        (entry["event"], entry["error"])
        for entry in logs
        if entry.get("task_id") == bad and entry["log_level"] != "debug"
    ]
    if result != result:  # NaN: JSON has none, and orjson writes null
        assert (state, stored, told) == ("completed", None, [])
    else:
        assert state == "dead_letter"
        assert "the result cannot be stored" in error
        assert told == [("attempt_failed", error)]


def test_a_thread_that_overruns_its_timeout_is_replaced_and_its_late_result_dropped(bench: Bench) -> None:
    release, done = threading.Event(), threading.Event()

    @task("stuck", registry=bench.registry, timeout=0.2, max_attempts=1)
    def stuck(payload: dict[str, Any], context: Context) -> str:
        release.wait(20)
        done.set()
        return "late"

    @task("quick", registry=bench.registry)
    def quick(payload: dict[str, Any]) -> None: ...

    task_id = bench.enqueue("stuck")
    with bench.worker(concurrency=1):
        state, error = bench.ended(task_id, "error")
        assert bench.ended(bench.enqueue("quick"))[0] == "completed"
        release.set()
        assert done.wait(5)
        assert bench.ended(bench.enqueue("quick"))[0] == "completed"
    assert state == "dead_letter"
    assert "longer than its timeout" in error
    assert [status for _, status, _ in bench.executions(task_id)] == ["timed_out"]
    assert bench.task(task_id, "result") == (None,)


def test_a_coroutine_that_overruns_its_timeout_is_cancelled(bench: Bench) -> None:
    cancelled = threading.Event()

    @task("wait", registry=bench.registry, timeout=0.1, max_attempts=1)
    async def wait(payload: dict[str, Any]) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task_id = bench.enqueue("wait")
    with bench.worker():
        assert bench.ended(task_id)[0] == "dead_letter"
        assert cancelled.wait(5)
    assert [status for _, status, _ in bench.executions(task_id)] == ["timed_out"]


def test_a_timeout_error_of_the_handlers_own_is_a_failure_not_a_timeout(bench: Bench) -> None:
    @task("own", registry=bench.registry, max_attempts=1)
    async def own(payload: dict[str, Any]) -> None:
        raise TimeoutError("the other side")

    task_id = bench.enqueue("own")
    with bench.worker():
        bench.ended(task_id)
    assert [(status, error) for _, status, error in bench.executions(task_id)] == [
        ("failed", "TimeoutError: the other side")
    ]


def cancel(bench: Bench, task_id: int) -> None:
    bench.connection.execute("SELECT taskflow.cancel(%s)", (task_id,))


def test_a_running_thread_learns_that_it_was_cancelled(bench: Bench) -> None:
    began = threading.Event()

    @task("loop", registry=bench.registry)
    def loop(payload: dict[str, Any], context: Context) -> None:
        began.set()
        while not context.cancelled:
            threading.Event().wait(0.005)
        context.heartbeat()

    task_id = bench.enqueue("loop")
    with bench.worker():
        assert began.wait(10)
        cancel(bench, task_id)
        assert bench.ended(task_id, "error") == ("cancelled", "the task was cancelled while it ran")
    assert [status for _, status, _ in bench.executions(task_id)] == ["cancelled"]


def test_a_running_coroutine_is_cancelled(bench: Bench) -> None:
    began = threading.Event()

    @task("wait", registry=bench.registry)
    async def wait(payload: dict[str, Any]) -> None:
        began.set()
        await asyncio.Event().wait()

    task_id = bench.enqueue("wait")
    with bench.worker():
        assert began.wait(10)
        cancel(bench, task_id)
        assert bench.ended(task_id)[0] == "cancelled"


def test_what_waits_behind_a_running_task_is_cancelled_before_it_starts(bench: Bench) -> None:
    began, release = threading.Event(), threading.Event()
    ran: list[int] = []

    @task("block", registry=bench.registry)
    def block(payload: dict[str, Any], context: Context) -> None:
        ran.append(context.task_id)
        began.set()
        release.wait(20)

    first = bench.enqueue("block")
    with bench.worker(concurrency=1):
        assert began.wait(10)
        second = bench.enqueue("block")
        cancel(bench, second)
        assert bench.ended(second)[0] == "cancelled"
        release.set()
        assert bench.ended(first)[0] == "completed"
    assert ran == [first]


def test_progress_and_logs_reach_the_database(bench: Bench) -> None:
    began, release = threading.Event(), threading.Event()

    @task("report", registry=bench.registry)
    def report(payload: dict[str, Any], context: Context) -> None:
        context.log("half way", step=1)
        context.progress(50, "half")
        began.set()
        release.wait(20)

    task_id = bench.enqueue("report")
    with bench.worker():
        assert began.wait(10)
        bench.wait(lambda: bench.task(task_id, "progress", "progress_message") == (50, "half"))
        release.set()
        assert bench.ended(task_id)[0] == "completed"
    (logs,) = bench.connection.execute("SELECT logs FROM taskflow.executions").fetchone() or (None,)
    assert [(entry["message"], entry["step"]) for entry in logs] == [("half way", 1)]


def test_a_handler_may_work_in_the_same_database(bench: Bench) -> None:
    bench.connection.execute("CREATE TABLE notes (text text)")

    @task("note", registry=bench.registry, max_attempts=1)
    def note(payload: dict[str, Any], context: Context) -> None:
        with context.connection() as connection:
            connection.execute("INSERT INTO notes VALUES (%s)", (payload["text"],))
            if payload.get("fail"):
                raise ValueError("taken back")

    @task("note_async", registry=bench.registry)
    async def note_async(payload: dict[str, Any], context: Context) -> None:
        async with context.connection_async() as connection:
            await connection.execute("INSERT INTO notes VALUES ('async')")

    ids = [bench.enqueue("note", '{"text": "kept"}'), bench.enqueue("note", '{"text": "no", "fail": true}')]
    with bench.worker():
        for task_id in [*ids, bench.enqueue("note_async")]:
            bench.ended(task_id)
    assert sorted(bench.connection.execute("SELECT text FROM notes").fetchall()) == [("async",), ("kept",)]


def test_threads_and_coroutines_share_the_slots(bench: Bench) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def enter(step: int) -> None:
        nonlocal running, most
        with lock:
            running += step
            most = max(most, running)

    @task("sync", registry=bench.registry)
    def sync(payload: dict[str, Any]) -> None:
        enter(1)
        threading.Event().wait(0.02)
        enter(-1)

    @task("async", registry=bench.registry)
    async def async_(payload: dict[str, Any]) -> None:
        enter(1)
        await asyncio.sleep(0.02)
        enter(-1)

    ids = [bench.enqueue(kind) for _ in range(30) for kind in ("sync", "async")]
    with bench.worker(concurrency=3):
        for task_id in ids:
            bench.ended(task_id)
    assert most == 3


def test_a_worker_of_every_queue_claims_only_from_those_with_something_due_soon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task("noop", registry=bench.registry)
    def noop(payload: dict[str, Any]) -> None: ...

    asked: set[str] = set()
    claim = tasks.claim

    def watched(connection: Any, worker_id: int, queues: list[str], *rest: Any, **options: Any) -> Any:
        asked.update(queues)
        return claim(connection, worker_id, queues, *rest, **options)

    monkeypatch.setattr(tasks, "claim", watched)
    later, soon = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) + timedelta(seconds=1)
    bench.enqueue("noop", queue="later", run_at=later)
    in_a_second = bench.enqueue("noop", queue="soon", run_at=soon)
    with bench.worker():
        assert bench.ended(in_a_second) == ("completed",)
    assert asked == {"soon"}


def test_types_are_registered_with_their_schema(bench: Bench) -> None:
    @task("order", registry=bench.registry, max_attempts=3, timeout=7, retry="linear")
    def order(payload: Order) -> None:
        """Take an order."""

    with bench.worker():
        query = "SELECT description, max_attempts, timeout, retry_strategy::text, schema FROM taskflow.task_types"
        found = bench.wait(lambda: bench.connection.execute(query).fetchone())
    assert found[:4] == ("Take an order.", 3, 7.0, "linear")
    assert found[4]["required"] == ["item"]


def test_a_type_without_a_handler_is_refused_at_start(dsn: str) -> None:
    with pytest.raises(RegistrationError, match="no handler is registered for nothing"):
        Worker(load(database_url=dsn, types=("nothing",)), Registry())


def test_a_handler_that_says_nothing_has_the_attempts_and_waits_of_the_settings(bench: Bench) -> None:
    task("silent", registry=bench.registry)(lambda payload: None)
    own = RetryPolicy("fixed", delay_seconds=5)
    task("eloquent", registry=bench.registry, max_attempts=9, retry=own)(lambda payload: None)

    with bench.worker(max_attempts=3, retry_delay="2s", max_retry_delay="1m"):
        rows = bench.wait(
            lambda: bench.connection.execute(
                "SELECT type, max_attempts, retry_delay, max_retry_delay FROM taskflow.task_types ORDER BY type"
            ).fetchall()
        )

    assert rows == [("eloquent", 9, 5.0, 60.0), ("silent", 3, 2.0, 60.0)]


def test_a_worker_with_a_name_of_its_own_is_listed_under_it(bench: Bench) -> None:
    task("noop", registry=bench.registry)(lambda payload: None)
    with bench.worker(worker_id="mailer-1"):
        names = bench.wait(lambda: bench.connection.execute("SELECT hostname FROM taskflow.workers").fetchall())
    assert names == [("mailer-1",)]


def test_a_worker_with_times_of_a_hundred_years_works_and_drains(bench: Bench) -> None:
    entered, go_on = threading.Event(), threading.Event()

    @task("slow", registry=bench.registry)
    def slow(payload: dict[str, Any]) -> None:
        entered.set()
        go_on.wait(20)

    century = "36525d"
    times = {"poll_interval": century, "heartbeat_interval": "18262d", "heartbeat_timeout": century}
    with bench.worker(drain_timeout=century, **times) as worker:
        bench.wait(lambda: bench.connection.execute("SELECT id FROM taskflow.workers").fetchone())
        task_id = bench.enqueue("slow")
        assert entered.wait(20)
        worker.stop()
        go_on.set()
    assert bench.task(task_id, "state") == ("completed",)


def test_a_worker_that_was_started_before_the_schema_says_so_once_and_begins_by_itself(
    bench: Bench, empty_dsn: str
) -> None:
    task("noop", registry=bench.registry)(lambda payload: None)
    with capture_logs() as logs, bench.worker(database_url=empty_dsn, poll_interval=60.0) as worker:
        for _ in range(2):  # the completer has had its turns
            last = worker._heartbeat.last
            bench.wait(lambda before=last: worker._heartbeat.last > before)
        bench.wait(lambda: [event for event in logs if event["event"] == "database_refuses"])
        migrate(empty_dsn)
        bench.wait(lambda: [event for event in logs if event["event"] == "database_back"], 10)
        told = [event["event"] for event in logs]
    assert told == ["worker_starting", "database_refuses", "worker_ready", "database_back"]
    assert "has no taskflow schema yet. Run `taskflow migrate`" in logs[1]["error"]


def test_a_worker_whose_login_lacks_the_role_names_it_once_and_begins_when_it_is_granted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: Counter[str] = Counter()
    for module in (session, looper):

        def counted(dsn: str, *, name: str, _connect: Any = module.connect, **options: Any) -> Any:
            tries[name] += 1
            return _connect(dsn, name=name, **options)

        monkeypatch.setattr(module, "connect", counted)
    task("noop", registry=bench.registry)(lambda payload: None)
    task_id = bench.enqueue("noop")
    bench.connection.execute("DROP ROLE IF EXISTS producing")
    bench.connection.execute("CREATE ROLE producing LOGIN IN ROLE taskflow_producer")
    leader = Leader(load(database_url=(dsn := bench.dsn.replace("postgres@", "producing@", 1))))
    with capture_logs() as logs, bench.worker(database_url=dsn):
        leader.start()
        bench.wait(lambda: tries["claimer"] >= 4 and tries["leader"] >= 4)
        bench.connection.execute("GRANT taskflow_worker TO producing")
        assert bench.ended(task_id) == ("completed",)
        leader.stop()
    refused = [event for event in logs if event["log_level"] in ("warning", "error")]
    assert {event["component"] for event in refused} == {"claimer", "leader"}
    assert len(refused) == 2
    for event in refused:
        assert event["event"] == "database_refuses"
        assert event["error"].endswith(ROLE_NEEDED)


def test_a_worker_whose_login_is_refused_waits_for_it(bench: Bench) -> None:
    task("noop", registry=bench.registry)(lambda payload: None)
    task_id = bench.enqueue("noop")
    bench.connection.execute("DROP ROLE IF EXISTS awaited")
    with capture_logs() as logs, bench.worker(database_url=bench.dsn.replace("postgres@", "awaited@", 1)):
        bench.wait(lambda: [event for event in logs if event["event"] == "database_refuses"])
        bench.connection.execute("CREATE ROLE awaited LOGIN SUPERUSER")
        assert bench.ended(task_id) == ("completed",)
