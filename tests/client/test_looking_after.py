"""Looking at tasks, waiting for them, cancelling and retrying them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from taskflow import InvalidTask, TaskNotFound, UniqueConflict, WaitTimeout, WrongState
from taskflow.client import requests


def test_a_task_is_shown_with_times_in_utc(client):
    stored = client.get(client.enqueue("mail", {"a": 1}).id)
    assert stored.created_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - stored.created_at) < timedelta(minutes=1)
    assert (stored.finished_at, stored.started_at, stored.version) == (None, None, 1)


def test_a_result_is_any_json_value(client, end):
    for result, value in (("null", None), ("[1, 2.5]", [1, 2.5]), ('{"a": "ä"}', {"a": "ä"}), ("true", True)):
        enqueued = client.enqueue("mail")
        end(enqueued.id, result=result)
        assert client.get(enqueued.id).result == value


@pytest.mark.parametrize("call", ["get", "cancel", "retry", "wait"])
def test_a_task_that_is_not_there_is_an_error(client, call):
    with pytest.raises(TaskNotFound, match="no task 123456"):
        getattr(client, call)(123456)


def test_a_task_without_attempts_has_no_executions(client):
    assert client.executions(client.enqueue("mail").id) == []


def test_executions_are_shown_in_order_with_the_one_under_way(client, connection):
    task = client.enqueue("mail")
    connection.execute(
        "INSERT INTO taskflow.executions (task_id, attempt, outcome, worker_id, started_at, finished_at, queue, type, "
        "error, logs) VALUES (%s, 1, 'failed', 5, now(), now(), 'default', 'mail', 'boom', '[{\"message\": \"m\"}]')",
        [task.id],
    )
    connection.execute(
        "UPDATE taskflow.tasks SET state = 'running', attempt = 2, worker_id = 6, claimed_at = now() WHERE id = %s",
        [task.id],
    )
    first, second = client.executions(task.id)
    assert (first.attempt, first.status, first.error, first.logs) == (1, "failed", "boom", [{"message": "m"}])
    assert first.started_at.tzinfo is UTC
    assert (second.attempt, second.status, second.worker_id, second.finished_at) == (2, "started", 6, None)
    assert second.logs == []


def test_cancel_ends_what_waits_and_leaves_what_has_ended(client, end):
    waiting, done = client.enqueue("mail", delay=60), client.enqueue("mail")
    end(done.id)
    assert client.cancel(waiting.id) == "cancelled"
    assert client.cancel(waiting.id) == "cancelled"
    assert client.cancel(done.id) == "completed"


def test_cancel_asks_what_runs_to_stop(client, connection):
    task = client.enqueue("mail")
    connection.execute("UPDATE taskflow.tasks SET state = 'running', attempt = 1, worker_id = 6, claimed_at = now()")
    assert client.cancel(task.id) == "running"
    assert client.get(task.id).cancel_requested


def test_retry_makes_an_ended_task_pending_with_what_is_given(client, end):
    task = client.enqueue("mail", {"n": 1})
    end(task.id, "dead_letter")
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    assert client.retry(task.id, {"n": 2}, queue="slow", priority="low", run_at=at) == "scheduled"
    stored = client.get(task.id)
    assert (stored.payload, stored.queue, stored.priority, stored.run_at) == ({"n": 2}, "slow", 0, at)


def test_retry_keeps_what_is_not_given(client, end):
    task = client.enqueue("mail", {"n": 1}, queue="slow")
    end(task.id, "failed")
    assert client.retry(task.id) == "pending"
    stored = client.get(task.id)
    assert (stored.payload, stored.queue) == ({"n": 1}, "slow")


def test_retry_refuses_a_live_task_and_a_taken_key(client, end):
    first = client.enqueue("mail", unique_key="k")
    with pytest.raises(WrongState, match="pending"):
        client.retry(first.id)
    end(first.id)
    second = client.enqueue("mail", unique_key="k")
    with pytest.raises(UniqueConflict) as refused:
        client.retry(first.id)
    assert refused.value.conflicting_task_id == second.id


def test_retry_refuses_what_cannot_be_stored(client, end):
    task = client.enqueue("mail")
    end(task.id)
    for arguments in (
        {"payload": [1]},
        {"payload": {"a": "x" * 300_000}},
        {"priority": 9},
        {"run_at": datetime.now()},  # noqa: DTZ005
    ):
        with pytest.raises(InvalidTask):
            client.retry(task.id, **arguments)
    assert client.get(task.id).state == "completed"


def test_wait_returns_a_task_that_has_ended(client, end):
    task = client.enqueue("mail")
    end(task.id, result='{"n": 1}')
    assert client.wait(task.id, timeout=0).result == {"n": 1}


@pytest.mark.parametrize("state", ["completed", "cancelled", "failed", "dead_letter"])
def test_wait_returns_when_the_task_ends(client, end, state, monkeypatch):
    task = client.enqueue("mail")
    looked = threading.Event()
    look = client.get
    monkeypatch.setattr(client, "get", lambda id: (look(id), looked.set())[0])
    answer = []
    waiter = threading.Thread(target=lambda: answer.append(client.wait(task.id, timeout=timedelta(seconds=30))))
    waiter.start()
    assert looked.wait(10)
    end(task.id, state)
    waiter.join(10)
    assert answer[0].state == state


def test_wait_gives_up_in_time_and_the_task_goes_on(client):
    task = client.enqueue("mail")
    with pytest.raises(WaitTimeout, match=r"pending after 0\.05 seconds"):
        client.wait(task.id, timeout=0.05)
    assert client.get(task.id).state == "pending"


def test_wait_looks_ever_more_seldom_and_not_beyond_its_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(requests.time, "monotonic", lambda: now[0])
    schedule, pauses = requests.WaitSchedule(1, 5), []
    while now[0] < 5:
        pauses.append(schedule.next_pause("running"))
        now[0] += pauses[-1]
    with pytest.raises(WaitTimeout):
        schedule.next_pause("running")
    assert pauses[0] == 0.01
    assert pauses[:-1] == sorted(pauses[:-1])
    assert max(pauses) == 0.5
    assert sum(pauses) == pytest.approx(5)
