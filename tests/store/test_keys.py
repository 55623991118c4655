"""What concurrency keys guarantee: no more of a key run than may, in order, and who waits for one holds up nobody."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from taskflow.store import keys, tasks
from taskflow.store.arrays import texts
from taskflow.store.connection import repeat_on_conflict
from taskflow.store.keys import release_waiting_keys
from taskflow.store.tasks import BOTTOM
from taskflow.tasks.task import ClaimedTask
from tests.store.support import Connection, claim, complete, insert, row, worker


def states(connection: Connection, ids: list[int]) -> list[str]:
    return [row(connection, task_id, "state")[0] for task_id in ids]


def claimed(connection: Connection, me: int, wanted: int = 10, **more: Any) -> list[int]:
    return [task.id for task in claim(connection, me, wanted, **more)]


def claim_limited(connection: Connection, me: int, wanted: int = 10, types: tuple[str, ...] = ("noop",)) -> list[int]:
    answer = tasks.claim_limited(
        connection, me, "default", texts(types), free=wanted, wanted=wanted, frontier=[BOTTOM] * 4, floor=0
    )
    return sorted(task.id for task in answer.tasks)


@pytest.fixture
def me(connection: Connection) -> int:
    return worker(connection)


class TestClaims:
    def test_one_of_a_key_runs_the_others_are_blocked_and_hold_nobody_up(self, connection: Connection, me: int) -> None:
        keyed = insert(connection, 3, concurrency_key="ada")
        other = insert(connection, 1, concurrency_key="bob")
        free = insert(connection, 2)

        assert claimed(connection, me, 4) == [keyed[0], *other, *free]

        assert states(connection, keyed) == ["running", "blocked", "blocked"]

    def test_an_end_lets_the_next_go(self, connection: Connection, me: int) -> None:
        keyed = insert(connection, 3, concurrency_key="ada")
        for place, task_id in enumerate(keyed):
            (task,) = claim(connection, me)
            assert task.id == task_id
            assert claim(connection, me) == []
            complete(connection, me, [task])
            assert states(connection, keyed[place + 1 :]) == ["pending", "blocked", "blocked"][: 2 - place]

    @pytest.mark.parametrize("outcome", ["succeeded", "failed", "snoozed", "cancelled", "timed_out"])
    def test_whatever_the_end(self, connection: Connection, me: int, outcome: str) -> None:
        connection.execute("UPDATE taskflow.queues SET retry_delay = 60")
        first, second = insert(connection, 2, concurrency_key="ada")
        (task,) = claim(connection, me)

        complete(connection, me, [task], outcome, details='{"seconds": 60}')

        assert claimed(connection, me) == [second]  # what retries or snoozes does not hold the key while it waits
        assert row(connection, first, "state")[0] in ("completed", "retrying", "scheduled", "cancelled")

    def test_a_retry_waits_for_the_key_like_any_other(self, connection: Connection, me: int) -> None:
        first, second = insert(connection, 2, concurrency_key="ada")
        (task,) = claim(connection, me)
        complete(connection, me, [task], "failed", details='{"retry_after": 0}')
        # It was there first, and is again as soon as its time has come.
        connection.execute("UPDATE taskflow.tasks SET run_at = now() WHERE id = %s", [first])
        (task,) = claim(connection, me)
        assert task.id == second
        complete(connection, me, [task])
        assert claimed(connection, me) == [first]

    def test_what_is_released_or_rescued_gives_its_key_back(self, connection: Connection, me: int) -> None:
        first, second = insert(connection, 2, concurrency_key="ada")
        (task,) = claim(connection, me)
        tasks.release(connection, me, [(task.id, task.attempt)])
        (task,) = claim(connection, me)
        assert task.id == first
        tasks.mark_started(connection, me, [(task.id, task.attempt, 0.0)])
        connection.execute("UPDATE taskflow.queues SET retry_delay = 60")

        assert connection.execute("SELECT taskflow.rescue_tasks(%s, 0)", [me]).fetchone() == (1,)

        assert claimed(connection, worker(connection)) == [second]
        assert row(connection, first, "state") == ("retrying",)

    def test_one_that_is_given_back_after_its_cancellation_lets_the_next_go(
        self, connection: Connection, me: int
    ) -> None:
        keyed = insert(connection, 3, concurrency_key="ada")
        (task,) = claim(connection, me)
        claim(connection, me)
        connection.execute("SELECT taskflow.cancel(%s)", [task.id])
        assert states(connection, keyed) == ["running", "blocked", "blocked"]
        tasks.release(connection, me, [(task.id, task.attempt)])
        assert states(connection, keyed) == ["cancelled", "pending", "blocked"]

    def test_one_that_is_given_back_and_that_others_cannot_run_lets_the_next_go(
        self, connection: Connection, me: int
    ) -> None:
        (first,) = insert(connection, 1, concurrency_key="ada", type="rare")
        (second,) = insert(connection, 1, concurrency_key="ada")
        (task,) = claim(connection, me, types=("rare",))
        assert claim(connection, me) == []
        tasks.release(connection, me, [(task.id, task.attempt)])
        assert states(connection, [first, second]) == ["pending", "pending"]
        assert claimed(connection, me) == [second]

    def test_as_many_run_as_the_queue_says(self, connection: Connection, me: int) -> None:
        connection.execute("UPDATE taskflow.queues SET key_limit = 3")
        keyed = insert(connection, 7, concurrency_key="ada")
        first = claim(connection, me, 2)
        assert [task.id for task in first] == keyed[:2]
        second = claim(connection, me)
        assert [task.id for task in second] == [keyed[2]]
        complete(connection, me, first + second)
        assert claimed(connection, me) == keyed[3:6]

    def test_keys_of_two_queues_have_nothing_to_do_with_each_other(self, connection: Connection, me: int) -> None:
        here = insert(connection, 1, concurrency_key="ada")
        there = insert(connection, 1, concurrency_key="ada", queue="mail")
        assert claimed(connection, me, queues=("default", "mail")) == here + there

    def test_the_order_is_priority_then_time_also_for_one_that_was_met_later(
        self, connection: Connection, me: int
    ) -> None:
        keyed = insert(connection, 3, concurrency_key="ada")
        (task,) = claim(connection, me)
        claim(connection, me)  # the others are blocked
        (urgent,) = insert(connection, 1, concurrency_key="ada", priority=3)
        (late,) = insert(connection, 1, concurrency_key="ada")
        complete(connection, me, [task])
        connection.execute(  # not yet let go
            "UPDATE taskflow.tasks SET state = 'blocked', key_state = 'blocked' WHERE id = %s", [keyed[1]]
        )

        order = []
        for _ in range(4):
            (task,) = claim(connection, me)
            order.append(task.id)
            complete(connection, me, [task])

        assert order == [urgent, keyed[1], keyed[2], late]

    def test_one_for_later_does_not_hold_the_key(self, connection: Connection, me: int) -> None:
        connection.execute(
            "INSERT INTO taskflow.tasks (type, concurrency_key, run_at) VALUES ('noop', 'ada', now() + interval '1 h')"
        )
        (now,) = insert(connection, 1, concurrency_key="ada")
        assert claimed(connection, me) == [now]

    def test_a_type_that_nobody_runs_does_not_hold_up_the_others_of_its_key(
        self, connection: Connection, me: int
    ) -> None:
        (first,) = insert(connection, 1, concurrency_key="ada")
        (unknown,) = insert(connection, 1, concurrency_key="ada", type="unknown")
        second, third = insert(connection, 2, concurrency_key="ada")
        for expected in (first, second, third):
            (task,) = claim(connection, me)
            assert task.id == expected
            claim(connection, me, types=("noop", "unknown"))  # somebody who knows it has blocked it
            complete(connection, me, [task])
        assert claimed(connection, me, types=("unknown",)) == [unknown]

    def test_thousands_that_wait_for_a_key_are_passed_in_one_claim(self, connection: Connection, me: int) -> None:
        keyed = insert(connection, 1500, concurrency_key="ada")
        free = insert(connection, 5)
        assert claimed(connection, me, 200) == [keyed[0], *free]
        (counts,) = connection.execute("SELECT count(*) FROM taskflow.tasks WHERE state = 'blocked'").fetchall()
        assert counts == (1499,)

    def test_a_claim_takes_no_longer_than_it_should_and_the_next_one_goes_on(
        self, connection: Connection, me: int
    ) -> None:
        insert(connection, 300, concurrency_key="ada")
        (free,) = insert(connection, 1)
        claims = [claimed(connection, me, 10) for _ in range(4)]
        assert len(claims[0]) == 1
        assert any(free in later for later in claims[1:])


class TestLimitedQueues:
    def test_both_limits_hold(self, connection: Connection, me: int) -> None:
        connection.execute("UPDATE taskflow.queues SET max_workers = 2")
        ada = insert(connection, 3, concurrency_key="ada")
        bob = insert(connection, 3, concurrency_key="bob")
        free = insert(connection, 3)
        assert claim_limited(connection, me) == [ada[0], bob[0]]
        assert states(connection, [*ada[1:], *bob[1:], *free]) == ["blocked"] * 2 + ["pending"] * 5
        connection.execute("UPDATE taskflow.queues SET max_workers = 5")
        assert claim_limited(connection, me) == free

    def test_a_start_counts_once_for_a_rate_of_its_type(self, connection: Connection, me: int) -> None:
        connection.execute(
            """UPDATE taskflow.queues SET type_limits = '{"noop": {"rate_limit": 3, "rate_period": 60}}'"""
        )
        ada = insert(connection, 10, concurrency_key="ada")
        free = insert(connection, 10)
        assert claim_limited(connection, me) == [ada[0], *free[:2]]
        assert claim_limited(connection, me) == []
        (starts,) = connection.execute("SELECT sum(starts) FROM taskflow.rate_windows").fetchall()
        assert starts == (3,)
        assert states(connection, free[2:]) == ["pending"] * 8


class TestOperators:
    def test_what_is_cancelled_changed_or_moved_away_holds_nobody_up(self, connection: Connection, me: int) -> None:
        def next_one() -> int:
            (task_id,) = claimed(connection, me)
            return task_id

        keyed = insert(connection, 5, concurrency_key="ada")[1:]
        (task,) = claim(connection, me)
        claim(connection, me)
        complete(connection, me, [task])
        assert states(connection, keyed) == ["pending", "blocked", "blocked", "blocked"]
        connection.execute("SELECT taskflow.cancel(%s)", [keyed[0]])
        assert states(connection, keyed) == ["cancelled", "pending", "blocked", "blocked"]
        later = """SELECT taskflow.change_task(%s, '{"run_at": "2100-01-01T00:00:00Z"}')"""
        connection.execute(later, [keyed[1]])
        assert states(connection, keyed) == ["cancelled", "scheduled", "pending", "blocked"]
        connection.execute("""SELECT taskflow.change_task(%s, '{"queue": "mail"}')""", [keyed[2]])
        assert states(connection, keyed) == ["cancelled", "scheduled", "pending", "pending"]
        assert next_one() == keyed[3]
        assert claimed(connection, me, queues=("mail",)) == [keyed[2]]

    def test_a_blocked_one_that_is_changed_is_looked_at_again(self, connection: Connection, me: int) -> None:
        keyed = insert(connection, 3, concurrency_key="ada")
        (task,) = claim(connection, me)
        claim(connection, me)
        connection.execute("""SELECT taskflow.change_task(%s, '{"priority": 3}')""", [keyed[2]])
        assert states(connection, keyed) == ["running", "blocked", "pending"]
        assert claim(connection, me) == []
        complete(connection, me, [task])
        assert claimed(connection, me) == [keyed[2]]

    def test_a_replaced_one_waits_for_its_new_time_and_lets_the_next_go(self, connection: Connection, me: int) -> None:
        insert(connection, 1, concurrency_key="ada")
        (task,) = claim(connection, me)
        (second,) = insert(connection, 1, concurrency_key="ada", unique_key="u")
        (third,) = insert(connection, 1, concurrency_key="ada")
        claim(connection, me)
        complete(connection, me, [task])
        options = '{"on_conflict": "replace", "delay": 60}'
        connection.execute("SELECT taskflow.enqueue('noop', unique_key => 'u', options => %s)", [options])
        assert states(connection, [second, third]) == ["scheduled", "pending"]

    def test_a_limit_that_is_raised_lets_more_go_at_once_and_a_lowered_one_none(
        self, connection: Connection, me: int
    ) -> None:
        keyed = insert(connection, 5, concurrency_key="ada")
        (task,) = claim(connection, me)
        claim(connection, me)
        connection.execute("UPDATE taskflow.queues SET key_limit = 3")
        assert states(connection, keyed) == ["running", "pending", "pending", "blocked", "blocked"]
        assert claimed(connection, me) == keyed[1:3]
        connection.execute("UPDATE taskflow.queues SET key_limit = 1")
        complete(connection, me, [task])
        assert claimed(connection, me) == []

    def test_what_a_deleted_row_held_up_is_let_go_by_the_leader(self, connection: Connection, me: int) -> None:
        first, second = insert(connection, 2, concurrency_key="ada")
        claim(connection, me)
        claim(connection, me)
        connection.execute("DELETE FROM taskflow.tasks WHERE id = %s", [first])
        assert claimed(connection, me) == []
        assert release_waiting_keys(connection) is None
        assert claimed(connection, me) == [second]

    def test_the_leader_looks_at_a_batch_of_keys_at_once(
        self, connection: Connection, me: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keys, "BATCH", 2)
        for queue, key in (("b", "1"), ("a", "2"), ("a", "3"), ("c", "1"), ("b", "0")):
            first, _ = insert(connection, 2, queue=queue, concurrency_key=key)
            claim(connection, me, queues=(queue,))
            claim(connection, me, queues=(queue,))
            connection.execute("DELETE FROM taskflow.tasks WHERE id = %s", [first])
        seen = [release_waiting_keys(connection)]
        while seen[-1]:
            seen.append(release_waiting_keys(connection, seen[-1]))
        assert seen == [("a", "3"), ("b", "1"), None]
        assert len(claimed(connection, me, queues=("a", "b", "c"))) == 5

    def test_purging_a_queue_takes_the_blocked_ones_too(self, connection: Connection, me: int) -> None:
        keyed = insert(connection, 3, concurrency_key="ada")
        claim(connection, me)
        claim(connection, me)
        connection.execute("SELECT taskflow.cancel_waiting(ARRAY['default'], NULL, 0)")
        assert states(connection, keyed) == ["running", "cancelled", "cancelled"]

    def test_purging_a_priority_lets_the_next_of_another_go(self, connection: Connection, me: int) -> None:
        insert(connection, 1, concurrency_key="ada")
        (task,) = claim(connection, me)
        urgent = insert(connection, 2, concurrency_key="ada", priority=3)
        others = insert(connection, 2, concurrency_key="ada")
        elsewhere = insert(connection, 1, concurrency_key="ada", queue="mail")
        claim(connection, me)
        complete(connection, me, [task])
        assert states(connection, urgent + others) == ["pending", "blocked", "blocked", "blocked"]
        connection.execute("SELECT taskflow.cancel_waiting(ARRAY['default'], 3, 0)")
        assert states(connection, urgent + others) == ["cancelled", "cancelled", "pending", "blocked"]
        assert claimed(connection, me, queues=("default", "mail")) == [others[0], *elsewhere]


class TestOpenTransactions:
    def test_an_open_insert_holds_up_neither_ends_nor_claims(self, connection: Connection, dsn: str, me: int) -> None:
        _, second = insert(connection, 2, concurrency_key="ada")
        (task,) = claim(connection, me)
        claim(connection, me)
        with psycopg.connect(dsn) as producer:
            insert(producer, 1, concurrency_key="ada")
            complete(connection, me, [task])
            assert claimed(connection, me) == [second]

    def test_one_that_somebody_is_about_to_cancel_is_passed(self, connection: Connection, dsn: str, me: int) -> None:
        _, second, third = insert(connection, 3, concurrency_key="ada")
        (task,) = claim(connection, me)
        claim(connection, me)
        with psycopg.connect(dsn) as operator:
            operator.execute("SELECT taskflow.cancel(%s)", [second])
            complete(connection, me, [task])
            (task,) = claim(connection, me)
            assert task.id == third
            operator.rollback()
        complete(connection, me, [task])
        assert claimed(connection, me) == [second]

    def test_a_claim_beside_one_that_is_under_way_leaves_the_key_to_it(
        self, connection: Connection, dsn: str, me: int
    ) -> None:
        keyed = insert(connection, 4, concurrency_key="ada")
        free = insert(connection, 1)
        with psycopg.connect(dsn) as slow:
            other = worker(connection)
            assert [task.id for task in claim(slow, other, 1)] == [keyed[0]]
            assert claimed(connection, me) == free
            assert states(connection, keyed) == ["pending"] * 4
            slow.commit()
        assert claimed(connection, me) == []
        assert states(connection, keyed) == ["running", "blocked", "blocked", "blocked"]


def test_many_claiming_at_once_never_exceed_it_keep_the_order_and_end_all(connection: Connection, dsn: str) -> None:
    keys = [f"key {number}" for number in range(6)]
    dice = random.Random(7)
    total = 600
    order: dict[int, str | None] = {}
    for _ in range(total):
        key = dice.choice([*keys, None])
        (task_id,) = insert(connection, 1, concurrency_key=key)
        order[task_id] = key
    began: dict[str, list[int]] = {key: [] for key in keys}
    running: dict[str, int] = dict.fromkeys(keys, 0)
    most = 0
    done: set[int] = set()
    lock = threading.Lock()
    failed: list[BaseException] = []

    def work(seed: int) -> None:
        nonlocal most
        own_dice = random.Random(seed)
        with psycopg.connect(dsn, autocommit=True) as own:
            me = worker(own)
            held: list[ClaimedTask] = []
            while len(done) < total:
                wanted = own_dice.randint(1, 5)
                fresh = repeat_on_conflict(lambda: claim(own, me, wanted))  # noqa: B023
                with lock:
                    for task in fresh:
                        if key := order[task.id]:
                            began[key].append(task.id)
                            running[key] += 1
                            most = max(most, running[key])
                held += fresh
                own_dice.shuffle(held)
                ending = held if not fresh else held[: own_dice.randint(0, len(held))]
                held = held[len(ending) :]
                with lock:
                    for task in ending:
                        if key := order[task.id]:
                            running[key] -= 1
                        done.add(task.id)
                while ending:  # as a worker does, which waits no longer than a quarter of a second for anybody
                    with suppress(psycopg.errors.LockNotAvailable):
                        repeat_on_conflict(lambda: complete(own, me, ending))  # noqa: B023
                        break

    def guarded(seed: int) -> None:
        try:
            work(seed)
        except BaseException as error:  # noqa: BLE001  (raised in the test's own thread)
            failed.append(error)
            done.update(order)

    threads = [threading.Thread(target=guarded, args=[seed]) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert most == 1
    for key in keys:
        assert began[key] == sorted(began[key]), key
        assert len(began[key]) == sum(one == key for one in order.values())
    assert connection.execute("SELECT count(*) FROM taskflow.tasks WHERE state <> 'completed'").fetchone() == (0,)
