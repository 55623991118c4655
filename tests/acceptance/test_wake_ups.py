"""No wake-up is lost: lone tasks at random moments, around the instant in which a worker goes to sleep.

Polling is set to a minute, so whoever is not woken is late by much more than any of the bounds.
TASKFLOW_TEST_WAKE_UPS is the number of lone inserts in all (default 1,500).
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

POLL_SECONDS = 60
PROMPT_SECONDS = 0.1
LATEST_SECONDS = 5.0  # what a busy machine may add; a lost wake-up would wait for the poll
HOLDER_DIED_SECONDS = 1.0  # nobody is told when the bell's holder is killed: the others ask again every second
WAKE_UPS = int(os.environ.get("TASKFLOW_TEST_WAKE_UPS", "1500"))

pytestmark = [pytest.mark.timeout(120 + WAKE_UPS / 5)]

QUEUE = ("--queues", "default")
EVERY_QUEUE = ()
ONE_SLOT = ("--concurrency", "1")  # its bell is given up for every task, and taken again after it


class Inserter:
    """Inserts lone tasks from a connection of its own, and waits for each to be claimed before the next."""

    def __init__(self, dsn: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.connection = psycopg.connect(dsn, autocommit=True)
        self.lateness: list[float] = []

    def insert(self, *, queue: str = "default", hold_seconds: float = 0.0) -> None:
        """One task in a transaction that stays open for a moment; note how long after its commit it was claimed."""
        with self.connection.transaction():
            (task_id,) = self.connection.execute(
                "INSERT INTO taskflow.tasks (type, queue) VALUES ('noop', %s) RETURNING id", (queue,)
            ).fetchone()  # type: ignore[misc]
            if hold_seconds:
                time.sleep(hold_seconds)
        committed = time.monotonic()
        while not self._is_claimed(task_id):
            assert time.monotonic() - committed < 2 * LATEST_SECONDS, f"task {task_id} was not claimed"
            time.sleep(0.001)
        self.lateness.append(time.monotonic() - committed)

    def _is_claimed(self, task_id: int) -> bool:
        row = self.connection.execute(
            "SELECT state NOT IN ('pending', 'scheduled') FROM taskflow.task_status(%s)", (task_id,)
        )
        return bool(row.fetchone()[0])  # type: ignore[index]

    def run(self, count: int, *, queues: Sequence[str] = ("default",), hold_seconds: float = 0.0) -> None:
        for _ in range(count):
            # Most while the worker is about to fall asleep; some later, or it would take this for a stream of
            # inserts and not go to sleep at all.
            time.sleep(self.random.choice([0.0, 0.002, 0.005, 0.02, 0.04]) * self.random.uniform(0.5, 1.0))
            self.insert(queue=self.random.choice(queues), hold_seconds=hold_seconds * self.random.random())


def insert_from(dsn: str, connections: int, count: int, **options: object) -> list[float]:
    """Lone tasks from several connections at once; how late each was claimed."""
    inserters = [Inserter(dsn, seed) for seed in range(connections)]
    with ThreadPoolExecutor(connections) as pool:
        for run in [pool.submit(inserter.run, count // connections, **options) for inserter in inserters]:
            run.result()
    return [seconds for inserter in inserters for seconds in inserter.lateness]


def assert_prompt(lateness: Sequence[float]) -> None:
    """As a rule within the bound; what a busy machine adds to a few is not ours."""
    late = sorted(seconds for seconds in lateness if seconds > PROMPT_SECONDS)
    assert len(late) <= len(lateness) / 5, f"{len(late)} of {len(lateness)} came late: {late}"
    assert not late or late[-1] < LATEST_SECONDS


@pytest.fixture
def sleeping(connection, start_worker, wait_until):
    """Start workers, one after the other, each when those before are asleep; polling would take them a minute."""

    def start(dsn: str, *args: str):
        env = {"TASKFLOW_PREFETCH_SECONDS": "0"}  # or the one slot would have room for hundreds
        worker = start_worker(dsn, "--poll-interval", str(POLL_SECONDS), "--no-leader", *args, env=env)
        wait_until(lambda: "worker_ready" in worker.logs())
        wait_until(lambda: bells(connection) > 0)
        return worker

    return start


def bells(connection) -> int:
    """How many bells sessions hold in this database."""
    (count,) = connection.execute(
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE locktype = 'advisory' AND classid = 1413567307 AND mode = 'ExclusiveLock'"
        " AND datname = current_database()"
    ).fetchone()
    return count


def settled(look: Callable[[], object], seconds: float = 0.5) -> object:
    """The answer, once it has been the same for a while."""
    answer, since = look(), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(0.02)
        if (new := look()) != answer:
            answer, since = new, time.monotonic()
    return answer


@pytest.mark.parametrize(
    ("workers", "connections", "hold_seconds"),
    [
        ([(*QUEUE, *ONE_SLOT)], 1, 0.0),
        ([QUEUE], 1, 0.0),
        ([EVERY_QUEUE], 1, 0.0),
        ([(*EVERY_QUEUE, *ONE_SLOT)], 1, 0.0),
        ([(*QUEUE, *ONE_SLOT)], 1, 0.01),
        ([(*QUEUE, *ONE_SLOT)], 3, 0.01),
        ([(*QUEUE, *ONE_SLOT), (*EVERY_QUEUE, *ONE_SLOT)], 1, 0.01),
        ([(*QUEUE, *ONE_SLOT), (*QUEUE, *ONE_SLOT)], 1, 0.0),
        ([(*QUEUE, *ONE_SLOT), (*QUEUE, *ONE_SLOT)], 3, 0.01),
    ],
    ids=[
        "one_queue_one_slot",
        "one_queue",
        "every_queue",
        "every_queue_one_slot",
        "open_transaction",
        "open_transactions",
        "open_transactions_beside_a_worker_of_every_queue",
        "two_of_one_queue",
        "two_of_one_queue_open_transactions",
    ],
)
def test_a_lone_task_wakes_a_sleeping_worker_at_whatever_moment_it_comes(
    dsn, sleeping, workers, connections, hold_seconds
) -> None:
    for args in workers:
        sleeping(dsn, *args)
    assert_prompt(insert_from(dsn, connections, WAKE_UPS // 9, hold_seconds=hold_seconds))


def test_when_the_holder_of_the_bell_is_killed_the_others_are_awake_within_a_second(
    dsn, connection, sleeping, wait_until
) -> None:
    holder = sleeping(dsn, *QUEUE)
    inserter = Inserter(dsn, 0)
    for _ in range(2):
        successor = sleeping(dsn, *QUEUE)
        holder.kill()
        inserter.insert()
        wait_until(lambda: bells(connection) == 1, timeout=LATEST_SECONDS)
        inserter.insert()
        holder = successor
    after_the_kill, after_the_succession = inserter.lateness[::2], inserter.lateness[1::2]
    assert max(after_the_kill) < HOLDER_DIED_SECONDS + 1.0
    assert min(after_the_succession) < PROMPT_SECONDS


def test_a_worker_that_ends_hands_its_bell_over(dsn, connection, sleeping) -> None:
    holder = sleeping(dsn, *QUEUE)
    sleeping(dsn, *QUEUE)
    connection.execute("LISTEN taskflow_bell")
    assert holder.stop() == 0
    assert [notify.payload for notify in connection.notifies(timeout=5, stop_after=1)] == ["default"]
    inserter = Inserter(dsn, 0)
    inserter.insert()
    assert inserter.lateness[-1] < HOLDER_DIED_SECONDS


def test_a_task_of_another_queue_wakes_nobody_who_does_not_serve_it(dsn, connection, sleeping, wait_until) -> None:
    sleeping(dsn, "--queues", "a")
    sleeping(dsn, "--queues", "b")
    wait_until(lambda: bells(connection) == 2)
    last_statement = (
        "SELECT state_change FROM pg_stat_activity JOIN pg_locks USING (pid)"
        " WHERE locktype = 'advisory' AND objid = hashtext('a') & 1023 AND datname = current_database()"
    )
    slept_since = settled(lambda: connection.execute(last_statement).fetchone())
    inserter = Inserter(dsn, 0)
    inserter.run(50, queues=["b"])
    assert_prompt(inserter.lateness)
    assert connection.execute(last_statement).fetchone() == slept_since
    connection.execute("SELECT pg_notify('taskflow_bell', 'b'), pg_notify('taskflow_wake', 'nobodys')")
    inserter.insert(queue="b")
    assert connection.execute(last_statement).fetchone() == slept_since
    inserter.insert(queue="a")
    assert inserter.lateness[-1] < LATEST_SECONDS
    assert connection.execute(last_statement).fetchone() != slept_since


def assert_on_time(lateness: Sequence[float]) -> None:
    """Nobody starts before his time; after it, most at once and none late by what is no accident of a busy machine."""
    ordered = sorted(lateness)
    assert ordered[0] >= 0
    assert ordered[len(ordered) // 2] < PROMPT_SECONDS, ordered
    assert ordered[-1] < LATEST_SECONDS / 5, ordered


def claims_late_by(connection) -> list[float]:
    rows = connection.execute("SELECT extract(epoch FROM claimed_at - run_at)::float8 FROM taskflow.tasks")
    return [row[0] for row in rows]


@pytest.mark.parametrize("args", [QUEUE, EVERY_QUEUE], ids=["one_queue", "every_queue"])
def test_a_task_for_later_starts_on_time_also_one_that_came_while_the_worker_slept(
    dsn, connection, sleeping, wait_until, args
) -> None:
    later = random.Random(1)
    insert = "INSERT INTO taskflow.tasks (type, run_at) VALUES ('noop', now() + %s * interval '1 second')"
    connection.execute(insert, (0.01,))
    connection.execute(insert, (3.0,))
    sleeping(dsn, *args)
    connection.execute(insert, (2.5,))  # before what it sleeps for, and each after it again
    for _ in range(30):
        connection.execute(insert, (later.uniform(0.05, 2.2),))
    ended = "SELECT count(*) FROM taskflow.tasks WHERE state = 'completed'"
    wait_until(lambda: connection.execute(ended).fetchone() == (33,))
    late = claims_late_by(connection)[2:]  # without those from before the worker was ready
    assert_on_time(late)


def test_a_retry_that_is_due_later_wakes_whoever_sleeps(dsn, connection, sleeping, wait_until, gate) -> None:
    sleeping(dsn, *QUEUE)
    sleeping(dsn, *QUEUE)
    ended = "SELECT count(*) FROM taskflow.tasks WHERE state = 'dead_letter' AND attempt = 2"
    for number in range(1, 4):  # alone, and failing when everybody has long been asleep
        connection.execute(
            "INSERT INTO taskflow.tasks (type, payload, timeout, max_attempts, retry_strategy, retry_delay)"
            " VALUES ('async_wait', %s, 0.3, 2, 'fixed', %s / 10.0)",
            (json.dumps(gate.payload), number),
        )
        wait_until(lambda number=number: connection.execute(ended).fetchone() == (number,))
    assert_on_time(claims_late_by(connection))


def test_what_an_operator_makes_claimable_wakes_a_sleeper(dsn, connection, sleeping, wait_until) -> None:
    sleeping(dsn, *QUEUE)
    (task_id,) = connection.execute(
        "INSERT INTO taskflow.tasks (type, payload) VALUES ('fail', '{\"permanent\": true}') RETURNING id"
    ).fetchone()
    ended = "SELECT count(*) FROM taskflow.tasks WHERE state = 'dead_letter' AND attempt = %s"
    for attempt in range(1, 6):
        wait_until(lambda attempt=attempt: connection.execute(ended, (attempt,)).fetchone() == (1,), LATEST_SECONDS)
        connection.execute("SELECT taskflow.retry_task(%s)", (task_id,))
