"""The leader fires schedules: each fire time once, on time, however many leaders there are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from taskflow.leader.looper import Looper
from taskflow.leader.schedules import Schedules
from tests.leader.conftest import Database, wait_until

TASKS = "SELECT count(*) FROM taskflow.tasks WHERE schedule_id = %s"

# What a leader does last before it waits for the first time.
# Whichever of the two it last did: it forgets old runs now and then, when it has read.
HAS_READ = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND (query LIKE '%%next_run_at <%%' OR query = 'SELECT taskflow.forget_schedule_runs($1)')"
)
HAS_LOOKED = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle'"
    " AND query = 'SELECT taskflow.forget_schedule_runs($1)'"
)


def add(database: Database, name: str = "s", **columns: Any) -> int:
    """A schedule as a SQL user writes it: when it fires next is for the leader to work out, unless it is given."""
    values = {"name": name, "type": "t", **columns}
    if "cron" not in values:
        values.setdefault("interval", 3600)
    names = ", ".join(f'"{column}"' for column in values)
    places = ", ".join(["%s"] * len(values))
    return int(
        database.one(f"INSERT INTO taskflow.schedules ({names}) VALUES ({places}) RETURNING id", *values.values())
    )


def now(database: Database) -> datetime:
    found: datetime = database.one("SELECT clock_timestamp()")
    return found.astimezone(UTC)


def row(database: Database, schedule: int) -> dict[str, Any]:
    found = database.one("SELECT to_jsonb(s) FROM taskflow.schedules s WHERE id = %s", schedule)
    assert isinstance(found, dict)
    return found


def runs(database: Database, schedule: int) -> list[datetime]:
    """The fire times that created a task, in order."""
    found = database.all(
        "SELECT fire_at FROM taskflow.schedule_runs WHERE schedule_id = %s AND task_id IS NOT NULL ORDER BY 1", schedule
    )
    return [time.astimezone(UTC) for time in found]


@pytest.fixture
def loopers(dsn: str) -> Iterator[list[Looper]]:
    """Put loopers here, and they are stopped at the end."""
    started: list[Looper] = []
    yield started
    for looper in started:
        looper.stop(5)


def start(dsn: str, loopers: list[Looper], count: int = 1) -> None:
    for number in range(count):
        looper = Looper(f"schedules {number}", dsn, [Schedules()])
        loopers.append(looper)
        looper.start()


def work(database: Database) -> None:
    """Do what is to be done now, on the test's own connection."""
    loop = Schedules()
    loop.begin(database.connection)
    for _ in range(4):
        loop.work(database.connection)


class TestFiring:
    def test_a_task_has_what_the_schedule_says_and_its_fire_time(self, database: Database) -> None:
        due = now(database) - timedelta(seconds=1)
        options = '{"max_attempts": 2, "timeout": 9, "retry_strategy": "fixed", "tags": ["a"], "metadata": {"m": 1}}'
        schedule = add(
            database, type="mail", queue="post", payload='{"to": "a"}', priority=3, options=options, next_run_at=due
        )
        work(database)
        task = database.one("SELECT to_jsonb(t) FROM taskflow.tasks t WHERE schedule_id = %s", schedule)
        assert (task["type"], task["queue"], task["payload"], task["priority"]) == ("mail", "post", {"to": "a"}, 3)
        assert (task["max_attempts"], task["timeout"], task["retry_strategy"]) == (2, 9, "fixed")
        assert (task["tags"], task["metadata"], task["state"]) == (["a"], {"m": 1}, "pending")
        assert datetime.fromisoformat(task["run_at"]) == due
        assert database.one("SELECT task_id FROM taskflow.schedule_runs WHERE fire_at = %s", due) == task["id"]
        after = row(database, schedule)
        assert (after["run_count"], datetime.fromisoformat(after["last_run_at"])) == (1, due)
        assert datetime.fromisoformat(after["next_run_at"]) > now(database)
        assert after["version"] == 1, "who reads a schedule and changes it is not disturbed by its firing"

    def test_a_schedule_written_by_sql_gets_its_time_and_fires(
        self, database: Database, dsn: str, loopers: list[Looper]
    ) -> None:
        start(dsn, loopers)
        wait_until(lambda: database.one(HAS_LOOKED))
        began = time.monotonic()
        yearly = add(database, "yearly", cron="@yearly", timezone="Europe/Berlin")
        wait_until(lambda: row(database, yearly)["next_run_at"])
        assert time.monotonic() - began < 3, "it was woken; it looks by itself every five seconds"
        assert database.one(TASKS, yearly) == 0
        soon = add(database, "soon", interval=0.3)
        wait_until(lambda: database.one(TASKS, soon) >= 2)

    def test_one_that_is_paused_deleted_or_changed_does_not_fire_at_its_old_time(
        self, database: Database, dsn: str, loopers: list[Looper]
    ) -> None:
        start(dsn, loopers)
        at = now(database) + timedelta(seconds=5)  # a busy machine takes a while to read them ahead
        paused, deleted, moved, left = (
            add(database, name, next_run_at=at) for name in ("paused", "deleted", "moved", "left")
        )
        wait_until(lambda: database.one(HAS_READ) > 1)  # this connection asks for it too
        database.connection.execute("UPDATE taskflow.schedules SET enabled = false WHERE id = %s", [paused])
        database.connection.execute("DELETE FROM taskflow.schedules WHERE id = %s", [deleted])
        database.connection.execute(
            "UPDATE taskflow.schedules SET next_run_at = %s, version = 2 WHERE id = %s", [at + timedelta(days=1), moved]
        )
        wait_until(lambda: database.one(TASKS, left) == 1)
        assert database.one("SELECT count(*) FROM taskflow.tasks") == 1

    def test_a_fire_time_that_comes_again_creates_no_second_task(self, database: Database) -> None:
        due = now(database) - timedelta(seconds=1)
        schedule = add(database, next_run_at=due)
        work(database)
        database.connection.execute("UPDATE taskflow.schedules SET next_run_at = %s", [due])
        work(database)
        assert runs(database, schedule) == [due]
        assert row(database, schedule)["run_count"] == 1
        assert datetime.fromisoformat(row(database, schedule)["next_run_at"]) > now(database)

    def test_a_wrong_value_keeps_one_schedule_from_firing_and_no_other(self, database: Database) -> None:
        due = now(database) - timedelta(seconds=1)
        for number in range(20):
            add(database, f"good {number}", next_run_at=due)
        bad = add(database, "bad", next_run_at=due, options='{"timeout": "soon"}')
        broken = add(database, "broken", cron="every day", next_run_at=due)
        with capture_logs() as logs:
            work(database)
        assert database.one("SELECT count(*) FROM taskflow.tasks") == 20
        refused = [log["schedule_id"] for log in logs if log["event"] == "schedule_refused"]
        assert sorted(refused) == [bad, broken]

    def test_a_schedule_that_somebody_holds_fires_when_it_is_given_back_and_stops_no_other(
        self, database: Database, dsn: str, loopers: list[Looper]
    ) -> None:
        due = now(database)
        held, free = add(database, "held", next_run_at=due), add(database, "free", next_run_at=due)
        with database.connect() as other:
            with other.transaction():
                other.execute("SELECT FROM taskflow.schedules WHERE id = %s FOR UPDATE", [held])
                start(dsn, loopers)
                wait_until(lambda: database.one(TASKS, free) == 1)
                assert database.one(TASKS, held) == 0
            wait_until(lambda: database.one(TASKS, held) == 1)


class TestLimits:
    def test_max_runs_ends_it(self, database: Database, dsn: str, loopers: list[Looper]) -> None:
        schedule = add(database, interval=0.05, max_runs=3)
        start(dsn, loopers)
        wait_until(lambda: row(database, schedule)["run_count"] == 3)
        assert row(database, schedule)["next_run_at"] is None
        time_after = now(database) + timedelta(seconds=0.3)
        wait_until(lambda: now(database) > time_after)
        assert database.one(TASKS, schedule) == 3

    def test_ends_at_ends_it_and_starts_at_begins_it(self, database: Database, dsn: str, loopers: list[Looper]) -> None:
        begin = now(database) + timedelta(seconds=0.5)
        schedule = add(database, interval=0.2, starts_at=begin, ends_at=begin + timedelta(seconds=0.5))
        start(dsn, loopers)
        wait_until(lambda: now(database) > begin + timedelta(seconds=1))
        assert runs(database, schedule) == [begin + timedelta(seconds=0.2) * step for step in range(3)]
        assert row(database, schedule)["next_run_at"] is None

    def test_jitter_moves_the_task_and_not_the_fire_time(self, database: Database) -> None:
        due = now(database) - timedelta(seconds=1)
        for number in range(20):
            add(database, f"{number}", next_run_at=due, jitter=600)
        work(database)
        late = database.all(
            "SELECT extract(epoch FROM t.run_at - r.fire_at)::float8 FROM taskflow.tasks t"
            " JOIN taskflow.schedule_runs r ON r.task_id = t.id"
        )
        assert len(late) == 20
        assert all(0 <= seconds <= 600 for seconds in late)
        assert max(late) - min(late) > 60

    def test_overlap_skip_leaves_out_what_would_run_beside_the_task_before(self, database: Database) -> None:
        schedule = add(database, next_run_at=now(database) - timedelta(seconds=1), overlap="skip", type="t")
        work(database)
        for _ in range(2):
            database.connection.execute("UPDATE taskflow.schedules SET next_run_at = now() - interval '1 s'")
            with capture_logs() as logs:
                work(database)
            assert [log["event"] for log in logs] == ["schedule_overlapped"]
        assert (database.one(TASKS, schedule), row(database, schedule)["run_count"]) == (1, 1)

        worker = database.register()
        database.complete(worker, database.claim(worker, 1))
        database.connection.execute("UPDATE taskflow.schedules SET next_run_at = now() - interval '0.5 s'")
        work(database)
        assert (database.one(TASKS, schedule), row(database, schedule)["run_count"]) == (2, 2)

    def test_overlap_skip_sees_a_task_that_was_retried_long_after(self, database: Database) -> None:
        schedule = add(database, next_run_at=now(database) - timedelta(seconds=1), overlap="skip", type="t")
        worker = database.register()
        for _ in range(25):
            database.connection.execute("UPDATE taskflow.schedules SET next_run_at = clock_timestamp()")
            work(database)
            database.complete(worker, database.claim(worker, 1))
        first = database.one("SELECT min(id) FROM taskflow.tasks")
        database.one("SELECT taskflow.retry_task(%s)", first)
        database.connection.execute("UPDATE taskflow.schedules SET next_run_at = clock_timestamp()")
        with capture_logs() as logs:
            work(database)
        assert [log["event"] for log in logs] == ["schedule_overlapped"]
        assert database.one(TASKS, schedule) == 25

    def test_a_run_by_hand_counts_and_is_seen_by_overlap(self, database: Database) -> None:
        schedule = add(database, overlap="skip", enabled=False, max_runs=2)
        task = database.one("SELECT taskflow.run_schedule(%s)", schedule)
        assert database.one("SELECT schedule_id FROM taskflow.tasks WHERE id = %s", task) == schedule
        database.connection.execute("UPDATE taskflow.schedules SET enabled = true, next_run_at = now()")
        work(database)
        assert database.one(TASKS, schedule) == 1
        database.one("SELECT taskflow.run_schedule(%s)", schedule)
        assert (row(database, schedule)["run_count"], row(database, schedule)["next_run_at"]) == (2, None)
        assert database.one("SELECT taskflow.run_schedule(%s)", 10**15) is None


class TestDowntime:
    @pytest.mark.parametrize(("policy", "tasks"), [("skip", 0), ("once", 1), ("all", 5)])
    def test_the_policy_decides_about_what_was_missed(self, database: Database, policy: str, tasks: int) -> None:
        due = now(database) - timedelta(hours=4, minutes=30)
        schedule = add(database, starts_at=due, next_run_at=due, missed=policy)
        with capture_logs() as logs:
            work(database)
        assert database.one(TASKS, schedule) == tasks
        following = due + timedelta(hours=5)
        assert datetime.fromisoformat(row(database, schedule)["next_run_at"]) == following
        assert [log["event"] for log in logs] == ([] if policy == "all" else ["schedule_missed"])
        overdue = database.one("SELECT count(*) FROM taskflow.tasks WHERE run_at < now() - interval '1 minute'")
        assert overdue == 0, "what is late is due now, and not before all that waits already"

    def test_all_of_them_stop_at_max_runs_and_with_overlap_skip_one_is_created(self, database: Database) -> None:
        due = now(database) - timedelta(hours=4, minutes=30)
        limited = add(database, "limited", starts_at=due, next_run_at=due, missed="all", max_runs=2)
        alone = add(database, "alone", starts_at=due, next_run_at=due, missed="all", overlap="skip")
        work(database)
        assert (database.one(TASKS, limited), row(database, limited)["next_run_at"]) == (2, None)
        assert (database.one(TASKS, alone), row(database, alone)["run_count"]) == (1, 1)
        assert row(database, alone)["next_run_at"] is not None


class TestManyLeaders:
    def test_each_fire_time_creates_exactly_one_task(self, database: Database, dsn: str, loopers: list[Looper]) -> None:
        many = [add(database, f"{number}", interval=0.25) for number in range(40)]
        start(dsn, loopers, 4)
        wait_until(lambda: row(database, many[-1])["run_count"] >= 12)
        for looper in loopers:
            assert looper.stop(5)
        for schedule in many:
            fired = runs(database, schedule)
            steps = {later - earlier for earlier, later in pairwise(fired)}
            assert steps == {timedelta(seconds=0.25)}, "none left out, none twice"
            assert database.one(TASKS, schedule) == len(fired) == row(database, schedule)["run_count"]

    def test_a_full_minute_that_thousands_share_is_fired_once_by_all_of_them(
        self, database: Database, dsn: str, loopers: list[Looper]
    ) -> None:
        at = now(database) + timedelta(seconds=2)
        database.connection.execute(
            "INSERT INTO taskflow.schedules (name, type, interval, next_run_at)"
            " SELECT n::text, 't', 3600, %s FROM generate_series(1, 2000) n",
            [at],
        )
        start(dsn, loopers, 3)
        seen = database.one("SELECT count(*) FROM taskflow.tasks")
        while seen == 0:
            asked = now(database)
            seen = database.one("SELECT count(*) FROM taskflow.tasks")
            assert seen == 0 or now(database) >= at, "nobody sees a task before its time"
            assert asked < at + timedelta(seconds=10)
        wait_until(lambda: database.one("SELECT count(*) FROM taskflow.tasks") == 2000)
        assert database.one("SELECT count(*), count(DISTINCT schedule_id) FROM taskflow.tasks") == (2000, 2000)
        assert database.one("SELECT count(*) FROM taskflow.schedule_runs") == 2000
        assert database.one("SELECT count(*) FROM taskflow.tasks WHERE run_at <> %s", at) == 0

    def test_one_that_is_killed_while_it_fires_costs_no_fire_time(
        self, database: Database, dsn: str, loopers: list[Looper]
    ) -> None:
        """Its server process is ended again and again, at whatever it is doing."""
        many = [add(database, f"{number}", interval=0.2, missed="all") for number in range(50)]
        start(dsn, loopers, 2)
        ended = 0
        while ended < 6:
            before = row(database, many[0])["run_count"]
            ended += database.one(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'taskflow schedules 0'"
            )
            wait_until(lambda before=before: row(database, many[0])["run_count"] > before)  # type: ignore[misc]
        for looper in loopers:
            assert looper.stop(5)
        for schedule in many:
            fired = runs(database, schedule)
            assert {b - a for a, b in pairwise(fired)} == {timedelta(seconds=0.2)}
            assert database.one(TASKS, schedule) == len(fired)


def test_old_fire_times_are_forgotten_but_for_those_of_live_tasks(database: Database) -> None:
    schedule = add(database, next_run_at=now(database) - timedelta(seconds=1))
    work(database)
    database.connection.execute("UPDATE taskflow.schedule_runs SET fire_at = now() - interval '8 days'")
    database.connection.execute(
        "INSERT INTO taskflow.schedule_runs"
        " SELECT %s, now() - n * interval '1 day', NULL FROM generate_series(1, 20) n",
        [schedule],
    )
    work(database)
    assert database.one("SELECT count(*) FROM taskflow.schedule_runs") == 7
    assert database.one("SELECT count(*) FROM taskflow.schedule_runs WHERE task_id IS NOT NULL") == 1


def test_the_role_of_workers_may_fire(database: Database) -> None:
    schedule = add(database, next_run_at=now(database) - timedelta(seconds=1))
    database.connection.execute("SET ROLE taskflow_worker")
    work(database)
    database.connection.execute("RESET ROLE")
    assert database.one(TASKS, schedule) == 1
