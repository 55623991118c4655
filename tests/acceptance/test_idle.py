"""What a worker costs that has nothing to do, and which queues it serves first when it has.

The leader's loops are not counted: they have their own pace, and catch up when they start.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import psutil
import psycopg
import pytest
from psycopg import sql

WATCHED_SECONDS = 3.0
QUIET_A_SECOND, OTHERWISE_A_SECOND = 3, 20
CPU_SHARE = 0.02  # of a core; the goal is half of it, on a machine that does nothing else
SOON_SECONDS = 1.0
QUEUES_SECONDS = 5.0


@pytest.fixture
def statements(cluster, dsn) -> Callable[[], int]:
    """How many statements have been sent to the test's database by sessions that are opened from now on."""
    with psycopg.connect(cluster.dsn(), autocommit=True) as admin:
        name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
        admin.execute(sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(sql.Identifier(name)))
    begin = cluster.log.stat().st_size

    def count() -> int:
        with cluster.log.open("rb") as log:
            log.seek(begin)
            return sum(b" LOG:  execute " in line or b" LOG:  statement: " in line for line in log)

    return count


def rates(statements: Callable[[], int], *processes) -> tuple[float, float]:
    """Statements a second, and the share of a core of the most costly process, while nothing happens."""
    started = [psutil.Process(process.pid) for process in processes]
    before = [sum(one.cpu_times()[:2]) for one in started]
    count, began = statements(), time.monotonic()
    time.sleep(WATCHED_SECONDS)  # the very thing that is measured
    seconds = time.monotonic() - began
    cpu = max(sum(one.cpu_times()[:2]) - used for one, used in zip(started, before, strict=True))
    return (statements() - count) / seconds, cpu / seconds


def bell_is_held(connection) -> bool:
    row = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1413567307 AND mode = 'ExclusiveLock'"
    ).fetchone()
    return row[0] > 0


@pytest.mark.parametrize("args", [("--queues", "default"), ()], ids=["one_queue", "every_queue"])
def test_an_idle_worker_costs_next_to_nothing(dsn, connection, start_worker, wait_until, statements, args) -> None:
    with psycopg.connect(dsn) as producer:  # it has put something in before anybody slept, and may commit at any moment
        producer.execute("INSERT INTO taskflow.tasks (type) VALUES ('noop')")
        worker = start_worker(dsn, *args, "--no-leader")
        wait_until(lambda: "worker_ready" in worker.logs())
        beside_a_producer, _ = rates(statements, worker)
    wait_until(lambda: bell_is_held(connection))
    alone, cpu = rates(statements, worker)
    second = start_worker(dsn, *args, "--no-leader")
    wait_until(lambda: "worker_ready" in second.logs())
    with psycopg.connect(dsn) as producer:
        producer.execute("INSERT INTO taskflow.tasks (type) VALUES ('noop')")
        both, _ = rates(statements, worker, second)

    assert beside_a_producer <= OTHERWISE_A_SECOND
    assert alone <= QUIET_A_SECOND
    assert both / 2 <= OTHERWISE_A_SECOND
    assert cpu <= CPU_SHARE


# Which queue comes first


def test_queues_of_higher_priority_are_served_first_and_priorities_of_tasks_within_them(
    dsn, connection, start_worker, wait_until, tmp_path
) -> None:
    file = tmp_path / "order"
    connection.execute("INSERT INTO taskflow.queues (name, priority) VALUES ('first', 10), ('last', -10)")
    tasks = [(queue, priority) for queue in ("last", "between", "first") for priority in (0, 3, 1)] * 3
    ids = {
        connection.execute(
            "INSERT INTO taskflow.tasks (type, queue, priority, payload) VALUES ('record', %s, %s, %s) RETURNING id",
            (queue, priority, json.dumps({"file": str(file)})),
        ).fetchone()[0]: (queue, priority)
        for queue, priority in tasks
    }
    start_worker(dsn, "--queues", "last,between,first", "--concurrency", "1", "--no-leader")
    wait_until(lambda: file.exists() and len(file.read_text().splitlines()) == len(ids))
    ran = [int(line.split()[0]) for line in file.read_text().splitlines()]
    place = {"first": 0, "between": 1, "last": 2}
    assert ran == sorted(ids, key=lambda task_id: (place[ids[task_id][0]], -ids[task_id][1], task_id))


@pytest.mark.parametrize("args", [("--queues", "held,held-too,default"), ()], ids=["named", "every_queue"])
def test_a_paused_queue_is_left_alone_and_served_soon_after_it_is_resumed(
    dsn, connection, start_worker, wait_until, args
) -> None:
    """Whoever resumes it may notify; else a worker finds out within five seconds, however seldom it polls."""
    connection.execute(
        "INSERT INTO taskflow.queues (name, paused, priority) VALUES ('held', true, 10), ('held-too', true, 9)"
    )

    def insert(queue: str) -> int:
        row = connection.execute(
            "INSERT INTO taskflow.tasks (type, queue) VALUES ('noop', %s) RETURNING id", (queue,)
        ).fetchone()
        return row[0]

    def completed(task_id: int) -> bool:
        return connection.execute("SELECT state FROM taskflow.task_status(%s)", (task_id,)).fetchone() == ("completed",)

    def resume(queue: str) -> None:
        connection.execute("UPDATE taskflow.queues SET paused = false WHERE name = %s", (queue,))

    held, held_too = insert("held"), insert("held-too")
    worker = start_worker(dsn, *args, "--poll-interval", "60", "--no-leader")
    for _ in range(20):
        other = insert("default")
        wait_until(lambda other=other: completed(other))
    assert not completed(held)
    with connection.transaction():
        resume("held")
        connection.execute("SELECT pg_notify('taskflow_control', '')")
    wait_until(lambda: completed(held), timeout=SOON_SECONDS)
    assert not completed(held_too)
    resume("held-too")
    wait_until(lambda: completed(held_too), timeout=QUEUES_SECONDS + 2)
    assert worker.stop() == 0
