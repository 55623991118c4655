"""What complete_tasks guarantees: the fence, the audit row, and what becomes of a task that did not succeed."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import psycopg
import pytest

from taskflow.store import tasks
from tests.store.support import Connection, attempts, claim, complete, insert, row, worker


def details(**values: object) -> str:
    return json.dumps(values)


def test_a_success_is_completed_with_its_result_and_one_audit_row(connection: Connection) -> None:
    (task_id,) = insert(connection)
    me = worker(connection)
    claimed = claim(connection, me)
    assert complete(connection, me, claimed, result='{"n": 1}') == []
    state, result, worker_id = row(connection, task_id, "state", "result", "worker_id")
    assert (state, result, worker_id) == ("completed", {"n": 1}, me)
    assert attempts(connection, task_id) == [(1, "succeeded")]


def test_started_at_is_the_claim_and_what_the_worker_waited_after_it(connection: Connection) -> None:
    (task_id,) = insert(connection)
    me = worker(connection)
    complete(connection, me, claim(connection, me))
    claimed_at, started_at = row(connection, task_id, "claimed_at", "started_at")
    assert (started_at - claimed_at).total_seconds() == pytest.approx(0.25)


def test_each_result_goes_to_its_own_task_also_when_the_batch_is_in_no_order(connection: Connection) -> None:
    insert(connection, 50)
    me = worker(connection)
    claimed = claim(connection, me, 50)
    rows = [(t.id, t.attempt, 0.0, "succeeded", json.dumps({"id": t.id}), None) for t in claimed]
    tasks.complete(connection, me, rows[::-1])
    for task in claimed:
        assert row(connection, task.id, "result") == ({"id": task.id},)


def test_ids_out_of_order_are_refused_rather_than_mixed_up(connection: Connection) -> None:
    """The SQL function searches in the ids; a foreign caller that does not sort them must not get somebody's result."""
    ids = insert(connection, 3)
    me = worker(connection)
    claim(connection, me)
    unsorted = [ids[2], ids[0], ids[1]]
    connection.execute(
        "SELECT * FROM taskflow.complete_tasks(%s, %s, %s, %s, %s::text[]::jsonb[])",
        (me, unsorted, [1, 1, 1], [0.0, 0.0, 0.0], [f'"{task_id}"' for task_id in unsorted]),
    )
    for task_id in ids:
        assert row(connection, task_id, "result") in [(None,), (str(task_id),)]


@pytest.mark.parametrize("change", ["attempt", "worker", "ended"])
def test_a_completion_by_anybody_but_the_holder_of_the_attempt_is_refused(connection: Connection, change: str) -> None:
    (task_id,) = insert(connection)
    me, other = worker(connection), worker(connection)
    (task,) = claim(connection, me)
    if change == "attempt":
        task = task._replace(attempt=2)
    elif change == "ended":
        complete(connection, me, [task])
    before = row(connection, task_id, "state", "version")
    refused = complete(connection, other if change == "worker" else me, [task], result='"late"')
    assert [(ended.id, ended.state) for ended in refused] == [(task_id, None)]
    assert row(connection, task_id, "state", "version") == before
    assert len(attempts(connection, task_id)) == 1


def test_a_failure_is_retried_by_the_policy_and_its_error_is_kept(connection: Connection) -> None:
    (task_id,) = insert(connection, max_attempts=3, retry_strategy="fixed", retry_delay=100)
    me = worker(connection)
    (ended,) = complete(connection, me, claim(connection, me), "failed", details=details(error="no", traceback="at 1"))
    assert ended.state == "retrying"
    assert ended.run_at is not None
    assert 85 < (ended.run_at - datetime.now(UTC)).total_seconds() < 112
    assert row(connection, task_id, "state", "failures", "error", "worker_id") == ("retrying", 1, "no", None)
    stored = connection.execute("SELECT error, traceback FROM taskflow.executions").fetchall()
    assert stored == [("no", "at 1")]


def test_max_attempts_used_up_is_a_dead_letter(connection: Connection) -> None:
    (task_id,) = insert(connection, max_attempts=2, retry_delay=0)
    me = worker(connection)
    for expected in ("retrying", "dead_letter"):
        (ended,) = complete(connection, me, claim(connection, me), "failed", details=details(error="no"))
        assert ended.state == expected
    assert attempts(connection, task_id) == [(1, "failed"), (2, "failed")]


def test_a_final_failure_is_a_dead_letter_at_once(connection: Connection) -> None:
    insert(connection)
    me = worker(connection)
    (ended,) = complete(connection, me, claim(connection, me), "failed", details=details(error="no", final=True))
    assert ended.state == "dead_letter"


def test_a_queue_without_dead_letters_ends_in_failed(connection: Connection) -> None:
    connection.execute("INSERT INTO taskflow.queues (name, dead_letter, max_retries) VALUES ('plain', false, 0)")
    insert(connection, queue="plain")
    me = worker(connection)
    (ended,) = complete(connection, me, claim(connection, me, queues=("plain",)), "failed", details=details(error="no"))
    assert ended.state == "failed"


@pytest.mark.parametrize(
    ("task", "type", "queue", "expected"), [(2, 3, 4, 2), (None, 3, 4, 3), (None, None, 4, 4), (None, None, None, 5)]
)
def test_what_the_task_leaves_open_is_its_types_then_its_queues(
    connection: Connection, task: int | None, type: int | None, queue: int | None, expected: int
) -> None:
    if queue is not None:
        connection.execute("INSERT INTO taskflow.queues (name, max_retries) VALUES ('q', %s)", (queue - 1,))
    if type is not None:
        connection.execute("INSERT INTO taskflow.task_types (type, max_attempts) VALUES ('noop', %s)", (type,))
    (task_id,) = insert(connection, queue="q", max_attempts=task, retry_delay=0)
    assert row(connection, task_id, "max_attempts") == (expected,)
    me = worker(connection)
    for number in range(1, expected + 1):
        (ended,) = complete(connection, me, claim(connection, me, queues=("q",)), "failed", details=details(error="no"))
        assert ended.state == ("dead_letter" if number == expected else "retrying")


def test_a_snooze_is_not_charged(connection: Connection) -> None:
    (task_id,) = insert(connection, max_attempts=1)
    me = worker(connection)
    (ended,) = complete(connection, me, claim(connection, me), "snoozed", details=details(seconds=60, error="later"))
    assert ended.state == "pending"
    assert row(connection, task_id, "state", "failures", "attempt") == ("scheduled", 0, 1)
    assert attempts(connection, task_id) == [(1, "snoozed")]


def test_a_task_cancelled_while_it_ran_is_not_retried(connection: Connection) -> None:
    (task_id,) = insert(connection)
    me = worker(connection)
    claimed = claim(connection, me)
    connection.execute("SELECT taskflow.cancel(%s)", (task_id,))
    (ended,) = complete(connection, me, claimed, "failed", details=details(error="no"))
    assert ended.state == "cancelled"
    assert attempts(connection, task_id) == [(1, "failed")]


def test_outcomes_of_every_kind_fit_into_one_batch(connection: Connection) -> None:
    insert(connection, 5)
    me = worker(connection)
    claimed = claim(connection, me)
    outcomes = ["succeeded", "failed", "timed_out", "snoozed", "cancelled"]
    rows = [
        (task.id, task.attempt, 0.0, outcome, None, details(error="x", seconds=1, logs=[{"message": "m"}]))
        for task, outcome in zip(claimed, outcomes, strict=True)
    ]
    ended = {item.id: item.state for item in tasks.complete(connection, me, rows).ended}
    states = [ended.get(task.id) for task in claimed]
    assert states == [None, "retrying", "retrying", "pending", "cancelled"]
    stored = connection.execute("SELECT task_id, outcome::text, logs FROM taskflow.executions ORDER BY 1").fetchall()
    assert stored == [(task.id, outcome, [{"message": "m"}]) for task, outcome in zip(claimed, outcomes, strict=True)]


def test_a_refused_one_does_not_hold_up_the_rest_of_its_batch(connection: Connection) -> None:
    insert(connection, 3)
    me = worker(connection)
    claimed = claim(connection, me)
    stale = claimed[1]._replace(attempt=7)
    ended = complete(connection, me, [claimed[0], stale, claimed[2]])
    assert [(item.id, item.state) for item in ended] == [(stale.id, None)]
    assert row(connection, claimed[0].id, "state") == row(connection, claimed[2].id, "state") == ("completed",)


def test_a_success_of_an_earlier_attempt_does_not_complete_the_one_that_failed(connection: Connection) -> None:
    """A batch that is sent again after a lost answer may hold both, when somebody has retried the task in between."""
    (task_id,) = insert(connection)
    me = worker(connection)
    complete(connection, me, claim(connection, me))
    connection.execute("SELECT taskflow.retry_task(%s)", (task_id,))
    claim(connection, me)
    earlier = (task_id, 1, 0.0, "succeeded", None, None)
    failed = (task_id, 2, 0.0, "failed", None, details(error="no"))
    ended = tasks.complete(connection, me, [earlier, failed]).ended
    assert [(item.attempt, item.state) for item in ended] == [(2, "retrying")]
    assert attempts(connection, task_id) == [(1, "succeeded"), (2, "failed")]


def test_a_result_with_a_nul_is_refused_and_stores_nothing_of_its_batch(connection: Connection) -> None:
    insert(connection, 2)
    me = worker(connection)
    claimed = claim(connection, me)
    with pytest.raises(psycopg.DataError):
        complete(connection, me, claimed, result='"\\u0000"')
    assert [row(connection, task.id, "state") for task in claimed] == [("running",)] * 2


def test_release_gives_back_at_once_and_charges_nothing(connection: Connection) -> None:
    (task_id,) = insert(connection, max_attempts=1)
    me = worker(connection)
    (task,) = claim(connection, me)
    assert tasks.release(connection, me, [(task.id, task.attempt)]) == 1
    assert row(connection, task_id, "state", "failures", "attempt", "worker_id") == ("pending", 0, 1, None)
    assert attempts(connection, task_id) == []
    (again,) = claim(connection, me)
    assert again.attempt == 2


def test_release_of_a_cancelled_task_cancels_it(connection: Connection) -> None:
    (task_id,) = insert(connection)
    me = worker(connection)
    (task,) = claim(connection, me)
    connection.execute("SELECT taskflow.cancel(%s)", (task_id,))
    tasks.release(connection, me, [(task.id, task.attempt)])
    assert row(connection, task_id, "state") == ("cancelled",)


def test_progress_is_stored_for_the_holder_only(connection: Connection) -> None:
    (task_id,) = insert(connection)
    me, other = worker(connection), worker(connection)
    (task,) = claim(connection, me)
    tasks.report_progress(connection, other, [(task.id, task.attempt, 90, "no")])
    assert row(connection, task_id, "progress", "progress_message") == (None, None)
    tasks.report_progress(connection, me, [(task.id, task.attempt, 40, 'half "way"\\')])
    assert row(connection, task_id, "progress", "progress_message") == (40, 'half "way"\\')


def test_a_progress_that_comes_with_the_end_is_stored_with_it_for_the_holder_only(connection: Connection) -> None:
    ids = insert(connection, 4)
    me, other = worker(connection), worker(connection)
    claimed = claim(connection, me, 4)
    tasks.report_progress(connection, me, [(task.id, task.attempt, 10, "begun") for task in claimed])
    last = details(progress=100, progress_message="end")
    mute = details(progress=100, progress_message=None)
    rows = [
        (t.id, t.attempt, 0.0, "succeeded", None, told) for t, told in zip(claimed, (last, mute, None), strict=False)
    ]
    rows.append((claimed[3].id, claimed[3].attempt, 0.0, "failed", None, last))
    tasks.complete(connection, other, rows)
    assert [row(connection, task_id, "progress", "progress_message") for task_id in ids] == [(10, "begun")] * 4
    tasks.complete(connection, me, rows)
    assert [row(connection, task_id, "progress", "progress_message") for task_id in ids] == [
        (100, "end"), (100, None), (10, "begun"), (100, "end"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("strategy", "failures", "expected"),
    [
        ("fixed", 5, 2.0),
        ("linear", 5, 10.0),
        ("exponential", 1, 2.0),
        ("exponential", 5, 32.0),
        ("exponential", 500, 60.0),
    ],
)
def test_the_retry_delay_follows_its_formula(
    connection: Connection, strategy: str, failures: int, expected: float
) -> None:
    value = connection.execute(
        "SELECT extract(epoch FROM taskflow.retry_delay(%s, 2, 60, 0, %s))::float8", (strategy, failures)
    ).fetchone()
    assert value == (pytest.approx(expected),)


def test_jitter_spreads_the_delay_by_its_fraction_and_the_cap_holds(connection: Connection) -> None:
    rows = connection.execute(
        "SELECT extract(epoch FROM taskflow.retry_delay('fixed', 100, 105, 0.1, 1))::float8 FROM generate_series(1, 99)"
    ).fetchall()
    values = [value for (value,) in rows]
    assert min(values) >= 90
    assert max(values) <= 105
    assert max(values) - min(values) > 10
