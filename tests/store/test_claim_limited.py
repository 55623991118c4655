"""What claim_limited guarantees: limits of a queue hold exactly, whoever claims, and nothing else is held back."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from taskflow.store import bells, tasks
from taskflow.store.arrays import texts
from taskflow.store.tasks import BOTTOM
from tests.store.support import Connection, claim, claim_limited, complete, insert, limit, row, worker


def running(connection: Connection) -> int:
    (found,) = connection.execute("SELECT count(*) FROM taskflow.tasks WHERE state = 'running'").fetchall()
    return int(found[0])


class TestMaxWorkers:
    def test_no_more_run_than_may_and_an_end_makes_room_for_one(self, connection: Connection) -> None:
        limit(connection, max_workers=3)
        ids = insert(connection, 5)
        me, other = worker(connection), worker(connection)
        first = claim_limited(connection, me, 2)
        second = claim_limited(connection, other)
        assert sorted(task.id for task in first.tasks + second.tasks) == ids[:3]
        assert (first.room, second.room) == (1, 0)

        third = claim_limited(connection, me)
        assert (third.tasks, third.held_seconds, third.room) == ([], float("inf"), 0)

        complete(connection, other, second.tasks)
        assert [task.id for task in claim_limited(connection, me).tasks] == [ids[3]]
        assert running(connection) == 3

    def test_what_ends_in_whatever_way_makes_room(self, connection: Connection) -> None:
        limit(connection, max_workers=1, retry_delay=0)
        insert(connection, 6)
        me = worker(connection)
        for outcome in ("succeeded", "failed", "snoozed", "cancelled"):
            (task,) = claim_limited(connection, me).tasks
            complete(connection, me, [task], outcome, details='{"delay": 0}')
            assert running(connection) == 0
        (task,) = claim_limited(connection, me).tasks
        assert tasks.release(connection, me, [(task.id, task.attempt)]) == 1
        (task,) = claim_limited(connection, me).tasks
        rescued = connection.execute("SELECT taskflow.rescue_tasks(%s, 0)", [me]).fetchone()
        assert rescued == (1,)
        assert len(claim_limited(connection, worker(connection)).tasks) == 1

    def test_many_claiming_at_once_never_exceed_it_and_leave_no_place_empty(
        self, connection: Connection, dsn: str
    ) -> None:
        limit(connection, max_workers=3)
        insert(connection, 300)
        most: list[int] = []
        done = 0

        def work() -> None:
            nonlocal done
            with psycopg.connect(dsn, autocommit=True) as own:
                me = worker(own)
                while done < 300:
                    answer = claim_limited(own, me, 2)
                    if answer.tasks:
                        most.append(running(own))
                        complete(own, me, answer.tasks)
                        done += len(answer.tasks)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert done == 300
        assert max(most) == 3

    def test_what_was_claimed_before_there_was_a_limit_counts(self, connection: Connection) -> None:
        insert(connection, 10)
        me = worker(connection)
        before = claim(connection, me, 2)
        limit(connection, max_workers=3)
        assert len(claim_limited(connection, me).tasks) == 1
        assert row(connection, before[0].id, "state") == ("running",)
        limit(connection, max_workers=2)
        complete(connection, me, before[:1])
        assert claim_limited(connection, me).tasks == []

    def test_what_was_claimed_again_while_the_limit_was_lifted_counts(self, connection: Connection) -> None:
        """Its earlier claim, by the same worker, lies below the floor of others."""
        limit(connection, max_workers=2, retry_delay=0)
        insert(connection, 3)
        me, busy = worker(connection), worker(connection)
        first = claim_limited(connection, me).tasks
        complete(connection, me, first, "failed", details='{"delay": 0}')
        held = claim_limited(connection, busy, 1)
        floor = held.floor
        limit(connection, max_workers=None)
        again = claim(connection, me, 1)
        assert again[0].id in {task.id for task in first}
        limit(connection, max_workers=2)
        assert claim_limited(connection, busy, floor=floor).tasks == []
        assert running(connection) == 2

    def test_the_floor_leaves_out_what_has_ended_and_nothing_that_runs(self, connection: Connection) -> None:
        limit(connection, max_workers=2)
        insert(connection, 10)
        me = worker(connection)
        old = claim_limited(connection, me, 1)
        floor = old.floor
        assert floor > 0
        for _ in range(4):
            answer = claim_limited(connection, me, floor=floor)
            assert len(answer.tasks) == 1
            assert answer.floor == floor  # the first one still runs
            complete(connection, me, answer.tasks)
        complete(connection, me, old.tasks)
        answer = claim_limited(connection, me, floor=floor)
        assert len(answer.tasks) == 2
        assert answer.floor > floor
        assert claim_limited(connection, me, floor=answer.floor).room == 0

    def test_what_the_same_worker_has_claimed_twice_counts_once(self, connection: Connection) -> None:
        limit(connection, max_workers=2, retry_delay=0)
        insert(connection)
        me = worker(connection)
        first = claim_limited(connection, me, 1)
        complete(connection, me, first.tasks, "failed", details='{"retry_after": 0}')
        again = claim_limited(connection, me, 1, floor=first.floor)
        assert (again.tasks[0].id, again.room) == (first.tasks[0].id, 1)
        insert(connection)
        assert len(claim_limited(connection, me, floor=again.floor).tasks) == 1

    def test_what_has_ended_fills_no_place_whoever_looks_and_since_when(self, connection: Connection) -> None:
        limit(connection, max_workers=10)
        insert(connection, 40)
        me = worker(connection)
        for _ in range(18):
            answer = claim_limited(connection, me, 2)
            assert (len(answer.tasks), answer.room) in {(2, 8), (2, 6), (2, 4)}
            complete(connection, me, answer.tasks)
        claimed = [len(claim_limited(connection, me, 3).tasks) for _ in range(5)]
        assert (claimed, running(connection)) == ([3, 1, 0, 0, 0], 4)

    def test_a_claim_moves_no_row_and_records_the_queue_if_it_is_to_be_counted(self, connection: Connection) -> None:
        moved = "SELECT n_tup_upd - n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'tasks_live'"
        insert(connection, 1000)
        me = worker(connection)
        for settings, recorded in (
            ({"max_workers": 5000}, "default"),
            ({"max_workers": None, "rate_limit": 999}, None),
        ):
            limit(connection, **settings)
            with connection.transaction():
                assert len(claim_limited(connection, me, 300).tasks) == 300
                assert connection.execute(moved).fetchone() == (0,)
            last = connection.execute("SELECT queue FROM taskflow.claims ORDER BY id DESC LIMIT 1").fetchone()
            assert last == (recorded,)

    def test_a_queue_that_is_paused_gives_nothing_and_is_not_held_back_by_a_limit(self, connection: Connection) -> None:
        limit(connection, max_workers=3, paused=True)
        insert(connection)
        answer = claim_limited(connection, worker(connection))
        assert (answer.tasks, answer.held_seconds) == ([], 0)

    def test_tasks_are_held_ready_only_where_the_limit_is_far(self, connection: Connection) -> None:
        limit(connection, max_workers=100)
        insert(connection, 200)
        me = worker(connection)
        assert len(claim_limited(connection, me, 200, free=5).tasks) == 50  # half of what may run
        assert len(claim_limited(connection, me, 200, free=5).tasks) == 5
        assert len(claim_limited(connection, me, 200, free=0).tasks) == 0

    def test_what_has_ended_behind_a_long_task_is_forgotten_before_it_is_much(self, connection: Connection) -> None:
        limit(connection, max_workers=20)
        insert(connection, 1, priority=3)
        me = worker(connection)
        long = claim_limited(connection, me, 1)
        floor, most = long.floor, 0
        for _ in range(100):
            insert(connection, 15)
            answer = claim_limited(connection, me, 15, floor=floor)
            assert len(answer.tasks) == 15
            complete(connection, me, answer.tasks)
            floor = answer.floor
            (claims,) = connection.execute("SELECT count(*) FROM taskflow.claims").fetchall()[0]
            most = max(most, claims)
        assert floor == long.floor
        assert most <= (4 * 20 + 500) / 15 + 2
        answer = claim_limited(connection, me, 30, floor=floor)
        assert (answer.tasks, answer.room) == ([], 19)
        complete(connection, me, long.tasks)


class TestRates:
    def test_no_more_start_in_a_period_than_may(self, connection: Connection) -> None:
        limit(connection, rate_limit=4, rate_period=3600)
        insert(connection, 10)
        me = worker(connection)
        assert [len(claim_limited(connection, me, wanted).tasks) for wanted in (3, 3, 3)] == [3, 1, 0]
        held = claim_limited(connection, me).held_seconds
        assert 3600 < held <= 3600 + 36 + 1  # one part in a hundred more than the period

    def test_a_start_counts_until_it_has_left_the_window(self, connection: Connection) -> None:
        limit(connection, rate_limit=4, rate_period=3600)
        insert(connection, 10)
        me = worker(connection)
        claim_limited(connection, me, 3)
        connection.execute("UPDATE taskflow.rate_windows SET window_start = window_start - interval '3600 s'")
        assert len(claim_limited(connection, me).tasks) == 1
        connection.execute("UPDATE taskflow.rate_windows SET window_start = window_start - interval '37 s'")
        assert len(claim_limited(connection, me).tasks) == 3
        (left,) = connection.execute("SELECT sum(starts) FROM taskflow.rate_windows").fetchall()
        assert left == (4,)

    def test_a_clock_that_is_set_back_holds_nobody_up(self, connection: Connection) -> None:
        limit(connection, rate_limit=1, rate_period=10)
        insert(connection, 2)
        me = worker(connection)
        claim_limited(connection, me)
        connection.execute("UPDATE taskflow.rate_windows SET window_start = window_start + interval '1 day'")
        assert len(claim_limited(connection, me).tasks) == 1

    def test_a_type_has_a_limit_of_its_own_and_lets_the_others_pass(self, connection: Connection) -> None:
        limit(connection, type_limits='{"mail": {"rate_limit": 2, "rate_period": 3600}}')
        mails = insert(connection, 5, type="mail")
        others = insert(connection, 5)
        me = worker(connection)
        answer = claim_limited(connection, me, 6, types=("noop", "mail"))
        assert sorted(task.id for task in answer.tasks) == [*mails[:2], *others[:4]]
        answer = claim_limited(connection, me, 6, types=("noop", "mail"))
        assert [task.id for task in answer.tasks] == others[4:]
        answer = claim_limited(connection, me, 6, types=("noop", "mail"))
        assert answer.tasks == []
        assert 3600 < answer.held_seconds < 3700

    def test_a_type_near_its_limit_waits_for_a_slot_that_is_free(self, connection: Connection) -> None:
        limit(connection, type_limits='{"noop": {"rate_limit": 10, "rate_period": 3600}}')
        insert(connection, 20)
        me = worker(connection)
        assert len(claim_limited(connection, me, 6).tasks) == 6
        answer = claim_limited(connection, me, 6, free=0)
        assert (answer.tasks, answer.held_seconds) == ([], 0)
        assert len(claim_limited(connection, me, 6, free=1).tasks) == 1

    def test_a_type_that_is_paused_waits_and_lets_the_others_pass(self, connection: Connection) -> None:
        limit(connection, type_limits='{"mail": {"paused": true}}')
        insert(connection, 2, type="mail")
        (other,) = insert(connection)
        answer = claim_limited(connection, worker(connection), types=("noop", "mail"))
        assert [task.id for task in answer.tasks] == [other]


def test_what_waits_long_rises_where_the_queue_says_so(connection: Connection) -> None:
    limit(connection, aging_seconds=60)
    minutes = {"low, fresh": (0, 0.5), "low, a minute": (0, 1.5), "low, three": (0, 3.5), "normal, two": (1, 2.5)}
    ids = {}
    for name, (priority, age) in minutes.items():
        (ids[name],) = insert(connection, priority=priority)
        connection.execute(
            "UPDATE taskflow.tasks SET run_at = now() - %s * interval '1 minute' WHERE id = %s", [age, ids[name]]
        )
    (ids["high, fresh"],) = insert(connection, priority=2)
    me = worker(connection)
    order = [claim_limited(connection, me, 1).tasks[0].id for _ in ids]
    names = {task_id: name for name, task_id in ids.items()}
    assert [names[task_id] for task_id in order] == [
        "normal, two", "low, three", "high, fresh", "low, a minute", "low, fresh"
    ]  # fmt: skip


def test_a_queue_may_be_named_twice_with_a_share_first(connection: Connection) -> None:
    insert(connection, 8, queue="a")
    insert(connection, 2, queue="b")
    claimed = tasks.claim(
        connection,
        worker(connection),
        ["a", "b", "a", "b"],
        texts(["noop"]),
        9,
        [BOTTOM] * 16,
        options='{"most": [3, 3, null, null]}',
    )
    assert sorted(task.queue for task in claimed) == ["a"] * 7 + ["b"] * 2


@pytest.mark.parametrize(
    "limits",
    ["[]", '{"a": 1}', '{"a": {"rate_limit": "ten"}}', '{"a": {"rate_limit": 0}}', '{"a": {"rate_limit": 1e12}}',
     '{"a": {"rate_limit": 1, "rate_period": 0}}', '{"a": {"rate_period": "1 s"}}', '{"a": {"paused": 1}}',
     '{"a": {}, "b": {"paused": "yes"}}', '{"a": {"rate_limit": [1]}}'],
)  # fmt: skip
def test_what_is_no_limit_of_a_type_is_refused_where_it_is_set(connection: Connection, limits: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        limit(connection, type_limits=limits)


@pytest.mark.parametrize(
    ("settings", "claimed"),
    [({"type_limits": '{"noop": {}}'}, 2), ({"type_limits": '{"noop": {"rate_limit": null, "paused": null}}'}, 2),
     ({"type_limits": '{"noop": {"rate_limit": 1.4, "rate_period": 1e300}}'}, 1),
     ({"type_limits": '{"noop": {"rate_limit": 1, "rate_period": 1e400}}'}, 1),
     ({"rate_limit": 1, "rate_period": float("nan")}, 1), ({"rate_limit": 1, "rate_period": float("inf")}, 1),
     ({"rate_limit": 2, "rate_period": 1e-300}, 2), ({"aging_seconds": float("inf")}, 2),
     ({"aging_seconds": 1e-300}, 2)],
)  # fmt: skip
def test_odd_limits_are_obeyed_too(connection: Connection, settings: dict[str, Any], claimed: int) -> None:
    limit(connection, **settings)
    insert(connection, 2)
    assert len(claim_limited(connection, worker(connection)).tasks) == claimed


def test_a_task_that_goes_back_is_no_longer_counted_among_those_that_run(connection: Connection) -> None:
    limit(connection, max_workers=3)
    me = worker(connection)
    insert(connection, 3)
    failing, given_back, _ = claim_limited(connection, me).tasks
    for back, room in ((failing, 1), (given_back, 2)):
        if back is failing:
            complete(connection, me, [back], "failed", details='{"retry_after": 9}')
        else:
            assert tasks.release(connection, me, [(back.id, back.attempt)]) == 1
        assert claim_limited(connection, me, types=("another",)).room == room


def test_what_waits_is_looked_for_only_where_somebody_sleeps(connection: Connection, dsn: str) -> None:
    """It passes over everything that runs."""
    looks = "SELECT idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'tasks_live'"

    def looks_when_told() -> int:
        with connection.transaction():
            ((before,),) = connection.execute(looks).fetchall()
            tasks.ring_waiting(connection, ["default"])
            ((after,),) = connection.execute(looks).fetchall()
        return int(after - before)

    insert(connection)
    assert looks_when_told() == 0
    with psycopg.connect(dsn, autocommit=True) as sleeper:
        sleeper.execute("LISTEN taskflow_wake")
        assert bells.take(sleeper, ["default"])
        assert looks_when_told() > 0
        assert [notified.payload for notified in sleeper.notifies(timeout=5, stop_after=1)] == ["default"]
