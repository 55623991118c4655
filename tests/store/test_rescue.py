"""What rescue_tasks guarantees: whose tasks it takes, what it charges, and whom it leaves alone."""

from __future__ import annotations

import pytest

from taskflow.store import tasks, workers
from tests.store.support import Connection, attempts, claim, complete, insert, row, worker


def rescue(connection: Connection, worker_id: int, heartbeat: int | None, limit: int = 500) -> int:
    row = connection.execute("SELECT taskflow.rescue_tasks(%s, %s, %s)", (worker_id, heartbeat, limit)).fetchone()
    assert row is not None
    return int(row[0])


def test_a_started_attempt_of_a_dead_worker_is_lost_and_charged(connection: Connection) -> None:
    (task_id,) = insert(connection)
    me = worker(connection)
    (task,) = claim(connection, me)
    tasks.mark_started(connection, me, [(task.id, task.attempt, 0.0)])
    assert rescue(connection, me, 0) == 1
    assert row(connection, task_id, "state", "failures", "losses") == ("retrying", 1, 1)
    assert attempts(connection, task_id) == [(1, "lost")]


def test_an_attempt_that_may_only_have_been_prefetched_is_lost_but_not_charged(connection: Connection) -> None:
    (task_id,) = insert(connection, max_attempts=1)
    me = worker(connection)
    claim(connection, me)
    assert rescue(connection, me, 0) == 1
    assert row(connection, task_id, "state", "failures", "losses") == ("pending", 0, 1)
    (again,) = claim(connection, worker(connection))
    assert again.losses == 1


def test_the_last_attempt_lost_is_a_dead_letter(connection: Connection) -> None:
    (task_id,) = insert(connection, max_attempts=1)
    me = worker(connection)
    claim(connection, me)
    tasks.mark_started(connection, me, [(task_id, 1, 0.0)])
    rescue(connection, me, 0)
    assert row(connection, task_id, "state") == ("dead_letter",)


def test_a_worker_that_has_beaten_since_is_left_alone(connection: Connection) -> None:
    (task_id,) = insert(connection)
    me = worker(connection)
    claim(connection, me)
    workers.heartbeat(connection, me, 0, [])
    assert rescue(connection, me, 0) == 0
    assert rescue(connection, me, None) == 0
    assert row(connection, task_id, "state") == ("running",)


def test_tasks_of_a_worker_without_a_row_are_rescued_too(connection: Connection) -> None:
    insert(connection, 2)
    me = worker(connection)
    claim(connection, me)
    workers.deregister(connection, me)
    assert rescue(connection, me, None) == 2


def test_the_row_of_a_dead_worker_goes_with_the_last_of_its_tasks(connection: Connection) -> None:
    insert(connection, 3)
    me = worker(connection)
    claim(connection, me)
    known = "SELECT count(*) FROM taskflow.workers WHERE id = %s"
    assert rescue(connection, me, 0, limit=2) == 2
    assert connection.execute(known, (me,)).fetchone() == (1,)
    assert rescue(connection, me, 0, limit=2) == 1
    assert connection.execute(known, (me,)).fetchone() == (0,)
    assert not workers.heartbeat(connection, me, 0, []).known


def test_a_rescued_worker_cannot_complete_its_old_attempt(connection: Connection) -> None:
    (task_id,) = insert(connection)
    me, other = worker(connection), worker(connection)
    old = claim(connection, me)
    rescue(connection, me, 0)
    new = claim(connection, other)
    assert [ended.state for ended in complete(connection, me, old, result='"old"')] == [None]
    assert complete(connection, other, new, result='"new"') == []
    assert row(connection, task_id, "state", "result") == ("completed", "new")
    assert attempts(connection, task_id) == [(1, "lost"), (2, "succeeded")]


def test_a_lost_task_that_was_to_be_cancelled_is_cancelled(connection: Connection) -> None:
    (task_id,) = insert(connection)
    me = worker(connection)
    claim(connection, me)
    connection.execute("SELECT taskflow.cancel(%s)", (task_id,))
    rescue(connection, me, 0)
    assert row(connection, task_id, "state") == ("cancelled",)


def test_the_heartbeat_tells_what_was_cancelled_and_marks_what_has_begun(connection: Connection) -> None:
    first, second = insert(connection, 2)
    me = worker(connection)
    claim(connection, me)
    connection.execute("SELECT taskflow.cancel(%s)", (second,))
    pulse = workers.heartbeat(connection, me, 2, [(second, 1, 0.5), (first, 1, 0.25)])
    assert pulse == (True, "running", [second])
    claimed, started = connection.execute(
        "SELECT claimed_at, started_at FROM taskflow.tasks WHERE id = %s", (first,)
    ).fetchone() or (None, None)
    assert (started - claimed).total_seconds() == pytest.approx(0.25)
    assert connection.execute(
        "SELECT heartbeat, active_tasks FROM taskflow.workers WHERE id = %s", (me,)
    ).fetchone() == (1, 2)


def test_a_lost_connections_claims_can_be_told_apart(connection: Connection) -> None:
    ids = insert(connection, 2)
    me, other = worker(connection), worker(connection)
    claim(connection, me, 1)
    claim(connection, other, 1)
    assert tasks.claimed_by(connection, me) == {(ids[0], 1)}
