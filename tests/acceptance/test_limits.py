"""Limits of queues with real worker processes, under load and under SIGKILL."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from taskflow.bench.slots import most_at_once
from tests.acceptance.ledger import SOON, enqueue, settle
from tests.acceptance.support import Gate, Process

Connection = psycopg.Connection[Any]
Start = Callable[..., Process]
RUNS = """
    SELECT extract(epoch FROM started_at)::float8, extract(epoch FROM finished_at)::float8, outcome
    FROM taskflow.executions ORDER BY started_at
"""


def limit(connection: Connection, queue: str, **settings: Any) -> None:
    """Make or change a queue, as an operator does with SQL."""
    names, places = ", ".join(settings), ", ".join(["%s"] * len(settings))
    changes = ", ".join(f"{name} = excluded.{name}" for name in settings)
    connection.execute(
        f"INSERT INTO taskflow.queues (name, {names}) VALUES (%s, {places}) ON CONFLICT (name) DO UPDATE SET {changes}",
        [queue, *settings.values()],
    )


def runs(connection: Connection) -> list[tuple[float, float]]:
    """When each attempt began and ended."""
    return [(began, ended) for began, ended, _ in connection.execute(RUNS)]


def test_max_workers_holds_among_all_processes_also_when_some_are_killed(
    connection: Connection, dsn: str, start_worker: Start, wait_until: Callable[..., Any]
) -> None:
    limit(connection, "few", max_workers=3)
    workers = [start_worker(dsn, "--concurrency", "20", env=SOON) for _ in range(4)]
    wait_until(lambda: all("worker_ready" in worker.logs() for worker in workers))
    ids = enqueue(connection, "slow", {"seconds": 0.02}, 600, queue="few")
    others = enqueue(connection, "noop", {}, 500)
    wait_until(lambda: len(runs(connection)) > 100)
    for victim in workers[:2]:
        victim.kill()
    wait_until(lambda: settle(connection, ids + others), timeout=60)

    slow = connection.execute(
        "SELECT extract(epoch FROM e.started_at)::float8, extract(epoch FROM e.finished_at)::float8"
        " FROM taskflow.executions e JOIN taskflow.tasks t ON t.id = e.task_id WHERE t.queue = 'few'"
    ).fetchall()
    assert len(slow) >= 600
    assert most_at_once(slow) == 3
    assert connection.execute("SELECT count(*) FROM taskflow.tasks WHERE state <> 'completed'").fetchone() == (0,)


def test_all_places_are_taken_while_tasks_wait(
    connection: Connection, dsn: str, start_worker: Start, wait_until: Callable[..., Any]
) -> None:
    limit(connection, "few", max_workers=3)
    workers = [start_worker(dsn, "--concurrency", "2") for _ in range(3)]
    wait_until(lambda: all("worker_ready" in worker.logs() for worker in workers))
    ids = enqueue(connection, "slow", {"seconds": 0.3}, 36, queue="few")
    wait_until(lambda: settle(connection, ids), timeout=60)
    took = runs(connection)
    busy = sum(ended - began for began, ended in took)
    # What a place stays empty for: the end is written, the next task claimed.
    assert busy > 0.7 * 3 * (max(ended for _, ended in took) - min(began for began, _ in took))
    assert most_at_once(took) == 3


def test_a_worker_that_cannot_take_the_next_task_wakes_one_that_can(
    connection: Connection, dsn: str, start_worker: Start, wait_until: Callable[..., Any], gate: Gate
) -> None:
    limit(connection, "few", max_workers=1)
    first = start_worker(dsn)
    wait_until(lambda: "worker_ready" in first.logs())
    (held,) = enqueue(connection, "blocking", gate.payload, queue="few")
    wait_until(gate.arrivals)
    second = start_worker(dsn)
    wait_until(lambda: "worker_ready" in second.logs())
    (waiting,) = enqueue(connection, "noop", {}, queue="few")
    first.signal(signal.SIGTERM)  # it finishes its task and claims nothing more
    wait_until(lambda: "worker_draining" in first.logs())
    gate.open()
    wait_until(lambda: settle(connection, [held, waiting]))
    times = "SELECT started_at, finished_at FROM taskflow.executions WHERE task_id = %s"
    _, ended = connection.execute(times, [held]).fetchone()
    began, _ = connection.execute(times, [waiting]).fetchone()
    assert 0 <= (began - ended).total_seconds() < 0.5
    assert first.wait() == 0


def kill_holding_a_key(connection: Connection, worker: Process) -> None:
    """Kill it with SIGKILL at a moment at which it has claimed a task with a concurrency key."""
    held = (
        "SELECT count(*) FROM taskflow.tasks t JOIN taskflow.workers w ON w.id = t.worker_id"
        " WHERE w.pid = %s AND t.state = 'running' AND t.concurrency_key IS NOT NULL"
    )
    for _ in range(200):
        worker.signal(signal.SIGSTOP)
        time.sleep(0.05)  # what it has sent is done
        if connection.execute(held, [worker.pid]).fetchone() != (0,):
            break
        worker.signal(signal.SIGCONT)
        time.sleep(0.02)
    worker.kill()


def test_one_of_a_key_runs_at_once_in_order_among_all_processes_also_when_one_is_killed(
    connection: Connection, dsn: str, start_worker: Start, wait_until: Callable[..., Any]
) -> None:
    connection.execute("UPDATE taskflow.queues SET retry_delay = 0")
    workers = [start_worker(dsn, "--concurrency", "8", env=SOON) for _ in range(3)]
    wait_until(lambda: all("worker_ready" in worker.logs() for worker in workers))
    inserted = connection.execute(
        "INSERT INTO taskflow.tasks (type, payload, concurrency_key)"
        """ SELECT 'slow', '{"seconds": 0.02}', 'customer ' || i % 7 FROM generate_series(1, 420) i RETURNING id"""
    ).fetchall()
    others = enqueue(connection, "noop", {}, 300)
    wait_until(lambda: len(runs(connection)) > 350)
    kill_holding_a_key(connection, workers[0])
    wait_until(lambda: settle(connection, [*others, *(task_id for (task_id,) in inserted)]), timeout=90)

    rows = connection.execute(
        "SELECT t.concurrency_key, e.task_id, e.outcome, extract(epoch FROM e.started_at)::float8,"
        " extract(epoch FROM e.finished_at)::float8"
        " FROM taskflow.executions e JOIN taskflow.tasks t ON t.id = e.task_id"
        " WHERE t.concurrency_key IS NOT NULL ORDER BY e.started_at"
    ).fetchall()
    assert connection.execute("SELECT count(*) FROM taskflow.tasks WHERE state <> 'completed'").fetchone() == (0,)
    for key in {row[0] for row in rows}:
        mine = [row for row in rows if row[0] == key]
        assert most_at_once([(began, ended) for *_, began, ended in mine]) == 1, key
        ids = [task_id for _, task_id, outcome, *_ in mine if outcome == "succeeded"]
        again = {task_id for _, task_id, outcome, *_ in mine if outcome != "succeeded"}
        assert [one for one in ids if one not in again] == sorted(set(ids) - again), key
    assert {row[2] for row in rows} == {"succeeded", "lost"}


def test_the_next_of_a_key_starts_at_once_though_thousands_wait_before_the_frontier(
    connection: Connection, dsn: str, start_worker: Start, wait_until: Callable[..., Any]
) -> None:
    keyed = connection.execute(
        "INSERT INTO taskflow.tasks (type, concurrency_key)"
        " SELECT 'noop', 'ada' FROM generate_series(1, 30) RETURNING id"
    ).fetchall()
    enqueue(connection, "slow", {"seconds": 0.01}, 2500)
    start_worker(dsn, "--concurrency", "4")
    wait_until(lambda: settle(connection, [task_id for (task_id,) in keyed]), timeout=60)
    ((left,),) = connection.execute(
        "SELECT count(*) FROM taskflow.tasks WHERE state = 'pending' AND type = 'slow'"
    ).fetchall()
    assert left > 300  # thirty one after the other, each behind what is held ready, which is a tenth of a second


def test_a_rate_holds_in_every_window_and_what_is_beyond_waits_without_failing(
    connection: Connection, dsn: str, start_worker: Start, wait_until: Callable[..., Any]
) -> None:
    limit(connection, "api", rate_limit=20, rate_period=0.5)
    workers = [start_worker(dsn, "--concurrency", "4") for _ in range(2)]
    wait_until(lambda: all("worker_ready" in worker.logs() for worker in workers))
    ids = enqueue(connection, "noop", {}, 100, queue="api")
    began = time.monotonic()
    wait_until(lambda: settle(connection, ids), timeout=60)
    assert time.monotonic() - began > 1.9  # 100 of them are four windows after the first
    claims = connection.execute("SELECT extract(epoch FROM claimed_at)::float8 FROM taskflow.tasks").fetchall()
    most = max(sum(claim <= other < claim + 0.5 for (other,) in claims) for (claim,) in claims)
    assert most <= 20
    assert {outcome for *_, outcome in connection.execute(RUNS)} == {"succeeded"}


def test_a_limit_is_obeyed_within_a_second_of_being_set_and_of_being_lifted(
    connection: Connection, dsn: str, start_worker: Start, wait_until: Callable[..., Any]
) -> None:
    start_worker(dsn, "--concurrency", "10")
    connection.execute("INSERT INTO taskflow.queues (name) VALUES ('few')")
    for setting in (
        "max_workers = 1",
        "rate_limit = 1, rate_period = 60",
        """type_limits = '{"slow": {"paused": true}}'""",
    ):
        before = len(runs(connection))
        ids = enqueue(connection, "slow", {"seconds": 0.05}, 400, queue="few")
        wait_until(lambda: len(runs(connection)) > before + 20)  # noqa: B023
        connection.execute(f"UPDATE taskflow.queues SET {setting} WHERE name = 'few'")
        time.sleep(1)
        (limited,) = connection.execute("SELECT clock_timestamp()").fetchone()
        time.sleep(1)
        since = [run for run in runs(connection) if run[0] > limited.timestamp()]
        assert most_at_once(since) <= 1, setting
        connection.execute("UPDATE taskflow.queues SET max_workers = NULL, rate_limit = NULL, type_limits = '{}'")
        lifted = time.monotonic()
        wait_until(lambda: settle(connection, ids), timeout=30)  # noqa: B023
        assert time.monotonic() - lifted < 1 + 400 * 0.05 / 10 + 3, setting


def test_shares_follow_the_weights_with_real_workers(
    connection: Connection, dsn: str, start_worker: Start, wait_until: Callable[..., Any]
) -> None:
    limit(connection, "a", weight=1)
    limit(connection, "b", weight=3)
    for queue in ("a", "b"):
        connection.execute(
            "INSERT INTO taskflow.tasks (type, queue) SELECT 'noop', %s FROM generate_series(1, 20000)", [queue]
        )
    start_worker(dsn, "--concurrency", "10")
    start_worker(dsn, "--concurrency", "10", "--queues", "a,b")
    wait_until(lambda: connection.execute("SELECT count(*) > 10000 FROM taskflow.executions").fetchone() == (True,))
    rows = connection.execute(
        "SELECT t.queue, count(*) FROM (SELECT task_id FROM taskflow.executions ORDER BY finished_at LIMIT 10000) e"
        " JOIN taskflow.tasks t ON t.id = e.task_id GROUP BY 1"
    )
    shares = {queue: count / 10_000 for queue, count in rows}
    assert shares == pytest.approx({"a": 0.25, "b": 0.75}, abs=0.05), json.dumps(shares)
