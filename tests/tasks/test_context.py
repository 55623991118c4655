from __future__ import annotations

import contextlib
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taskflow import Cancel, Context
from taskflow.tasks.logs import MAX_BYTES, MAX_ENTRIES, Logs
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
        self.logs = Logs()
        self.log = self.logs.add

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


@pytest.mark.parametrize(
    ("percent", "stored"),
    [(0, 0), (42.9, 42), (100, 100), (-5, 0), (-0.5, 0), (250, 100), (math.inf, 100), (-math.inf, 0), (math.nan, 0)],
)
def test_progress_is_a_whole_number_of_0_to_100(context, attempt, percent, stored):
    context.progress(percent, "half way")
    assert attempt.progress == [(stored, "half way")]
    assert type(attempt.progress[0][0]) is int


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


def test_an_entry_has_a_level_a_time_and_its_fields(context, attempt):
    context.log("sent", to="a@example.com")
    (entry,) = attempt.logs.stored()
    assert entry["message"] == "sent"
    assert entry["level"] == "info"
    assert entry["to"] == "a@example.com"
    assert datetime.fromisoformat(entry["at"]).tzinfo is not None


def test_anything_can_be_logged_and_stored(context, attempt):
    context.log("odd", "warning", when=datetime.now(UTC), what=object(), number=float("nan"), key={1: 2}, nul="a\x00b")
    context.log("surrogate \ud800", "error")
    logs = attempt.logs.stored()
    assert "\\u0000" not in json.dumps(logs)
    assert logs[0]["key"] == {"1": 2}
    assert logs[1]["level"] == "error"


class Unspeakable:
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


def test_a_field_that_cannot_be_stored_is_its_text_and_leaves_the_others_alone(context, attempt):
    context.log("a\0b", sur="\ud800", path=Path("a\udcff"), big=2**80, rows=[1, "\ud800"], mute=Unspeakable(), count=3)
    context.log("half \ud800", count=3, **{"k\ud800": [1]})
    first, second = attempt.logs.stored()
    assert first.pop("mute").startswith("<")
    assert first == {
        "at": first["at"], "level": "info", "message": "a\ufffdb", "sur": "?", "path": "a?", "big": str(2**80),
        "rows": "[1, '\\ud800']", "count": 3,
    }  # fmt: skip
    assert second == {"at": second["at"], "level": "info", "message": "half ?", "count": 3, "k?": [1]}


@pytest.mark.parametrize(
    ("logged", "stored"),
    [
        ("\\u0000", "\\u0000"),
        ("\x00", "\ufffd"),
        ("\\\x00\x00\\u0000", "\\\ufffd\ufffd\\u0000"),
        ("\\\\u0000\x00", "\\\\u0000\ufffd"),
    ],
    ids=ascii,
)
def test_a_nul_is_replaced_in_the_logs_and_what_looks_like_one_in_json_is_not(context, attempt, logged, stored):
    context.log(f"a{logged}", value=[logged, "x"], key={logged: 1})
    (entry,) = attempt.logs.stored()
    assert (entry["message"], entry["value"], entry["key"]) == (f"a{stored}", [stored, "x"], {stored: 1})


def test_fields_cannot_hide_the_level_or_the_time(context, attempt):
    context.log("m", at="never")
    assert attempt.logs.stored()[0]["at"] != "never"


def test_an_unknown_level_is_refused(context):
    with pytest.raises(ValueError, match="warning"):
        context.log("x", "loud")


def test_logs_end_at_a_thousand_entries_and_say_so(context, attempt):
    for number in range(MAX_ENTRIES + 5):
        context.log("line", number=number)
    logs = attempt.logs.stored()
    assert len(logs) == MAX_ENTRIES + 1
    assert logs[-1]["message"].startswith("5 more entries were dropped")


def test_logs_end_at_256_kib(context, attempt):
    for _ in range(20):
        context.log("x" * 20_000)
    *stored, note = attempt.logs.stored()
    assert len(json.dumps(stored)) <= MAX_BYTES
    assert "dropped" in note["message"]
