"""The counters since ever: each thing is counted once, and nothing that is counted is forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskflow.leader import Leader
from taskflow.leader.statistics import Statistics
from taskflow.leader.totals import Totals
from taskflow.settings import load
from taskflow.store import statistics
from tests.leader.conftest import Database, ManualClock, wait_until

FINISHED = "SELECT queue, type, completed, failed, retried, dead_lettered, rescued FROM taskflow.read_totals(100, 100)"
CREATED = "SELECT queue, type, created FROM taskflow.read_totals(100, 100) WHERE created > 0 ORDER BY 1, 2"


def begin_an_hour_ago(database: Database) -> None:
    database.connection.execute(
        "UPDATE taskflow.totals_counted SET minute = date_trunc('hour', now() - interval '1 h')"
    )


def count_created(database: Database) -> None:
    """Note the last id, and count up to it: nothing is open here that it would have to wait for."""
    for _ in range(2):
        while statistics.count_created(database.connection):
            pass


def test_minutes_are_added_once_and_those_that_are_not_final_are_shown_too(database: Database) -> None:
    begin_an_hour_ago(database)
    minute = database.one("SELECT date_trunc('minute', now())")
    for number, age in enumerate((0, 1, 10, 10, 40)):
        database.add_execution(number, minute - timedelta(minutes=age))
    database.add_execution(9, minute - timedelta(minutes=10), outcome="failed", next_state="retrying")
    database.add_execution(10, minute - timedelta(minutes=10), outcome="timed_out", next_state="dead_letter")
    database.add_execution(11, minute - timedelta(minutes=10), outcome="lost", next_state="pending")
    counted = Statistics(clock=ManualClock())
    totals = Totals(lambda: counted.final, clock=ManualClock())
    expected = [("default", "t", 5, 2, 1, 1, 1)]

    for _ in range(3):
        counted.work(database.connection)
        assert database.all(FINISHED) == expected
        totals.work(database.connection)
        assert database.all(FINISHED) == expected

    assert database.one("SELECT completed FROM taskflow.task_totals") == 3  # the last minutes are not final
    database.connection.execute("DELETE FROM taskflow.task_stats WHERE minute < now() - interval '5 min'")
    assert database.all(FINISHED) == expected  # what is dropped after some months has been added


def test_nothing_is_added_before_a_new_leader_has_caught_up(database: Database) -> None:
    begin_an_hour_ago(database)
    counted = Statistics(clock=ManualClock())

    Totals(lambda: counted.final, clock=ManualClock()).work(database.connection)

    assert database.one("SELECT minute < now() - interval '59 min' FROM taskflow.totals_counted") is True


def test_every_end_of_an_attempt_is_counted_by_what_became_of_its_task(database: Database) -> None:
    worker = database.register()
    database.enqueue(5)
    outcomes = ["succeeded", "failed", "failed", "timed_out", "snoozed"]
    details = ["null", '{"error": "x"}', '{"error": "x", "final": true}', '{"error": "x"}', '{"seconds": 9}']
    claimed = sorted(database.claim(worker, 5))
    database.connection.execute(
        "SELECT taskflow.complete_tasks(%s, %s, %s, array_fill(0::float8, '{5}'), array_fill(NULL::jsonb, '{5}'), %s,"
        " %s::jsonb[])",
        (worker, [id for id, _ in claimed], [attempt for _, attempt in claimed], outcomes, details),
    )

    Statistics(clock=ManualClock()).work(database.connection)

    assert database.all(FINISHED) == [("default", "t", 1, 3, 2, 1, 0)]


def test_what_was_created_is_counted_once_wherever_it_has_gone(database: Database) -> None:
    worker = database.register()
    database.enqueue(10)
    claimed = database.claim(worker, 4)
    database.connection.execute(
        "SELECT taskflow.complete_tasks(%s, %s, %s, array_fill(0::float8, '{4}'), array_fill(NULL::jsonb, '{4}'))",
        (worker, sorted(id for id, _ in claimed), [1] * 4),
    )
    database.connection.execute("SELECT taskflow.enqueue('other', '{}', queue => 'mail')")

    for _ in range(3):
        count_created(database)

    assert database.all(CREATED) == [("default", "t", 10), ("mail", "other", 1)]
    database.enqueue(2)
    count_created(database)
    assert database.all(CREATED) == [("default", "t", 12), ("mail", "other", 1)]


def test_much_is_counted_in_portions(database: Database) -> None:
    database.enqueue(25)
    assert statistics.count_created(database.connection) is False  # notes the last id

    portions = [database.one("SELECT taskflow.count_created(10)") for _ in range(3)]

    assert portions == [True, True, False]
    assert database.all(CREATED) == [("default", "t", 25)]


def test_a_task_that_is_committed_late_is_waited_for(database: Database) -> None:
    with database.connect() as late, late.transaction():
        late.execute("SELECT taskflow.enqueue('slow', '{}')")
        database.enqueue(3)
        for _ in range(3):
            count_created(database)
        assert database.all(CREATED) == []
    count_created(database)
    assert database.all(CREATED) == [("default", "slow", 1), ("default", "t", 3)]


def test_nobody_is_waited_for_for_ever(database: Database) -> None:
    with database.connect() as late, late.transaction():
        late.execute("SELECT taskflow.enqueue('slow', '{}')")
        database.enqueue(3)
        count_created(database)
        database.connection.execute("UPDATE taskflow.totals_counted SET noted_at = noted_at - interval '3 min'")
        count_created(database)
        assert database.all(CREATED) == [("default", "t", 3)]


@pytest.mark.parametrize(("queues", "types"), [(1, 9), (9, 1), (1, 1), (0, 0)])
def test_the_names_known_longest_have_rows_and_the_rest_is_added_up(
    database: Database, queues: int, types: int
) -> None:
    for age, (queue, type_) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("c", "z")]):
        database.connection.execute(
            "INSERT INTO taskflow.task_totals (queue, type, first_seen, created)"
            " VALUES (%s, %s, now() - %s * interval '1 day', 1)",
            (queue, type_, age),
        )

    rows = database.all("SELECT queue, type, created FROM taskflow.read_totals(%s, %s) ORDER BY 1, 2", queues, types)

    assert (
        rows
        == {
            (1, 9): [("c", "z", 1), ("other", "x", 2), ("other", "y", 1)],
            (9, 1): [("a", "other", 2), ("b", "other", 1), ("c", "z", 1)],
            (1, 1): [("c", "z", 1), ("other", "other", 3)],
            (0, 0): [("other", "other", 4)],
        }[queues, types]
    )


def test_created_tasks_are_found_by_the_primary_keys(database: Database) -> None:
    database.enqueue(1000)
    database.connection.execute("SET enable_seqscan = off")
    database.connection.execute("SET enable_bitmapscan = off")

    plan = "\n".join(
        database.all(
            "EXPLAIN SELECT queue, type, count(*) FROM taskflow.tasks WHERE id > 10 AND id <= 20 GROUP BY 1, 2"
        )
    )

    assert "tasks_live_pkey" in plan
    assert "Seq Scan" not in plan


def test_a_leader_counts_what_is_created_and_what_becomes_of_it(
    database: Database, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("statistics", "totals"):
        monkeypatch.setattr(f"taskflow.leader.{module}.INTERVAL_SECONDS", 0.05)
        monkeypatch.setattr(f"taskflow.leader.{module}.REST", 0)
    leader = Leader(load(database_url=dsn))
    leader.start()
    try:
        wait_until(lambda: database.one("SELECT minute > now() - interval '4 min' FROM taskflow.totals_counted"))
        worker = database.register()
        database.enqueue(3)
        ((task, attempt),) = database.claim(worker, 1)
        database.connection.execute(
            "SELECT taskflow.complete_tasks(%s, ARRAY[%s::bigint], ARRAY[%s], ARRAY[0::float8], ARRAY[NULL::jsonb])",
            (worker, task, attempt),
        )
        counts = "SELECT queue, type, created, completed FROM taskflow.read_totals(9, 9)"
        wait_until(lambda: database.all(counts) == [("default", "t", 3, 1)])
    finally:
        leader.stop(5)
