from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from psycopg.errors import LockNotAvailable
from structlog.testing import capture_logs

from taskflow.leader import Leader
from taskflow.leader.endings import Endings
from taskflow.leader.expiry import Expiry
from taskflow.leader.keys import Keys
from taskflow.leader.lease import Lease
from taskflow.leader.looper import Loop
from taskflow.leader.partitions import Partitions
from taskflow.leader.queue_retention import QueueRetention
from taskflow.leader.rescuer import Rescuer
from taskflow.leader.retention import Retention
from taskflow.leader.schedules import Schedules
from taskflow.leader.statistics import Statistics
from taskflow.leader.totals import Totals
from taskflow.settings import Settings, load
from taskflow.store import rescue
from tests.forked import start_taskflow
from tests.leader.conftest import Database, days_ago, wait_until

CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name IN ('taskflow leader', 'taskflow upkeep')"
)

DAYS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'taskflow.executions'::regclass"
COUNTED = Statistics()
LOOPS: list[Loop] = [
    Lease("a", 15),
    Rescuer(0.001),
    Keys(),
    Expiry(),
    Partitions(),
    COUNTED,
    Totals(lambda: COUNTED.final),
    Endings(),
    QueueRetention(),
    Retention(dict.fromkeys(("tasks_completed", "tasks_ended", "executions"), timedelta(days=30))),
    Schedules(),
]


@pytest.fixture
def settings(dsn: str) -> Settings:
    return load(database_url=dsn, heartbeat_timeout=2.0, heartbeat_interval=1.0)


@pytest.fixture
def leaders(settings: Settings) -> Iterator[list[Leader]]:
    both = [Leader(settings) for _ in range(2)]
    yield both
    for leader in both:
        leader.stop(5)


def start(leaders: list[Leader]) -> None:
    for leader in leaders:
        leader.start()
    wait_until(lambda: any(leader.leading for leader in leaders))


def test_of_two_one_leads_and_the_other_takes_over_when_it_stops(database: Database, leaders: list[Leader]) -> None:
    start(leaders)
    first, second = sorted(leaders, key=lambda leader: not leader.leading)
    assert not second.leading
    began = time.monotonic()
    assert first.stop(2)
    assert time.monotonic() - began < 2
    assert not first.leading
    wait_until(lambda: second.leading)
    wait_until(lambda: database.one(CONNECTIONS) == 2)


def test_a_follower_has_no_connection_but_for_a_moment(database: Database, dsn: str, leaders: list[Leader]) -> None:
    leaders[:] = [Leader(load(database_url=dsn)) for _ in range(3)]
    start(leaders)
    wait_until(lambda: database.one(CONNECTIONS) == 2)
    assert sum(leader.leading for leader in leaders) == 1


def test_a_leader_that_loses_its_connections_leads_again_or_another_does(
    database: Database, leaders: list[Leader]
) -> None:
    start(leaders)
    with capture_logs() as logs:
        database.all(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'taskflow leader'"
        )
        wait_until(lambda: any(item["event"] == "leader_elected" for item in logs))
    reason = next(item["error"] for item in logs if item["event"] == "database_unavailable")
    # What libpq says, by whether it could still send when the server had closed.
    assert "terminating connection" in reason or "server closed the connection" in reason
    wait_until(lambda: sum(leader.leading for leader in leaders) == 1)


def test_every_loop_runs(database: Database, leaders: list[Leader]) -> None:
    then = days_ago(40)
    day = database.make_day("executions", then.date())
    dead = database.add_task("dead_letter", then)
    database.add_execution(dead, then)
    missing = max(database.all(DAYS))
    database.connection.execute(f"DROP TABLE {missing}")
    database.connection.execute("INSERT INTO taskflow.rate_windows VALUES ('q', '', now() - interval '1 day', 1)")
    task = database.enqueue()[0]
    database.claim(database.register(), 1)
    start(leaders)

    wait_until(lambda: not database.exists(day))
    wait_until(lambda: database.one("SELECT to_regclass(%s)", missing))
    wait_until(
        lambda: database.all("SELECT outcome::text FROM taskflow.executions WHERE task_id = %s", task) == ["lost"]
    )
    wait_until(lambda: database.one("SELECT count(*) FROM taskflow.rate_windows") == 0)
    assert database.all("SELECT task_id FROM taskflow.executions_kept") == [dead]


def test_two_leaders_record_each_lost_attempt_once(database: Database, settings: Settings) -> None:
    """The lease saves work, it does not carry correctness: here both rescue at the same time."""
    database.enqueue(2000)
    worker = database.register()
    database.claim(worker, 2000)

    def take(_: int) -> int:
        with database.connect() as connection:
            taken, batch = 0, rescue.BATCH
            while batch:
                with suppress(LockNotAvailable):  # on a busy machine; a leader looks again too
                    batch = rescue.rescue(connection, worker, 0) or rescue.rescue(connection, worker, None)
                    taken += batch
            return taken

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(take, range(3))) == 2000
    assert database.one("SELECT count(*), count(DISTINCT task_id) FROM taskflow.executions") == (2000, 2000)
    assert database.one("SELECT count(*) FROM taskflow.tasks WHERE state = 'pending' AND losses = 1") == 2000


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.name)
def test_the_role_of_workers_may_do_all_that_does_not_need_the_owner(database: Database, loop: Loop) -> None:
    for name in database.all(DAYS):
        database.connection.execute(f"DROP TABLE {name}")
    database.enqueue()
    database.claim(database.register(), 1)
    database.connection.execute("SET ROLE taskflow_worker")
    loop.begin(database.connection)
    loop.work(database.connection)
    loop.end(database.connection)


def test_no_loop_is_left_out_there() -> None:
    loops = {loop for loop in Loop.__subclasses__() if loop.__module__.startswith("taskflow.")}
    assert {type(loop) for loop in LOOPS} == loops


@pytest.fixture
def ordinary_dsn(database: Database) -> Iterator[str]:
    """The test's database for a login that has the role of workers, and no more."""
    name = f"led_by_{os.getpid()}"
    database.connection.execute(f"CREATE ROLE {name} LOGIN IN ROLE taskflow_worker")
    yield make_conninfo(database.dsn, user=name)
    database.all("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", name)
    database.connection.execute(f"DROP ROLE {name}")


def test_a_scheduler_of_the_owner_takes_over_from_a_worker_that_may_not_drop_days(
    database: Database, ordinary_dsn: str, tmp_path: Path
) -> None:
    day = database.make_day("executions", days_ago(40).date())
    log, schedulers = tmp_path / "worker.log", tmp_path / "scheduler.log"
    environment = {**os.environ, "TASKFLOW_LOG_FORMAT": "json", "TASKFLOW_HEARTBEAT_TIMEOUT": "4"}
    environment["TASKFLOW_HEARTBEAT_INTERVAL"] = "1"
    worker = start_taskflow(["worker"], {**environment, "DATABASE_URL": ordinary_dsn}, log)
    started = [worker]
    try:
        wait_until(lambda: "retention_needs_owner" in log.read_text() or worker.poll() is not None)
        (led,) = database.all("SELECT holder FROM taskflow.leases WHERE name = 'leader'")
        started.append(start_taskflow(["scheduler"], {**environment, "DATABASE_URL": database.dsn}, schedulers))
        wait_until(lambda: not database.exists(day))
        wait_until(lambda: "leader_lost_lease" in log.read_text())
        assert database.all("SELECT holder FROM taskflow.leases WHERE name = 'leader'") != [led]
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(30)
    assert "leader_loop_failed" not in log.read_text() + schedulers.read_text()
    assert "leader_lost_lease" not in schedulers.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_scheduler_command_leads_and_ends_within_two_seconds(
    database: Database, dsn: str, number: signal.Signals, tmp_path: Path
) -> None:
    log = tmp_path / "scheduler.log"
    process = start_taskflow(["scheduler"], {**os.environ, "DATABASE_URL": dsn, "TASKFLOW_LOG_FORMAT": "json"}, log)
    try:
        wait_until(lambda: database.one("SELECT count(*) FROM taskflow.leases") or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 2
    finally:
        process.send_signal(signal.SIGKILL)
    assert '"scheduler_stopped"' in log.read_text()
    assert database.one("SELECT count(*) FROM taskflow.leases") == 0


def test_the_scheduler_ends_in_time_also_when_no_database_answers(tmp_path: Path) -> None:
    log = tmp_path / "scheduler.log"
    nowhere = {"DATABASE_URL": "postgresql://nobody@/none?host=/nonexistent", "TASKFLOW_LOG_FORMAT": "json"}
    process = start_taskflow(["scheduler"], {**os.environ, **nowhere}, log)
    try:
        wait_until(lambda: process.poll() is not None or "database_unavailable" in log.read_text())
        assert process.poll() is None, log.read_text()
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 2
    finally:
        process.send_signal(signal.SIGKILL)


def test_what_is_kept_for_a_hundred_years_hinders_no_loop(database: Database, dsn: str) -> None:
    names = ("retention_completed", "retention_ended", "retention_executions", "heartbeat_timeout")
    old = database.make_day("executions", days_ago(36_400).date())
    older = database.make_day("executions", days_ago(36_600).date())
    leader = Leader(load(database_url=dsn, **dict.fromkeys(names, "36525d")))
    with capture_logs() as logs:
        leader.start()
        try:
            wait_until(lambda: not database.exists(older))
        finally:
            assert leader.stop(10)
    assert database.exists(old)
    assert [event for event in logs if event["log_level"] in ("warning", "error")] == []
