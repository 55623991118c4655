"""Reports of periods whose attempts the test has put there, at times and with durations of its choice."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from taskflow.errors import DeadLetter, InvalidPayload, Snooze
from taskflow.handlers import _report_figures
from taskflow.handlers._report_figures import Period
from taskflow.handlers.report import Report, _check
from tests.handlers.database import ConnectedAttempt, run_with
from tests.leader.conftest import Database

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
Reporter = Callable[..., dict[str, Any]]


@pytest.fixture
def database(connection: psycopg.Connection[Any], dsn: str) -> Database:
    return Database(connection, dsn)


@pytest.fixture
def attempt(dsn: str) -> ConnectedAttempt:
    """With no more rights than a worker needs."""
    return ConnectedAttempt(f"{dsn}&options=-crole%3Dtaskflow_worker")


@pytest.fixture
def report(attempt: ConnectedAttempt, dsn: str, monkeypatch: pytest.MonkeyPatch) -> Reporter:
    monkeypatch.setenv("DATABASE_URL", dsn)
    return lambda type_="daily", **payload: run_with(attempt, "report", {"type": type_, **payload})


def yesterday(hour: int = 12, minute: int = 0) -> datetime:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - DAY + timedelta(hours=hour, minutes=minute)


def add(database: Database, finished: datetime, seconds: float = 0.0, **columns: Any) -> None:
    number = database.one("SELECT count(*) FROM taskflow.executions")
    database.add_execution(1_000_000 + number, finished, started_at=finished - timedelta(seconds=seconds), **columns)


def test_a_daily_report_has_yesterday_by_state_and_outcome(report: Reporter, database: Database) -> None:
    for hour in (0, 12, 23):
        add(database, yesterday(hour, 59), 0.15)
    add(database, yesterday(24), 0.15)  # today
    database.make_day("executions", yesterday(-1).date())
    add(database, yesterday(0) - timedelta(microseconds=1), 0.15)
    add(database, yesterday(3), outcome="failed", next_state="retrying")
    add(database, yesterday(4), outcome="timed_out", next_state="dead_letter")
    add(database, yesterday(5), outcome="lost", next_state="pending")
    add(database, yesterday(6), outcome="cancelled", next_state="cancelled")
    for state in ("cancelled", "cancelled", "failed"):
        database.add_task(state, yesterday(6))
    database.add_task("cancelled", yesterday(24))
    result = report()
    assert (result["period"], result["from"], result["to"]) == (
        "daily",
        yesterday(0).isoformat(),
        yesterday(24).isoformat(),
    )
    assert result["tasks"] == {"completed": 3, "failed": 1, "cancelled": 2, "dead_letter": 1}
    assert result["attempts"] == {
        "succeeded": 3,
        "failed": 1,
        "timed_out": 1,
        "lost": 1,
        "cancelled": 1,
        "snoozed": 0,
        "total": 7,
    }
    assert (result["retried"], result["failure_rate"]) == (1, round(3 / 7, 6))


def test_latency_is_that_of_what_succeeded_overall_and_by_queue_and_type(report: Reporter, database: Database) -> None:
    for seconds in (0.12, 0.14, 0.16, 0.18):
        add(database, yesterday(), seconds, queue="mail", type="email")
    add(database, yesterday(), 3.0, queue="mail", type="report")
    add(database, yesterday(), 500.0, queue="mail", type="email", outcome="failed")
    result = report()
    by_type = {row["type"]: row["latency"] for row in result["types"]}
    assert by_type["email"]["avg"] == pytest.approx(0.15)
    assert by_type["email"]["p50"] == pytest.approx(0.15)  # four between 0.1 and 0.2, taken to be evenly spread
    assert by_type["email"]["p95"] == pytest.approx(0.195)
    assert by_type["report"]["avg"] == pytest.approx(3.0)
    assert result["queues"][0]["latency"]["avg"] == result["latency"]["avg"] == pytest.approx((0.6 + 3) / 5)
    assert [(row["queue"], row["type"], row["attempts"]["total"]) for row in result["queues_and_types"]] == [
        ("mail", "email", 5),
        ("mail", "report", 1),
    ]


def test_the_busiest_hours_come_first(report: Reporter, database: Database) -> None:
    for hour, count in ((3, 1), (9, 3), (14, 2)):
        for minute in range(count):
            add(database, yesterday(hour, minute), outcome="failed" if minute == 2 else "succeeded")
    # Half an hour off; and it may be tomorrow there already.
    in_india = report("custom", timezone="Asia/Kolkata", **{"from": f"{yesterday(0)}", "to": f"{yesterday(24)}"})
    assert [hour["hour"] for hour in in_india["busiest_hours"]][:1] == [
        yesterday(9).astimezone(ZoneInfo("Asia/Kolkata")).replace(minute=0).isoformat()
    ]
    assert report()["busiest_hours"] == [
        {"hour": yesterday(9).isoformat(), "attempts": 3, "failures": 1},
        {"hour": yesterday(14).isoformat(), "attempts": 2, "failures": 0},
        {"hour": yesterday(3).isoformat(), "attempts": 1, "failures": 0},
    ]


def test_dead_letters_are_grouped_by_what_they_died_of(report: Reporter, database: Database) -> None:
    for number in range(3):
        task = database.add_task("dead_letter", yesterday())
        database.connection.execute(
            "UPDATE taskflow.tasks SET error = %s, fingerprint = %s WHERE id = %s",
            (f"no host {number // 2}", f"print {number // 2}", task),
        )
    assert report()["errors"] == [
        {"type": "t", "error": "no host 0", "dead_letters": 2},
        {"type": "t", "error": "no host 1", "dead_letters": 1},
    ]


def test_days_are_those_of_the_time_zone() -> None:
    payload = Report.model_validate_json('{"type": "weekly", "timezone": "Europe/Berlin"}')
    period = payload.period(datetime(2026, 3, 30, 22, 30, tzinfo=UTC))  # the 31st there; summer time began on the 29th
    assert period == Period(datetime(2026, 3, 23, 23, tzinfo=UTC), datetime(2026, 3, 30, 22, tzinfo=UTC))
    assert [part.end - part.start for part in period.days()] == [*[DAY] * 6, timedelta(hours=23)]
    assert Report.model_validate_json('{"type": "daily"}').period(datetime(2026, 1, 1, tzinfo=UTC)).start.year == 2025


def test_a_retry_reports_the_same_period(report: Reporter, database: Database, attempt: ConnectedAttempt) -> None:
    day = (datetime.now(UTC) - 3 * DAY).date()
    database.make_day("executions", day)
    database.add_execution(4711, datetime(day.year, day.month, day.day, 8, tzinfo=UTC), outcome="failed")
    assert report()["to"] == datetime(day.year, day.month, day.day, tzinfo=UTC).isoformat()


def test_a_custom_period_is_to_the_minute_and_ends_now_at_the_latest(report: Reporter, database: Database) -> None:
    now = datetime.now(UTC)
    minute = now.replace(second=0, microsecond=0)
    add(database, minute - 3 * MINUTE)
    result = report("custom", **{"from": (minute - 5 * MINUTE).isoformat(), "to": (now + DAY).isoformat()})
    assert result["attempts"]["total"] == 1
    assert datetime.fromisoformat(result["to"]) - minute in (timedelta(), MINUTE)
    earlier = report("custom", **{"from": (minute - 5 * MINUTE).isoformat(), "to": (minute - 3 * MINUTE).isoformat()})
    assert earlier["attempts"]["total"] == 0


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"type": "monthly"},
        {"type": "daily", "from": "2026-01-01T00:00:00Z"},
        {"type": "custom"},
        {"type": "custom", "from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        {"type": "custom", "from": "2026-01-01T00:00:00", "to": "2026-01-02T00:00:00"},
        {"type": "custom", "from": "2026-01-01T00:00:00Z", "to": "2026-05-01T00:00:00Z"},
        {"type": "daily", "timezone": "Mars/Olympus"},
        {"type": "daily", "timezone": "../etc/passwd"},
        {"type": "daily", "path": "report.pdf"},
        {"type": "daily", "path": "../report.html"},
        {"type": "daily", "email_to": ["nobody"]},
        {"type": "daily", "email_to": ["a@example.com\nBcc: b@example.com"]},
        {"type": "daily", "start": "2026-01-01T00:00:00Z"},
    ],
)
def test_a_payload_that_makes_no_sense_is_refused(payload: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayload):
        run_with(ConnectedAttempt("no database is needed for this"), "report", payload)


def test_a_period_that_cannot_be_reported_is_final(report: Reporter) -> None:
    now = datetime.now(UTC)
    with pytest.raises(DeadLetter, match="the last 90 days"):
        report("custom", **{"from": (now - 91 * DAY).isoformat(), "to": now.isoformat()})
    with pytest.raises(DeadLetter, match="has not begun"):
        report("custom", **{"from": (now + DAY).isoformat(), "to": (now + 2 * DAY).isoformat()})
    with pytest.raises(DeadLetter, match="TASKFLOW_FILES_ROOT"):
        report(path="report.json")


def test_at_the_very_end_of_its_period_it_waits_for_what_is_being_written() -> None:
    payload = Report.model_validate_json('{"type": "daily"}')
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    with pytest.raises(Snooze):
        _check(payload, payload.period(midnight), midnight + timedelta(seconds=3))
    _check(payload, payload.period(midnight), midnight + timedelta(seconds=10))


def test_what_the_leader_has_counted_is_not_counted_again_and_what_it_has_not_is(
    report: Reporter, database: Database
) -> None:
    add(database, yesterday(12))
    add(database, yesterday(23))
    counted = "INSERT INTO taskflow.task_stats VALUES (%s, 'x', 'y', 'succeeded', %s, 1, array_fill(0::bigint, '{23}'))"
    database.connection.execute(counted, (yesterday(13), 40))
    assert report()["attempts"]["total"] == 41  # that of 12 o'clock lies before the last minute counted
    assert report()["attempts"]["total"] == 41
    database.connection.execute(counted, (datetime.now(UTC) - MINUTE, 1))
    add(database, yesterday(23))
    assert report()["attempts"]["total"] == 41


def test_the_report_is_stored_as_json_html_and_csv_with_every_name_made_harmless(
    report: Reporter, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKFLOW_FILES_ROOT", str(tmp_path))
    add(database, yesterday(), 0.5, type="<script>alert(1)</script>")
    add(database, yesterday(), 0.5, type="=cmd()")
    result = report(path="reports/day.json")
    assert result["path"] == "reports/day.json"
    assert json.loads((tmp_path / "reports/day.json").read_text()) | {"path": "reports/day.json"} == result
    report(path="day.html")
    page = (tmp_path / "day.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    report(path="day.csv")
    rows = list(csv.DictReader(StringIO((tmp_path / "day.csv").read_text(), newline="")))
    assert [(row["type"], row["completed"], row["avg_seconds"]) for row in rows] == [
        ("<script>alert(1)</script>", "1", "0.5"),
        ("'=cmd()", "1", "0.5"),
    ]


def test_it_is_mailed_once_however_often_it_runs(report: Reporter, database: Database) -> None:
    add(database, yesterday(), 0.25)
    first = report(email_to=["ops@example.com"])
    task, payload = database.one("SELECT id, payload FROM taskflow.tasks WHERE type = 'email'")
    assert first["email_task_id"] == task
    assert payload["to"] == ["ops@example.com"]
    assert "daily" in payload["subject"]
    assert "completed               1" in payload["text"]
    database.connection.execute(
        "UPDATE taskflow.tasks SET state = 'completed', finished_at = now(), worker_id = NULL WHERE id = %s", (task,)
    )
    assert report(email_to=["ops@example.com"])["email_task_id"] == task
    assert database.one("SELECT count(*) FROM taskflow.tasks WHERE type = 'email'") == 1


def test_progress_goes_day_by_day(report: Reporter, attempt: ConnectedAttempt) -> None:
    report("weekly", timezone="America/New_York")
    assert [message for _, message in attempt.progress][1:] == [f"{day} of 7 days" for day in range(1, 8)]
    assert [percent for percent, _ in attempt.progress] == sorted(percent for percent, _ in attempt.progress)


def test_no_day_outside_of_the_period_is_read(database: Database) -> None:
    start = datetime.now(ZoneInfo("UTC")).replace(hour=0, minute=0, second=0, microsecond=0)
    plan = database.all(f"EXPLAIN {_report_figures.ENDED}", start, start + DAY)
    scanned = {word for line in plan for word in line.split() if word.startswith("tasks_")}
    assert {name for name in scanned if name[-8:].isdigit()} == {f"tasks_ended_{start:%Y%m%d}"}


def test_names_beyond_the_first_500_are_left_out_of_the_lists_and_not_of_the_sums(
    report: Reporter, database: Database
) -> None:
    database.connection.execute(
        "INSERT INTO taskflow.task_stats SELECT %s, 'q', 't' || i, 'succeeded', 1, 1, array_fill(0::bigint, '{23}')"
        " FROM generate_series(1, 600) AS i",
        (yesterday(),),
    )
    result = report()
    assert (result["tasks"]["completed"], len(result["types"])) == (600, 500)
