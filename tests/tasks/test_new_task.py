from __future__ import annotations

import copy
import dataclasses
import pickle
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import BaseModel

from taskflow import InvalidPayload, InvalidTask, NewTask, RetryPolicy
from taskflow.tasks.new_task import Enqueued
from taskflow.tasks.registry import Registry, task


class Mail(BaseModel):
    to: str


@task("mail", queue="outbox", priority="high", max_attempts=3, timeout=60, retry="linear", registry=Registry())
def send(payload: Mail): ...


def test_options_take_their_stored_form():
    at = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    new = NewTask("mail", {}, priority="low", run_at=at, retry=RetryPolicy("fixed", 1, 2), timeout=timedelta(minutes=2))
    assert new.fields == {
        "priority": 0,
        "run_at": datetime(2026, 1, 1, 10, tzinfo=UTC),
        "retry_strategy": "fixed",
        "retry_delay": 1,
        "max_retry_delay": 2,
        "timeout": 120.0,
    }


def test_none_is_the_same_as_not_given():
    new = NewTask("mail", None, queue=None, run_at=None, retry=None, tags=None)
    assert new.fields == {}
    assert new.encoded_payload == "{}"


def test_a_task_and_its_answer_can_be_copied_and_sent():
    for new in (NewTask("mail", {"n": 1}), NewTask("mail", {"n": 1}, queue="outbox")):
        for other in (copy.deepcopy(new), pickle.loads(pickle.dumps(new))):
            assert (other.type, other.encoded_payload) == (new.type, new.encoded_payload)
            assert other.fields.keys() == new.fields.keys()
    answer = Enqueued(1, True, "pending")
    assert pickle.loads(pickle.dumps(answer)) == answer
    assert dataclasses.asdict(answer) == {"id": 1, "created": True, "state": "pending"}


def test_a_handlers_options_hold_where_none_are_given():
    new = NewTask(send, {"to": "me"}, max_attempts=9)
    assert new.type == "mail"
    assert new.fields == {
        "queue": "outbox",
        "priority": 2,
        "max_attempts": 9,
        "timeout": 60.0,
        "retry_strategy": "linear",
    }


def test_a_given_retry_policy_replaces_all_of_the_handlers():
    @task("mail", retry=RetryPolicy("linear", 5, 50), registry=Registry())
    def patient(payload): ...

    assert "retry_delay" not in NewTask(patient, {}, retry="fixed").fields


def test_a_handlers_payload_is_checked_at_once():
    with pytest.raises(InvalidPayload) as refused:
        NewTask(send, {"too": "me"})
    assert [problem.pointer for problem in refused.value.problems] == ["/to"]


def test_a_time_without_zone_is_refused_with_advice():
    with pytest.raises(InvalidTask, match=r"no time zone.*timezone\.utc"):
        NewTask("mail", run_at=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_retries": 3}, "did you mean"),
        ({"max_retries": None}, "no option 'max_retries'"),
        ({"colour": "red"}, "the options are"),
        ({"run_at": "2026-01-01"}, "run_at must be a datetime"),
        ({"run_at": datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))}, "out of range"),
        ({"run_at": datetime.now(UTC), "delay": 1}, "not both"),
        ({"delay": -1}, "delay must be"),
        ({"delay": float("nan")}, "delay must be"),
        ({"delay": "1"}, "delay must be"),
        ({"queue": "a b"}, "queue must be"),
        ({"priority": True}, "priority must be"),
        ({"priority": -1}, "priority must be"),
        ({"unique_key": ""}, "unique_key must be"),
        ({"unique_key": 5}, "unique_key must be"),
        ({"unique_key": "x" * 501}, "unique_key must be"),
        ({"concurrency_key": "a\x00"}, "concurrency_key must be"),
        ({"on_conflict": "ignore"}, "on_conflict must be"),
        ({"max_attempts": 1001}, "max_attempts must be"),
        ({"timeout": 0}, "timeout must be"),
        ({"retry": "sometimes"}, "retry strategy"),
        ({"metadata": [1]}, "metadata must be"),
        ({"metadata": {"a": float("inf")}}, "metadata at /a"),
        ({"tags": "urgent"}, "tags must be"),
        ({"tags": [1]}, "tags must be"),
        ({"tags": ["a\x00"]}, "NUL"),
    ],
)
def test_a_wrong_option_is_refused_with_what_would_be_right(options, said):
    with pytest.raises(InvalidTask, match=said):
        NewTask("mail", {}, **options)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\x00b", 5])
def test_a_type_that_cannot_be_stored_is_refused(name):
    with pytest.raises(InvalidTask, match="type must be"):
        NewTask(name)


def test_a_new_task_says_what_it_is():
    assert repr(NewTask("mail", queue="outbox")) == "<NewTask 'mail' {'queue': 'outbox'}>"
