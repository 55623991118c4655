"""What claim_tasks guarantees."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from taskflow.store import tasks
from taskflow.store.arrays import texts
from tests.store.support import Connection, claim, insert, row, worker


def test_a_claimed_task_is_running_under_its_worker_and_attempt_one(connection: Connection) -> None:
    me = worker(connection)
    (task_id,) = insert(connection, payload='{"n": 1}')
    (task,) = claim(connection, me)
    assert (task.id, task.attempt, task.type, task.queue, task.payload) == (task_id, 1, "noop", "default", {"n": 1})
    assert row(connection, task_id, "state", "worker_id", "attempt") == ("running", me, 1)


def test_a_task_is_claimed_once(connection: Connection) -> None:
    insert(connection, 5)
    first, second = worker(connection), worker(connection)
    assert len(claim(connection, first)) == 5
    assert claim(connection, second) == []


def test_higher_priorities_come_first_then_the_due_time_then_the_id(connection: Connection) -> None:
    now = datetime.now(UTC)
    late = insert(connection, priority=1, run_at=now - timedelta(seconds=1))
    early = insert(connection, 2, priority=1, run_at=now - timedelta(seconds=2))
    low = insert(connection, priority=0, run_at=now - timedelta(days=1))
    critical = insert(connection, priority=3)
    expected = [*critical, *early, *late, *low]
    me = worker(connection)
    assert [claim(connection, me, 1)[0].id for _ in expected] == expected


def test_what_is_not_due_is_left_alone(connection: Connection) -> None:
    insert(connection, run_at=datetime.now(UTC) + timedelta(hours=1))
    assert claim(connection, worker(connection)) == []


def test_types_and_queues_that_were_not_asked_for_are_left_alone(connection: Connection) -> None:
    insert(connection, type="other")
    insert(connection, queue="elsewhere")
    assert claim(connection, worker(connection)) == []


def test_queues_are_served_in_the_order_given(connection: Connection) -> None:
    insert(connection, 2, queue="a", priority=3)
    insert(connection, 2, queue="b", priority=0)
    claimed = claim(connection, worker(connection), 3, queues=("b", "a"))
    assert sorted(task.queue for task in claimed) == ["a", "b", "b"]


def test_rows_locked_by_somebody_else_are_skipped_not_waited_for(connection: Connection, dsn: str) -> None:
    locked, free = insert(connection, 2)
    with psycopg.connect(dsn) as other:
        other.execute("SELECT FROM taskflow.tasks WHERE id = %s FOR UPDATE", (locked,))
        assert [task.id for task in claim(connection, worker(connection))] == [free]


def test_the_frontier_is_a_pair_so_that_one_bulk_insert_can_be_continued(connection: Connection) -> None:
    ids = insert(connection, 10)  # one statement: one run_at for all of them
    me = worker(connection)
    first = claim(connection, me, 4)
    bound = (first[-1].run_at.isoformat(), first[-1].id)
    rest = claim(connection, me, 10, frontier=[bound] * 4)
    assert [task.id for task in first + rest] == ids


def test_a_frontier_hides_what_lies_before_it_and_a_sweep_finds_it(connection: Connection) -> None:
    (early,) = insert(connection)
    beyond = [(datetime.now(UTC).isoformat(), 2**62)] * 4
    me = worker(connection)
    assert claim(connection, me, frontier=beyond) == []
    assert [task.id for task in claim(connection, me)] == [early]


def test_a_new_attempt_forgets_when_the_last_one_started(connection: Connection) -> None:
    (task_id,) = insert(connection)
    me = worker(connection)
    (task,) = claim(connection, me)
    assert tasks.mark_started(connection, me, [(task.id, 1, 0.5)]) == {task_id}
    connection.execute("UPDATE taskflow.tasks SET state = 'pending', worker_id = NULL WHERE id = %s", (task_id,))
    claim(connection, me)
    started = connection.execute("SELECT started_at FROM taskflow.tasks WHERE id = %s", (task_id,)).fetchone()
    assert started == (None,)


def test_next_due_tells_each_queue_with_something_waiting_and_when(connection: Connection) -> None:
    insert(connection, queue="now")
    insert(connection, queue="later", run_at=datetime.now(UTC) + timedelta(seconds=100), priority=3)
    insert(connection, queue="later", run_at=datetime.now(UTC) + timedelta(seconds=50), priority=0)
    insert(connection, queue="foreign", type="unknown")
    due = tasks.next_due(connection, None, texts(["noop"]))
    assert set(due) == {"now", "later"}
    assert due["now"] <= 0
    assert 45 < due["later"] <= 50
    assert set(tasks.next_due(connection, ["now", "empty"], texts(["noop"]))) == {"now"}


@pytest.mark.parametrize("running", [3, 300])
def test_what_is_due_next_is_found_behind_what_runs(connection: Connection, running: int) -> None:
    insert(connection, running)
    claim(connection, worker(connection), running)
    due = "SELECT extract(year FROM run_at)::integer FROM taskflow.next_due('{default}', '{noop}')"
    assert connection.execute(due).fetchall() == []
    insert(connection, run_at="2100-07-01", priority=3)
    insert(connection, run_at="2099-07-01")
    assert connection.execute(due).fetchall() == [(2099,)]
    insert(connection)  # by its time behind all that runs: by this a worker of every queue knows which have something
    assert connection.execute(due.replace("'{default}'", "NULL")).fetchall() == [(datetime.now(UTC).year,)]
    insert(connection, run_at="2001-07-01")
    assert connection.execute(due).fetchall() == [(2001,)]
