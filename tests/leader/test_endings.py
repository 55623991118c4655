"""The counts of ended tasks: right after whatever happens to the tasks, the leader and the days."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskflow.leader import endings
from taskflow.leader.endings import Endings
from tests.leader.conftest import Database, ManualClock, days_ago

COUNTS = "SELECT state, count FROM taskflow.ended_counts() ORDER BY 1"
TRUTH = """SELECT state::text, count(*) FROM taskflow.tasks
    WHERE state IN ('completed', 'cancelled', 'failed', 'dead_letter')
    GROUP BY 1 ORDER BY 1"""


@pytest.fixture
def loop() -> Endings:
    return Endings(clock=ManualClock())


def counts(database: Database) -> list[Any]:
    found = database.all(COUNTS)
    assert found == database.all(TRUTH)
    return found


def run(database: Database, count: int) -> list[tuple[int, int]]:
    database.enqueue(count)
    worker = database.register()
    claimed = database.claim(worker, count)
    database.complete(worker, claimed)
    return claimed


def test_what_has_ended_is_counted_by_state_and_queue(database: Database, loop: Endings) -> None:
    run(database, 3)
    cancelled = database.enqueue(2)
    for task in cancelled:
        database.one("SELECT taskflow.cancel(%s)", task)
    database.connection.execute(
        "INSERT INTO taskflow.tasks (type, queue, state, finished_at) SELECT 't', 'mail', 'failed', now()"
    )
    database.add_task("dead_letter", days_ago(100))

    loop.work(database.connection)

    assert counts(database) == [("cancelled", 2), ("completed", 3), ("dead_letter", 1), ("failed", 1)]
    assert database.all("SELECT queue, state FROM taskflow.ended_counts(ARRAY['mail'])") == [("mail", "failed")]


def test_counting_again_changes_nothing_and_finds_what_committed_late(database: Database, loop: Endings) -> None:
    run(database, 2)
    loop.work(database.connection)
    loop.work(database.connection)
    assert counts(database) == [("completed", 2)]
    run(database, 1)
    Endings(clock=ManualClock()).work(database.connection)
    assert counts(database) == [("completed", 3)]


@pytest.mark.parametrize("counted_before", [True, False])
def test_what_is_retried_or_removed_is_counted_no_more(database: Database, loop: Endings, counted_before: bool) -> None:
    first, second, _ = run(database, 3)
    if counted_before:
        loop.work(database.connection)
    database.one("SELECT taskflow.retry_task(%s)", first[0])
    database.connection.execute("DELETE FROM taskflow.tasks WHERE id = %s", [second[0]])
    database.connection.execute("DELETE FROM taskflow.executions WHERE task_id = %s", [second[0]])

    for _ in range(2):
        loop.work(database.connection)
        assert counts(database) == [("completed", 1)]


def test_days_from_before_there_were_counts_are_counted(database: Database, loop: Endings) -> None:
    for day in (2, 5):
        database.make_day("tasks_completed", days_ago(day).date())
        database.add_task("completed", days_ago(day))
    run(database, 1)

    for _ in range(4):
        loop.work(database.connection)

    assert counts(database) == [("completed", 3)]


def test_a_day_that_is_loaded_later_is_counted(database: Database) -> None:
    clock = ManualClock()
    loop = Endings(clock=clock)
    run(database, 1)
    loop.work(database.connection)
    database.make_day("tasks_ended", days_ago(3).date())
    database.add_task("failed", days_ago(3))
    clock.advance(endings.UPKEEP_SECONDS + 1)

    loop.work(database.connection)

    assert counts(database) == [("completed", 1), ("failed", 1)]


def test_past_days_become_one_row_and_removals_from_them_are_deducted(database: Database) -> None:
    clock = ManualClock()
    loop = Endings(clock=clock)
    noon = days_ago(3)
    midnight = noon - timedelta(hours=12)
    database.make_day("tasks_completed", noon.date())
    tasks = [database.add_task("completed", at) for at in (midnight, noon, noon, noon + timedelta(hours=11.99))]
    for _ in range(3):
        loop.work(database.connection)
    assert database.all("SELECT minute, whole_day, count FROM taskflow.task_ends") == [(midnight, True, 4)]

    database.one("SELECT taskflow.retry_task(%s)", tasks[0])
    assert counts(database) == [("completed", 3)]
    clock.advance(endings.UPKEEP_SECONDS + 1)
    loop.work(database.connection)

    assert counts(database) == [("completed", 3)]
    assert database.all("SELECT count(*) FROM taskflow.task_removals") == [0]
    assert database.all("SELECT minute, whole_day, count FROM taskflow.task_ends") == [(midnight, True, 3)]


def test_another_leader_goes_on_where_one_stopped_days_ago(database: Database) -> None:
    noon = days_ago(4)
    for day in (4, 3):
        database.make_day("tasks_completed", days_ago(day).date())
    database.add_task("completed", noon)
    database.connection.execute(
        "INSERT INTO taskflow.task_ends (minute, queue, state, count) VALUES (%s, 'default', 'completed', 1)", [noon]
    )
    for at in (noon + timedelta(hours=1), days_ago(3)):
        database.add_task("completed", at)

    loop = Endings(clock=ManualClock())
    for _ in range(3):
        loop.work(database.connection)

    assert counts(database) == [("completed", 3)]


def test_a_day_that_retention_drops_takes_its_counts_along(database: Database) -> None:
    clock = ManualClock()
    loop = Endings(clock=clock)
    days = [database.make_day("tasks_completed", days_ago(day).date()) for day in (3, 4)]
    tasks = [database.add_task("completed", days_ago(day)) for day in (3, 4)]
    for _ in range(4):
        loop.work(database.connection)
    database.one("SELECT taskflow.retry_task(%s)", tasks[1])
    database.connection.execute(f"ALTER TABLE taskflow.tasks_completed DETACH PARTITION taskflow.{days[1]}")
    clock.advance(endings.UPKEEP_SECONDS + 1)

    loop.work(database.connection)

    assert counts(database) == [("completed", 1)]
    assert database.all("SELECT count(*) FROM taskflow.task_removals") == [0]


def test_counting_takes_a_small_part_of_the_time(database: Database) -> None:
    clock = ManualClock()
    loop = Endings(clock=clock)
    run(database, 1)
    loop.work(database.connection)
    original = endings.statistics.count_endings

    def slow(*arguments: Any) -> int:
        clock.advance(1.5)
        return original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(endings.statistics, "count_endings", slow)
        assert loop.work(database.connection) >= 20 * 1.5


def test_only_days_in_question_are_read_and_by_their_index(database: Database) -> None:
    plan = "\n".join(
        database.all(
            "EXPLAIN SELECT count(*) FROM taskflow.tasks e WHERE e.state IN ('completed', 'cancelled', 'failed')"
            " AND e.finished_at >= now() - interval '2 min' AND e.finished_at < now()"
        )
    )
    assert "Subplans Removed" in plan or plan.count("tasks_completed_") <= 4


def test_a_worker_s_rights_are_enough(database: Database) -> None:
    run(database, 2)
    database.connection.execute("SET ROLE taskflow_worker")

    Endings(clock=ManualClock()).work(database.connection)

    database.connection.execute("RESET ROLE")
    assert counts(database) == [("completed", 2)]
