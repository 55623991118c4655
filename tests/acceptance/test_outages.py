"""A database that is away, hangs, refuses or forgets: workers wait, come back by themselves, and nothing is lost."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from taskflow.cluster import Cluster
from taskflow.store.migrate import migrate
from tests.acceptance.ledger import (
    LIMIT_SECONDS,
    SOON,
    assert_in_order,
    assert_ran_once,
    enqueue,
    outcomes,
    settle,
    states,
    value,
)
from tests.acceptance.support import Process

CUTS = 20


class Load:
    """A producer that repeats what was not acknowledged (none without a payload), and an observer that remembers what
    it saw completed."""

    def __init__(self, dsn: str, payload: dict[str, Any] | None = None) -> None:
        self.acknowledged: list[int] = []
        self.seen_completed: set[int] = set()
        self._stop = threading.Event()
        tasks = [self._observe] if payload is None else [self._observe, self._produce(payload)]
        self._threads = [threading.Thread(target=self._repeat, args=(dsn, task)) for task in tasks]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _repeat(self, dsn: str, work: Callable[[psycopg.Connection[Any]], None]) -> None:
        while not self._stop.is_set():
            try:
                with psycopg.connect(dsn, autocommit=True, connect_timeout=2) as connection:
                    while not self._stop.wait(0.002):
                        work(connection)
            except psycopg.OperationalError:
                self._stop.wait(0.05)

    def _produce(self, payload: dict[str, Any]) -> Callable[[psycopg.Connection[Any]], None]:
        def produce(connection: psycopg.Connection[Any]) -> None:
            row = connection.execute(
                "INSERT INTO taskflow.tasks (type, payload) VALUES ('record', %s) RETURNING id", (Jsonb(payload),)
            ).fetchone()
            self.acknowledged.append(row[0])

        return produce

    def _observe(self, connection: psycopg.Connection[Any]) -> None:
        rows = connection.execute("SELECT id FROM taskflow.tasks WHERE state = 'completed'")
        self.seen_completed.update(row[0] for row in rows)


@pytest.fixture
def own(cluster_factory) -> Cluster:
    """A durable server of this test alone, migrated."""
    cluster: Cluster = cluster_factory()
    migrate(cluster.dsn())
    return cluster


def test_restarts_and_kills_of_postgres_under_load_lose_nothing_and_repeat_nothing(
    own, gate, start_worker, wait_until, tmp_path
) -> None:
    dsn = own.dsn()
    file = tmp_path / "ran"
    file.touch()
    worker = start_worker(dsn, "--concurrency", "10", env=SOON)
    with psycopg.connect(dsn, autocommit=True) as connection:
        [held] = enqueue(connection, "blocking", gate.payload, priority=3)
    wait_until(lambda: gate.arrivals() == [(held, 1)])
    outages: list[Callable[[], None]] = [lambda: own.stop("fast"), lambda: own.stop("immediate"), own.kill]
    with Load(dsn, {"file": str(file), "seconds": 0.002}) as load:
        for number, outage in enumerate(outages):
            before = len(load.seen_completed)
            wait_until(lambda more=before + 30: len(load.seen_completed) >= more)
            outage()
            if number == 0:  # a handler ends while there is no database
                gate.open()
                wait_until(lambda: gate.departures() == [(held, 1)])
            own.start()
        before = len(load.seen_completed)
        wait_until(lambda: len(load.seen_completed) >= before + 30)
    with psycopg.connect(dsn, autocommit=True) as connection:
        wait_until(lambda: settle(connection, load.acknowledged), timeout=60)
        assert value(connection, "attempt", held) == 1
        assert settle(connection, [held])
        assert_in_order(connection, released=True)  # a claim whose answer was cut off is given back
        assert "lost" not in outcomes(connection)
    assert_ran_once(file)
    assert worker.stop() == 0, worker.logs()


def test_what_a_client_saw_completed_is_completed_after_a_crash_in_the_middle_of_completions(
    own, start_worker, wait_until
) -> None:
    dsn = own.dsn()
    with psycopg.connect(dsn, autocommit=True) as connection:
        enqueue(connection, "slow", {"seconds": 0.005}, 5000)
    for crash in (lambda: own.stop("immediate"), own.kill):
        # Nothing but completions waits for the disk: nothing else makes them durable by the way.
        worker = start_worker(dsn, "--no-leader", env={"TASKFLOW_CLAIM_COMMIT": "async"})
        with Load(dsn) as load:
            wait_until(lambda load=load: len(load.seen_completed) >= 300)
            crash()
            worker.kill()  # or it would complete again what was forgotten
        own.start()
        with psycopg.connect(dsn, autocommit=True) as connection:
            assert states(connection, sorted(load.seen_completed)) == {"completed": len(load.seen_completed)}
            assert_in_order(connection, released=True)


def test_connections_cut_at_random_lose_nothing_and_repeat_nothing(
    connection, dsn, start_worker, wait_until, tmp_path
) -> None:
    file = tmp_path / "ran"
    file.touch()
    worker = start_worker(dsn, "--concurrency", "10", env={"TASKFLOW_HEARTBEAT_INTERVAL": "0.3"})
    payload = {"file": str(file), "seconds": 0.01}
    ids: list[int] = []
    cut = 0

    def enough_were_cut() -> bool:
        nonlocal cut
        ids.extend(enqueue(connection, "record", payload, 5))  # there is always something to do
        victims = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'taskflow %' AND random() < 0.3"
        )
        cut += len(victims.fetchall())
        return cut >= CUTS

    wait_until(enough_were_cut, timeout=60)
    wait_until(lambda: settle(connection, ids), timeout=60)
    assert_ran_once(file)
    assert_in_order(connection, released=True)
    assert outcomes(connection) == {"succeeded": len(ids)}
    wait_until(lambda: connection.execute("SELECT count(*) FROM taskflow.workers").fetchone() == (1,))
    assert not event_count(worker, "completion_refused", "claimer_failed", "completer_failed")
    assert worker.stop() == 0, worker.logs()


def test_a_claim_whose_answer_was_cut_off_is_given_back(connection, dsn, start_worker, wait_until) -> None:
    worker = start_worker(dsn, "--no-leader", env={"TASKFLOW_HEARTBEAT_INTERVAL": "0.3"})
    wait_until(lambda: "worker_ready" in worker.logs())
    tasks = enqueue(connection, "noop", count=3, run_at="2100-01-01")
    connection.execute(
        "UPDATE taskflow.tasks SET state = 'running', attempt = 1, claimed_at = now(), run_at = now(),"
        " worker_id = (SELECT id FROM taskflow.workers)"
    )
    connection.execute("SELECT taskflow.record_claims()")
    cut_connections(connection)
    wait_until(lambda: settle(connection, tasks))
    assert outcomes(connection) == {"succeeded": 3}
    assert {value(connection, "attempt", task) for task in tasks} == {2}
    assert worker.stop() == 0, worker.logs()


def test_a_worker_with_a_thousand_open_files_comes_back_after_an_outage(
    connection, dsn, gate, start_worker, wait_until
) -> None:
    worker = start_worker(dsn, "--no-leader")
    files = enqueue(connection, "open_files", {**gate.payload, "count": 1100})
    wait_until(gate.arrivals)
    refuse = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    name = sql.Identifier(connection.info.dbname)
    with psycopg.connect(dsn, dbname="postgres", autocommit=True) as elsewhere:
        elsewhere.execute(refuse.format(name, sql.SQL("false")))
        cut_connections(connection)
        wait_until(lambda: event_count(worker, "database_unavailable") == 2)
        gate.open()  # they take the numbers that its connections had
        wait_until(gate.departures)
        elsewhere.execute(refuse.format(name, sql.SQL("true")))
    later = enqueue(connection, "noop", count=3)
    wait_until(lambda: settle(connection, [*files, *later]))
    assert worker.stop() == 0, worker.logs()


def cut_connections(connection: psycopg.Connection[Any]) -> None:
    """End every connection of taskflow's processes to this database."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name LIKE 'taskflow %'"
    ).fetchall()


def test_an_outage_longer_than_the_heartbeat_limit_is_nobodys_death(own, gate, start_worker, wait_until) -> None:
    dsn = own.dsn()
    worker = start_worker(dsn, "--concurrency", "2", env=SOON)
    with psycopg.connect(dsn, autocommit=True) as connection:
        held = enqueue(connection, "blocking", gate.payload, 2)
        wait_until(lambda: [task for task, _ in gate.arrivals()] == held)
        backends = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name IN ('taskflow completer', 'taskflow claimer')"
        ).fetchall()
    workers = {pid for (pid,) in backends}
    others = {own.pid, *(process.pid for process in psutil.Process(own.pid).children())} - workers
    with hanging(workers):
        let_pass(LIMIT_SECONDS * 3 / 8)  # the rescuer sees their last heartbeat
        with hanging(others):
            let_pass(2 * LIMIT_SECONDS)
        let_pass(LIMIT_SECONDS / 4)  # the rescuer is back before the worker, and looks
    with psycopg.connect(dsn, autocommit=True) as connection:
        wait_until(lambda: fresh_heartbeat(connection))
        let_pass(1.5 * LIMIT_SECONDS)
        own.stop("fast")
    let_pass(2 * LIMIT_SECONDS)
    own.start()
    with psycopg.connect(dsn, autocommit=True) as connection:
        wait_until(lambda: fresh_heartbeat(connection))
        let_pass(1.5 * LIMIT_SECONDS)
        assert states(connection) == {"running": 2}
        gate.open()
        wait_until(lambda: settle(connection, held))
        assert outcomes(connection) == {"succeeded": 2}
        assert_in_order(connection)
    assert not event_count(worker, "worker_lost", "completion_refused", "worker_given_up_by_rescuer")


def test_a_clock_that_jumps_an_hour_is_nobodys_death(connection, dsn, gate, start_worker, wait_until) -> None:
    worker = start_worker(dsn, "--concurrency", "2", env=SOON)
    other = start_worker(dsn, "--concurrency", "2", env=SOON)
    held = enqueue(connection, "blocking", gate.payload, 2)
    wait_until(lambda: [task for task, _ in gate.arrivals()] == held)
    for jump in ("-1 hour", "1 hour"):
        for _ in range(10):  # again and again, since every heartbeat sets it right
            connection.execute("UPDATE taskflow.workers SET last_heartbeat = clock_timestamp() + %s::interval", (jump,))
            connection.execute("UPDATE taskflow.leases SET expires_at = expires_at + %s::interval", (jump,))
            let_pass(LIMIT_SECONDS / 8)
        connection.execute(
            "UPDATE taskflow.tasks SET claimed_at = claimed_at + %(jump)s::interval,"
            " started_at = started_at + %(jump)s::interval, updated_at = updated_at + %(jump)s::interval",
            {"jump": jump},
        )
    gate.open()
    wait_until(lambda: settle(connection, held))
    assert outcomes(connection) == {"succeeded": 2}
    assert not event_count(worker, "worker_lost") + event_count(other, "worker_lost")


def test_a_database_that_is_read_only_for_a_while_is_waited_for(
    connection, cluster, dsn, gate, start_worker, wait_until
) -> None:
    connection.execute("SET default_transaction_read_only = off")
    worker = start_worker(dsn, "--concurrency", "2", env=SOON)
    [held] = enqueue(connection, "blocking", gate.payload)
    wait_until(lambda: gate.arrivals() == [(held, 1)])
    try:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
        wait_until(lambda: event_count(worker, "database_unavailable") > 0)
        gate.open()
        wait_until(lambda: gate.departures() == [(held, 1)])
        [later] = enqueue(connection, "noop")
        let_pass(1.5 * LIMIT_SECONDS)
        assert states(connection) == {"running": 1, "pending": 1}
        assert "read-only" in worker.logs()
        assert event_count(worker, "database_unavailable", "database_back") <= 4, "one line an outage, not one a try"
    finally:
        connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        connection.execute("SELECT pg_reload_conf()")
    wait_until(lambda: settle(connection, [held, later]))
    assert outcomes(connection) == {"succeeded": 2}
    assert worker.running


def test_a_worker_waits_while_there_are_no_connections_for_it(
    connection, dsn, start_worker, wait_until, ordinary_user
) -> None:
    def limit(connections: int) -> None:
        connection.execute(
            sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(sql.Identifier(ordinary_user), sql.Literal(connections))
        )

    limit(0)
    worker = start_worker(make_conninfo(dsn, user=ordinary_user), "--no-leader", env=SOON)
    wait_until(lambda: "too many connections for role" in worker.logs())
    limit(1)  # one of the two that it needs
    [first] = enqueue(connection, "noop")
    let_pass(LIMIT_SECONDS)
    limit(2)
    wait_until(lambda: settle(connection, [first]))

    limit(0)
    lines = len(worker.events())
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (ordinary_user,)
    ).fetchall()
    [second] = enqueue(connection, "noop")
    wait_until(lambda: worker.logs().count("too many connections for role") >= 2)
    let_pass(LIMIT_SECONDS)
    assert len(worker.events()) - lines <= 4, "one line an outage, not one a try"
    limit(-1)
    wait_until(lambda: settle(connection, [second]))
    assert worker.stop() == 0, worker.logs()


@pytest.fixture
def ordinary_user(connection, dsn) -> Iterator[str]:
    """A user with the rights of a worker, and no more: limits do not hold for superusers."""
    name = f"worker_of_{os.getpid()}"
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE taskflow_worker").format(sql.Identifier(name)))
    yield name
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (name,)).fetchall()
    connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_a_disk_that_is_full_at_commit_costs_nothing_but_time(connection, dsn, gate, start_worker, wait_until) -> None:
    worker = start_worker(dsn, env=SOON)
    ids = enqueue(connection, "blocking", gate.payload, 10)
    wait_until(lambda: len(gate.arrivals()) == 10)
    connection.execute(
        """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
        """
    )
    with connection.transaction():
        for (partition,) in connection.execute(
            "SELECT relid::text FROM pg_partition_tree('taskflow.executions') WHERE isleaf"
        ).fetchall():
            connection.execute(
                f"CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT ON {partition} DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW EXECUTE FUNCTION full_disk()"
            )
    gate.open()
    wait_until(lambda: "No space left on device" in worker.logs())
    lines = len(worker.events())
    let_pass(1.5 * LIMIT_SECONDS)
    assert states(connection) == {"running": 10}
    assert len(worker.events()) - lines <= 4, "it tries again in peace, and says so once"
    connection.execute("DROP FUNCTION full_disk() CASCADE")
    wait_until(lambda: settle(connection, ids))
    assert outcomes(connection) == {"succeeded": 10}
    assert_in_order(connection)
    assert len(gate.arrivals()) == 10
    assert worker.stop() == 0, worker.logs()


def test_two_migrations_at_once_and_workers_that_were_there_before(
    empty_dsn, processes, start_worker, wait_until
) -> None:
    workers = [start_worker(empty_dsn, env=SOON) for _ in range(2)]
    wait_until(lambda: all("taskflow migrate" in worker.logs() for worker in workers), what="they say what is missing")
    migrations = [processes.start("migrate", dsn=empty_dsn) for _ in range(2)]
    for migration in migrations:
        assert migration.wait(60) == 0, migration.logs()
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        ids = enqueue(connection, "noop", count=50)
        wait_until(lambda: settle(connection, ids))
        assert_in_order(connection)
    assert all(worker.running for worker in workers)


@contextmanager
def hanging(pids: set[int]) -> Iterator[None]:
    """These processes of a server do nothing, and close nothing: they are stopped."""
    try:
        send(signal.SIGSTOP, pids)
        yield
    finally:
        send(signal.SIGCONT, pids)


def send(number: signal.Signals, pids: set[int]) -> None:
    """Send a signal to those of the processes that still are."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def fresh_heartbeat(connection: psycopg.Connection[Any]) -> bool:
    """Whether every worker that has a row has sent a heartbeat in the last second."""
    row = connection.execute(
        "SELECT bool_and(last_heartbeat > clock_timestamp() - interval '1 second') FROM taskflow.workers"
    ).fetchone()
    return row is not None and bool(row[0])


def event_count(process: Process, *names: str) -> int:
    """How many log lines of these events there are."""
    return sum(event.get("event") in names for event in process.events())


def let_pass(seconds: float) -> None:
    """Let time pass: how long a state lasts is what these tests are about, nothing is waited for here."""
    deadline = time.monotonic() + seconds
    for _ in itertools.takewhile(lambda _: time.monotonic() < deadline, itertools.repeat(None)):
        time.sleep(0.05)
