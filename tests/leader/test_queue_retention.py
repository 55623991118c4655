from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from taskflow.leader import queue_retention
from taskflow.leader.queue_retention import QueueRetention
from taskflow.store.queue_retention import KEPT
from tests.leader.conftest import Database, ManualClock, days_ago

STATES = ("completed", "failed", "cancelled", "dead_letter")


def ended(database: Database, queue: str, state: str, ago: timedelta) -> int:
    """A task that ended then, with its execution."""
    then = datetime.now(UTC) - ago
    task = int(
        database.one(
            "INSERT INTO taskflow.tasks (type, queue, state, created_at, finished_at)"
            " VALUES ('t', %s, %s, %s, %s) RETURNING id",
            queue,
            state,
            then - timedelta(minutes=1),
            then,
        )
    )
    database.add_execution(task, then)
    return task


def keep(database: Database, queue: str, **seconds: float) -> None:
    database.connection.execute(
        "INSERT INTO taskflow.queues (name, retention) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET retention = excluded.retention",
        (queue, json.dumps(seconds)),
    )


def work(database: Database, loop: QueueRetention | None = None) -> float:
    loop = loop or QueueRetention()
    with database.connect() as connection:
        loop.begin(connection)
        return loop.work(connection)


def left(database: Database) -> set[int]:
    tasks = set(database.all("SELECT id FROM taskflow.tasks"))
    assert set(database.all("SELECT task_id FROM taskflow.executions")) == tasks
    return tasks


@pytest.fixture(autouse=True)
def yesterday(database: Database) -> None:
    for parent in ("tasks_completed", "tasks_ended", "executions"):
        for day in (1, 2):
            if not database.exists(f"{parent}_{days_ago(day):%Y%m%d}"):
                database.make_day(parent, days_ago(day).date())


@pytest.mark.parametrize("state", STATES)
def test_what_a_queue_keeps_no_longer_goes_with_its_executions(database: Database, state: str) -> None:
    keep(database, "short", **{state: 3600})
    ended(database, "short", state, timedelta(hours=25))
    ended(database, "short", state, timedelta(minutes=61))
    stays = {
        ended(database, "short", state, timedelta(minutes=59)),
        ended(database, "default", state, timedelta(hours=25)),
        *(ended(database, "short", other, timedelta(hours=25)) for other in STATES if other != state),
    }

    assert work(database) == 60

    assert left(database) == stays


def test_the_role_of_workers_removes_it_too(database: Database) -> None:
    for state in STATES:
        ended(database, "short", state, timedelta(hours=25))
    keep(database, "short", **dict.fromkeys(STATES, 3600))
    database.connection.execute("SET ROLE taskflow_worker")
    QueueRetention().work(database.connection)
    database.connection.execute("RESET ROLE")
    assert left(database) == set()


@pytest.mark.parametrize("analyzed", [False, True])
def test_where_to_begin_is_found_by_indexes(database: Database, analyzed: bool) -> None:
    for state in STATES:
        database.connection.execute(
            "INSERT INTO taskflow.tasks (type, state, finished_at)"
            " SELECT 't', %s, now() - n * interval '1 second' FROM generate_series(1, 5000) n",
            [state],
        )
    if analyzed:
        database.connection.execute("ANALYZE taskflow.tasks")
    plan = "\n".join(database.all(f"EXPLAIN {KEPT}"))
    assert "on tasks_" in plan
    assert "Seq Scan on tasks_" not in plan
    assert "Sort" not in plan.replace("Sort Key: t", "")  # the key of a Merge Append


def test_batches_of_thousands_go_in_one_round_and_a_long_one_is_gone_on_with(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(database, "default", completed=60)
    for minutes in (5, 500, 1400):
        database.connection.execute(
            "INSERT INTO taskflow.tasks (type, state, finished_at)"
            " SELECT 't', 'completed', now() - %s * interval '1 min' FROM generate_series(1, 1500)",
            [minutes],
        )
    clock = ManualClock()
    loop = QueueRetention(clock=clock)
    monkeypatch.setattr(queue_retention, "ROUND_SECONDS", -1.0)
    assert work(database, loop) == 0
    assert database.one("SELECT count(*) FROM taskflow.tasks") == 4500
    monkeypatch.setattr(queue_retention, "ROUND_SECONDS", 60.0)
    assert work(database, loop) == 6
    assert database.one("SELECT count(*) FROM taskflow.tasks") == 0


def test_what_was_looked_at_is_not_looked_at_again_before_a_day_has_passed(database: Database) -> None:
    keep(database, "default", completed=60)
    ended(database, "default", "completed", timedelta(minutes=10))
    now = datetime.now(UTC)
    loop = QueueRetention(now=lambda: now)
    work(database, loop)
    assert left(database) == set()
    behind = ended(database, "default", "completed", timedelta(minutes=20))
    work(database, loop)
    assert left(database) == {behind}
    now -= timedelta(days=2)  # the clock is set, or a day has passed
    work(database, loop)
    now += timedelta(days=2)
    work(database, loop)
    assert left(database) == set()


@pytest.mark.parametrize("seconds", ["3153600000", "1e11", "1e300", "1e400"])
def test_a_queue_that_keeps_since_before_all_dates_stops_no_other(database: Database, seconds: str) -> None:
    database.connection.execute(
        "INSERT INTO taskflow.queues (name, retention) VALUES ('ages', %s)", [f'{{"completed": {seconds}}}']
    )
    keep(database, "short", completed=3600)
    stays = ended(database, "ages", "completed", timedelta(hours=25))
    ended(database, "short", "completed", timedelta(hours=25))
    work(database)
    assert left(database) == {stays}


def test_a_clock_that_is_ahead_removes_nothing_too_early(database: Database) -> None:
    keep(database, "default", completed=3600)
    stays = ended(database, "default", "completed", timedelta(minutes=10))
    work(database, QueueRetention(now=lambda: datetime.now(UTC) + timedelta(days=1)))
    assert left(database) == {stays}


def test_one_that_somebody_retries_at_this_moment_stays(database: Database) -> None:
    keep(database, "default", completed=60)
    retried, gone = (ended(database, "default", "completed", timedelta(minutes=10)) for _ in range(2))
    with psycopg.connect(database.dsn) as operator:
        operator.execute("SELECT taskflow.retry_task(%s)", [retried])
        work(database)
        operator.commit()
    assert database.all("SELECT id FROM taskflow.tasks") == [retried]
    assert gone != retried


@pytest.mark.parametrize("retention", ['{"pending": 1}', '{"completed": "1 day"}', '{"completed": 0}', "[]", "3"])
def test_what_is_no_time_is_refused_where_it_is_set(database: Database, retention: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        database.connection.execute("UPDATE taskflow.queues SET retention = %s", [retention])
