from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import BaseModel

from taskflow import Client, InvalidPayload, InvalidTask, Priority, RetryPolicy, UniqueConflict, task
from taskflow.tasks.registry import Registry


class Mail(BaseModel):
    to: str


@dataclass
class Letter:
    to: str
    sent: datetime | None = None


@task("mail", queue="outbox", priority="high", max_attempts=3, timeout=60, registry=Registry())
def send(payload: Mail): ...


def test_a_task_is_stored_with_the_defaults(client):
    enqueued = client.enqueue("mail")
    assert enqueued.created
    assert enqueued.state == "pending"
    stored = client.get(enqueued.id)
    assert (stored.type, stored.queue, stored.payload, stored.priority) == ("mail", "default", {}, Priority.NORMAL)
    assert (stored.attempt, stored.metadata, stored.tags, stored.result) == (0, {}, [], None)
    assert not stored.finished


def test_everything_that_is_given_is_stored(client, connection):
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    enqueued = client.enqueue(
        "mail",
        {"to": "ä\\u0000 'x'"},
        queue="outbox",
        priority="critical",
        run_at=at,
        unique_key="welcome-1",
        max_attempts=7,
        timeout=timedelta(minutes=2),
        retry=RetryPolicy("linear", 3, 30),
        concurrency_key="user-1",
        metadata={"user": {"id": 1}},
        tags=["a", "b"],
    )
    stored = client.get(enqueued.id)
    assert stored.payload == {"to": "ä\\u0000 'x'"}
    assert (stored.queue, stored.priority, stored.run_at) == ("outbox", Priority.CRITICAL, at)
    assert (stored.unique_key, stored.concurrency_key) == ("welcome-1", "user-1")
    assert (stored.max_attempts, stored.timeout) == (7, 120.0)
    assert (stored.metadata, stored.tags) == ({"user": {"id": 1}}, ["a", "b"])
    retry = connection.execute("SELECT retry_strategy, retry_delay, max_retry_delay FROM taskflow.tasks").fetchone()
    assert retry == ("linear", 3, 30)


def test_a_task_of_the_future_is_scheduled(client):
    assert client.enqueue("mail", run_at=datetime.now(UTC) + timedelta(hours=1)).state == "scheduled"
    later = client.enqueue("mail", delay=3600)
    assert later.state == "scheduled"
    stored = client.get(later.id)
    assert stored.run_at - stored.created_at == timedelta(hours=1)


def test_a_time_of_the_past_is_pending(client):
    assert client.enqueue("mail", run_at=datetime.now(UTC) - timedelta(hours=1)).state == "pending"


def test_a_time_is_understood_in_any_zone(client):
    from zoneinfo import ZoneInfo

    at = datetime(2030, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    assert client.get(client.enqueue("mail", run_at=at).id).run_at == at


def test_models_and_dataclasses_are_payloads(client):
    assert client.get(client.enqueue("mail", Mail(to="me")).id).payload == {"to": "me"}
    letter = client.enqueue("mail", Letter("me", datetime(2026, 1, 1, tzinfo=UTC)))
    assert client.get(letter.id).payload == {"to": "me", "sent": "2026-01-01T00:00:00Z"}


def test_a_handler_is_enqueued_with_its_own_options(client):
    stored = client.get(client.enqueue(send, Mail(to="me"), max_attempts=9).id)
    assert (stored.type, stored.queue, stored.priority) == ("mail", "outbox", Priority.HIGH)
    assert (stored.max_attempts, stored.timeout) == (9, 60.0)


def test_a_payload_that_does_not_fit_the_handler_is_not_stored(client, count):
    with pytest.raises(InvalidPayload) as refused:
        client.enqueue(send, {"to": 5})
    assert refused.value.problems[0].pointer == "/to"
    assert count() == 0


class TestUniqueKeys:
    def test_skip_answers_with_the_task_that_is_there(self, client):
        first = client.enqueue("mail", {"n": 1}, unique_key="k")
        second = client.enqueue("mail", {"n": 2}, unique_key="k")
        assert (second.id, second.created) == (first.id, False)
        assert client.get(first.id).payload == {"n": 1}

    def test_error_names_the_task_that_is_there(self, client):
        first = client.enqueue("mail", unique_key="k")
        with pytest.raises(UniqueConflict) as refused:
            client.enqueue("mail", unique_key="k", on_conflict="error")
        assert refused.value.conflicting_task_id == first.id

    def test_replace_changes_the_one_that_waits(self, client):
        first = client.enqueue("mail", {"n": 1}, unique_key="k", delay=60)
        second = client.enqueue("mail", {"n": 2}, unique_key="k", on_conflict="replace", priority="high")
        assert (second.id, second.created) == (first.id, False)
        stored = client.get(first.id)
        assert (stored.payload, stored.priority, stored.state) == ({"n": 2}, Priority.HIGH, "pending")

    def test_a_key_is_free_again_when_its_task_has_ended(self, client, end):
        first = client.enqueue("mail", unique_key="k")
        end(first.id)
        assert client.enqueue("mail", unique_key="k").created

    def test_the_same_key_of_another_type_is_another_key(self, client):
        assert client.enqueue("mail", unique_key="k").created
        assert client.enqueue("letter", unique_key="k").created


class TestRefusals:
    def test_a_payload_above_the_limit_is_refused_and_one_at_it_is_not(self, client, count):
        room = 256 * 1024 - len('{"a":""}')
        client.enqueue("mail", {"a": "x" * room})
        with pytest.raises(InvalidTask, match="262145 bytes"):
            client.enqueue("mail", {"a": "x" * (room + 1)})
        assert count() == 1

    def test_the_limit_is_a_setting(self, dsn, monkeypatch):
        with Client(dsn, max_payload_bytes=20) as client, pytest.raises(InvalidTask, match="more than the 20 allowed"):
            client.enqueue("mail", {"a": "x" * 20})
        monkeypatch.setenv("TASKFLOW_MAX_PAYLOAD_BYTES", "30")
        with Client(dsn) as client, pytest.raises(InvalidTask, match="more than the 30 allowed"):
            client.enqueue("mail", {"a": "x" * 30})

    @pytest.mark.parametrize(
        "payload",
        [{"a": "\x00"}, {"a": float("nan")}, {"a": object()}, [1], "text", {1: 2}],
        ids=lambda value: type(value).__name__,
    )
    def test_what_is_no_json_object_is_refused(self, client, count, payload):
        with pytest.raises(InvalidTask):
            client.enqueue("mail", payload)
        assert count() == 0

    def test_a_time_without_zone_is_refused(self, client):
        with pytest.raises(InvalidTask, match="no time zone"):
            client.enqueue("mail", run_at=datetime(2026, 1, 1))  # noqa: DTZ001

    def test_a_rule_of_the_database_is_named(self, client):
        with pytest.raises(InvalidTask) as refused:
            client.enqueue("mail", run_at=datetime(1999, 1, 1, tzinfo=UTC))
        assert refused.value.constraint == "run_at_is_a_finite_time"

    def test_numbers_that_only_json_knows_are_stored_exactly(self, client):
        payload = {"big": 2**63, "small": -(2**63), "float": 1e-300, "one": 1.0}
        assert client.get(client.enqueue("mail", payload).id).payload == payload
