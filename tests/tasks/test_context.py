from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime

import pytest

from taskflow import Cancel, Context
from taskflow.tasks.context import MAX_LOG_BYTES, MAX_LOG_ENTRIES
from taskflow.tasks.task import ClaimedTask

TASK = ClaimedTask(
    id=7,
    attempt=2,
    type="mail",
    queue="outbox",
    priority=1,
    run_at=datetime(2026, 1, 1, tzinfo=UTC),
    payload={"to": "a"},
    metadata={"user": 3},
    timeout=60.0,
    losses=0,
)


class Recorder:
    """An attempt that remembers what it was told."""

    def __init__(self):
        self.progress = []
        self.cancelled = False
        self.opened = object()

    def report_progress(self, percent, message):
        self.progress.append((percent, message))

    def is_cancelled(self):
        return self.cancelled

    def open_connection(self):
        return contextlib.nullcontext(self.opened)

    def open_connection_async(self):
        return contextlib.nullcontext(self.opened)


@pytest.fixture
def attempt():
    return Recorder()


@pytest.fixture
def context(attempt):
    return Context(TASK, attempt)


def test_a_context_says_which_attempt_it_is(context):
    assert (context.task_id, context.attempt, context.type, context.queue) == (7, 2, "mail", "outbox")
    assert context.metadata == {"user": 3}
    assert "task=7 attempt=2" in repr(context)


def test_the_deadline_is_a_time_in_utc_or_none(attempt, context):
    assert context.deadline is None
    assert Context(TASK, attempt, 1_800_000_000.0).deadline == datetime.fromtimestamp(1_800_000_000, UTC)


@pytest.mark.parametrize(("percent", "stored"), [(0, 0), (42.9, 42), (100, 100), (-5, 0), (250, 100)])
def test_progress_is_a_whole_number_of_0_to_100(context, attempt, percent, stored):
    context.progress(percent, "half way")
    assert attempt.progress == [(stored, "half way")]


def test_a_progress_message_is_one_that_postgresql_can_store(context, attempt):
    context.progress(1, "a\x00b" + "c" * 5000)
    ((_, message),) = attempt.progress
    assert "\x00" not in message
    assert len(message) == 1000


def test_a_heartbeat_stops_a_cancelled_handler_and_no_other(context, attempt):
    context.heartbeat()
    assert not context.cancelled
    attempt.cancelled = True
    assert context.cancelled
    with pytest.raises(Cancel):
        context.heartbeat()


def test_connections_are_those_of_the_attempt(context, attempt):
    with context.connection() as connection:
        assert connection is attempt.opened
    assert context.connection_async().enter_result is attempt.opened


def test_logs_are_none_until_something_is_logged(context):
    assert context.logs is None
    context.log("sent", to="a@example.com")
    (entry,) = context.logs
    assert entry["message"] == "sent"
    assert entry["level"] == "info"
    assert entry["to"] == "a@example.com"
    assert datetime.fromisoformat(entry["at"]).tzinfo is not None


def test_anything_can_be_logged_and_stored(context):
    context.log("odd", "warning", when=datetime.now(UTC), what=object(), number=float("nan"), key={1: 2}, nul="a\x00b")
    context.log("surrogate \ud800", "error")
    text = json.dumps(context.logs)
    assert "\\u0000" not in text
    assert context.logs[0]["key"] == {"1": 2}
    assert context.logs[1]["level"] == "error"


def test_fields_cannot_hide_the_level_or_the_time(context):
    context.log("m", at="never")
    assert context.logs[0]["at"] != "never"


def test_an_unknown_level_is_refused(context):
    with pytest.raises(ValueError, match="warning"):
        context.log("x", "loud")


def test_logs_end_at_a_thousand_entries_and_say_so(context):
    for number in range(MAX_LOG_ENTRIES + 5):
        context.log("line", number=number)
    assert len(context.logs) == MAX_LOG_ENTRIES + 1
    assert context.logs[-1]["message"].startswith("5 more entries were dropped")


def test_logs_end_at_256_kib(context):
    for _ in range(20):
        context.log("x" * 20_000)
    stored, note = context.logs[:-1], context.logs[-1]
    assert len(json.dumps(stored)) <= MAX_LOG_BYTES
    assert "dropped" in note["message"]
