from __future__ import annotations

import threading
import time
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from structlog.testing import capture_logs

from taskflow.leader.retention import Retention
from taskflow.store import partitions
from taskflow.store.connection import repeat_on_conflict
from tests.leader.conftest import Database, days_ago, wait_until

KEEP = {"tasks_completed": timedelta(days=7), "tasks_ended": timedelta(days=30), "executions": timedelta(days=30)}
PARENTS = tuple(KEEP)


def retention(**options: object) -> Retention:
    return Retention(KEEP, **{"detach_seconds": 0.3, "retry_seconds": 0.05, **options})  # type: ignore[arg-type]


def remove(database: Database, loop: Retention | None = None) -> float:
    loop = loop or retention()
    with database.connect() as connection:
        loop.begin(connection)
        return loop.work(connection)


def test_a_day_goes_when_all_of_it_has_expired_and_not_before(database: Database) -> None:
    expired = [database.make_day(parent, days_ago(KEEP[parent].days + 1).date()) for parent in PARENTS]
    kept = [database.make_day(parent, days_ago(KEEP[parent].days).date()) for parent in PARENTS]
    assert remove(database) > 60
    assert [database.exists(name) for name in expired] == [False] * 3
    assert [database.exists(name) for name in kept] == [True] * 3


def test_dead_letters_and_live_tasks_never_expire(database: Database) -> None:
    tasks = [database.add_task("dead_letter", days_ago(1000)), database.add_task("pending")]
    remove(database)
    assert sorted(database.all("SELECT id FROM taskflow.tasks")) == tasks


def test_yesterday_stays_however_short_the_retention(database: Database) -> None:
    short = Retention(dict.fromkeys(PARENTS, timedelta(seconds=1)))
    old = database.make_day("executions", days_ago(2).date())
    remove(database, short)
    assert not database.exists(old)
    assert all(database.exists(f"{parent}_{days_ago(1):%Y%m%d}") for parent in PARENTS)


@pytest.mark.parametrize("days", [36_500, 1_000_000, timedelta.max.days])
def test_what_is_kept_since_before_all_dates_keeps_nothing_else(database: Database, days: int) -> None:
    kept, expired = (database.make_day(parent, days_ago(1000).date()) for parent in ("tasks_completed", "executions"))
    remove(database, Retention({**KEEP, "tasks_completed": timedelta(days=days)}))
    assert database.exists(kept)
    assert not database.exists(expired)


def test_a_day_at_the_end_of_all_dates_keeps_no_other(database: Database) -> None:
    last, expired = (database.make_day("executions", day) for day in (date(9999, 12, 30), days_ago(40).date()))
    database.connection.execute(f"ALTER TABLE taskflow.{last} RENAME TO executions_99991231")
    remove(database)
    assert not database.exists(expired)


@pytest.mark.parametrize(("ahead", "expired_stays"), [(timedelta(days=400), False), (timedelta(days=-400), True)])
def test_a_day_goes_only_when_the_clocks_of_database_and_leader_agree_that_it_has_expired(
    database: Database, ahead: timedelta, expired_stays: bool
) -> None:
    fresh, expired = (database.make_day("executions", days_ago(n).date()) for n in (20, 40))
    remove(database, retention(now=lambda: datetime.now(UTC) + ahead))
    assert database.exists(fresh)
    assert database.exists(expired) == expired_stays


def test_a_dropped_day_of_executions_keeps_the_audit_of_tasks_that_still_exist(database: Database) -> None:
    then = days_ago(40)
    day = database.make_day("executions", then.date())
    dead = database.add_task("dead_letter", then)
    live = database.add_task("pending")
    done = database.add_task("completed", datetime.now(UTC))
    for task in (dead, live, done, 10**9):
        for attempt in (1, 2):
            database.add_execution(task, then, attempt, outcome="failed", error="why", traceback="where", logs="[1]")
    before = database.all("SELECT * FROM taskflow.task_executions WHERE task_id <= %s ORDER BY task_id, attempt", done)

    remove(database)

    assert not database.exists(day)
    after = database.all("SELECT * FROM taskflow.task_executions ORDER BY task_id, attempt")
    assert len(before) == 6
    assert after == before


def test_batches_smaller_than_the_attempts_of_one_task_move_all_of_them(database: Database) -> None:
    then = days_ago(40)
    day = database.make_day("executions", then.date())
    tasks = [database.add_task("dead_letter", then) for _ in range(3)]
    for task in tasks:
        for attempt in range(1, 8):
            database.add_execution(task, then, attempt)
    after: int | None = 0
    while after is not None:
        after = database.one("SELECT taskflow.keep_executions(%s, %s, 2)", day, after)
    assert database.one("SELECT count(*) FROM taskflow.executions_kept") == 21
    assert database.one("SELECT count(*) FROM taskflow.executions") == 0


def test_only_days_of_executions_can_be_moved(database: Database) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        database.one("SELECT taskflow.keep_executions('tasks_live', 0)")


def test_a_kept_audit_goes_with_its_task(database: Database) -> None:
    then = days_ago(40)
    database.make_day("executions", then.date())
    task, gone = database.add_task("dead_letter", then), database.add_task("dead_letter", then)
    database.add_execution(task, then)
    database.add_execution(gone, then)
    remove(database)
    database.one("DELETE FROM taskflow.tasks WHERE id = %s RETURNING 1", gone)
    remove(database)
    assert database.all("SELECT task_id FROM taskflow.executions_kept") == [task]


def test_with_a_readers_transaction_open_retention_waits_nobody_else_does_and_it_goes_on_by_itself(
    database: Database,
) -> None:
    expired = [database.make_day(parent, days_ago(40).date()) for parent in PARENTS]
    task = database.add_task("dead_letter", days_ago(40))
    database.add_execution(task, days_ago(40))
    database.one("SELECT taskflow.ensure_days(31)")  # a month, as migrate makes it
    worker = database.register()
    loop = retention()
    stop = threading.Event()

    def keep_removing() -> None:
        with database.connect() as connection:
            loop.begin(connection)
            while not stop.is_set():
                loop.work(connection)

    thread = threading.Thread(target=keep_removing)
    with capture_logs() as logs, database.connect() as reader:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM taskflow.tasks, taskflow.executions")
        assert remove(database) == 0.05
        thread.start()
        try:
            wait_until(lambda: len([item for item in logs if item["event"] == "retention_waits_for_transaction"]) >= 6)
            database.connection.execute("SET lock_timeout = '1s'")
            slowest = 0.0
            for n in range(100):
                started = time.monotonic()
                database.enqueue(2)
                assert database.complete(worker, database.claim(worker, 2)) == []
                database.one("SELECT count(*) FROM taskflow.task_executions")
                database.one("SELECT taskflow.ensure_days(%s)", 32 + n // 10)
                slowest = max(slowest, time.monotonic() - started)
            assert slowest < 1
            assert reader.execute("SELECT count(*) FROM taskflow.executions").fetchone() == (1,)
            assert all(database.exists(name) for name in expired)
            reader.execute("COMMIT")
            wait_until(lambda: not any(database.exists(name) for name in expired))
        finally:
            reader.rollback()
            stop.set()
            thread.join()
    assert database.all("SELECT task_id FROM taskflow.executions_kept") == [task]
    assert sorted(item["partition"] for item in logs if item["event"] == "day_dropped") == sorted(expired)


def test_under_load_no_statement_waits_long_while_days_come_and_go(database: Database) -> None:
    stop = threading.Event()
    durations: list[float] = []

    def work() -> None:
        with database.connect() as connection:
            mine = Database(connection, database.dsn)
            worker = mine.register()
            while not stop.is_set():
                started = time.monotonic()
                mine.enqueue(5)
                tasks = repeat_on_conflict(lambda: mine.claim(worker, 5))
                repeat_on_conflict(lambda: mine.complete(worker, tasks))  # noqa: B023  (called at once)
                durations.append(time.monotonic() - started)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            days = [database.make_day(parent, days_ago(n).date()) for parent in PARENTS for n in (40, 41, 42)]
            remove(database)
            assert not any(database.exists(name) for name in days)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(durations) > 10
    assert max(durations) < 1


def test_a_detach_that_was_interrupted_is_finalized_first(database: Database) -> None:
    first, second = (database.make_day("tasks_completed", days_ago(n).date()) for n in (41, 40))
    with database.connect() as reader, database.connect() as interrupted:
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM taskflow.tasks")
        interrupted.execute("SET statement_timeout = '100ms'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            interrupted.execute(f"ALTER TABLE taskflow.tasks_completed DETACH PARTITION taskflow.{second} CONCURRENTLY")
    assert [day.name for day in partitions.list_days(database.connection) if day.detach_pending] == [second]

    remove(database)
    assert not database.exists(first)
    assert not database.exists(second)


def test_a_removal_that_ended_between_detach_and_drop_is_finished(database: Database) -> None:
    then = days_ago(40)
    day = database.make_day("executions", then.date())
    task = database.add_task("dead_letter", then)
    database.add_execution(task, then)
    database.connection.execute(f"ALTER TABLE taskflow.executions DETACH PARTITION taskflow.{day} CONCURRENTLY")

    remove(database)
    assert not database.exists(day)
    assert database.all("SELECT task_id FROM taskflow.executions_kept") == [task]


def test_two_leaders_that_remove_the_same_days_leave_nothing_and_lose_nothing(database: Database) -> None:
    then = days_ago(40)
    days = [database.make_day(parent, days_ago(n).date()) for parent in PARENTS for n in (40, 41, 42)]
    tasks = [database.add_task("dead_letter", then) for _ in range(50)]
    for task in tasks:
        database.add_execution(task, then)
    failures: list[Exception] = []

    def lead() -> None:
        loop = retention()
        with database.connect() as connection:
            loop.begin(connection)
            while any(database_has(connection, name) for name in days):
                try:
                    loop.work(connection)
                except psycopg.Error as error:  # the looper would log it and come again
                    failures.append(error)

    threads = [threading.Thread(target=lead) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(database.exists(name) for name in days)
    assert sorted(database.all("SELECT task_id FROM taskflow.executions_kept")) == tasks
    assert len(failures) < 20


def database_has(connection: psycopg.Connection[tuple[object, ...]], name: str) -> bool:
    return connection.execute("SELECT to_regclass('taskflow.' || %s) IS NOT NULL", (name,)).fetchone() == (True,)


def test_without_ownership_nothing_is_removed_and_the_way_out_is_said_once(database: Database) -> None:
    day = database.make_day("executions", days_ago(40).date())
    database.connection.execute("SET ROLE taskflow_worker")
    wanted: list[float] = []
    loop = retention(want_owner=lambda _, seconds: wanted.append(seconds))
    loop.begin(database.connection)
    with capture_logs() as logs:
        loop.work(database.connection)
        loop.work(database.connection)
    assert [item["event"] for item in logs] == ["retention_needs_owner"]
    assert "taskflow scheduler" in logs[0]["way_out"]
    assert database.exists(day)
    assert len(wanted) == 2
    assert min(wanted) > loop.work(database.connection)


def test_who_need_not_drop_days_wants_no_owner(database: Database) -> None:
    database.connection.execute("SET ROLE taskflow_worker")
    retention(want_owner=lambda *_: pytest.fail("nothing has expired")).work(database.connection)


def test_a_table_that_only_looks_like_a_day_is_left_alone(database: Database) -> None:
    database.connection.execute("CREATE TABLE taskflow.executions_20001399 ()")
    remove(database)
    assert database.exists("executions_20001399")
