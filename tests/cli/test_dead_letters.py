"""`taskflow dlq` and `taskflow schedules` against a database."""

from __future__ import annotations

import json
import time

import pytest

from tests.cli.conftest import CommandLine
from tests.web.conftest import Engine


def dead(taskflow: CommandLine, engine: Engine, type_: str, *errors: str) -> list[str]:
    """Dead letters that died of these."""
    ids = []
    for error in errors:
        taskflow("enqueue", type_, '{"n": 1}')
        ids.append(str(engine.run("failed", None, type_, error=error, final=True)))
    return ids


@pytest.fixture
def type_() -> str:
    return f"type-{time.monotonic_ns()}"


def test_they_are_listed_and_grouped_by_what_they_died_of(taskflow: CommandLine, engine: Engine, type_: str) -> None:
    ids = dead(taskflow, engine, type_, "no host 'a'", "no host 'b'", "timeout")
    rows = [line.split("\t") for line in taskflow("dlq", "list", f"type:{type_}").splitlines()[1:]]
    assert [(row[0], row[4], row[6]) for row in rows] == [
        (ids[2], "final", "timeout"), (ids[1], "final", "no host 'b'"), (ids[0], "final", "no host 'a'"),
    ]  # fmt: skip
    groups = taskflow.json("dlq", "groups", f"type:{type_}")["groups"]
    assert [group["count"] for group in groups] == [2, 1]
    lines = taskflow("dlq", "list", "--group", groups[0]["fingerprint"], "--all", "--json").splitlines()
    assert {json.loads(line)["task_id"] for line in lines} == set(ids[:2])
    assert taskflow.json("dlq", "show", ids[0])["error"] == "no host 'a'"


def test_what_is_no_dead_letter_is_not_shown_as_one(taskflow: CommandLine, engine: Engine, type_: str) -> None:
    task_id = taskflow("enqueue", type_).strip()
    result = taskflow.result("dlq", "show", task_id)
    assert (result.exit_code, result.stdout) == (4, "")
    assert f"  why: Task {task_id} is pending, not a dead letter.\n" in result.stderr
    assert f"  fix: `taskflow tasks show {task_id}` shows it.\n" in result.stderr
    assert taskflow.refused("dlq", "retry", task_id)[1] == taskflow.refused("dlq", "show", task_id)[1]


def test_one_is_retried_without_a_question_and_many_with_one(taskflow: CommandLine, engine: Engine, type_: str) -> None:
    ids = dead(taskflow, engine, type_, *["timeout"] * 4)
    assert taskflow("dlq", "retry", ids[0], "--payload", '{"n": 2}') == "1 dead letter made pending again.\n"
    assert taskflow.json("tasks", "show", ids[0])["payload"] == {"n": 2}
    assert taskflow.refused("dlq", "retry", ids[0]) == (4, "TF-WRONG-STATE")
    some = ("--filter", f"type:{type_} error:timeout")
    assert taskflow.json("dlq", "retry", *some, "--dry-run")["retried_count"] == 3
    assert taskflow.refused("dlq", "retry", *some) == (2, "TF-CONFIRMATION-NEEDED")
    assert taskflow("dlq", "retry", *some, "--yes", "--per-second", "0.5") == "3 dead letters made pending again.\n"
    due = sorted(taskflow.json("tasks", "show", task_id)["scheduled_at"] for task_id in ids[1:])
    assert len(set(due)) == 3


def test_they_are_deleted_by_ids_filter_or_group_after_a_question(
    taskflow: CommandLine, engine: Engine, type_: str
) -> None:
    ids = dead(taskflow, engine, type_, "a", "b", "c", "d")
    assert taskflow.refused("dlq", "delete", ids[0]) == (2, "TF-CONFIRMATION-NEEDED")
    assert taskflow("dlq", "delete", ids[0], ids[1], "--yes") == "2 dead letters removed for good.\n"
    group = taskflow.json("dlq", "groups", f"type:{type_}", "error:c")["groups"][0]["fingerprint"]
    assert taskflow.json("dlq", "delete", "--group", group, "--yes")["deleted_count"] == 1
    assert taskflow.json("dlq", "delete", "--filter", f"type:{type_}", "--yes")["deleted_count"] == 1
    assert taskflow.refused("tasks", "show", ids[3]) == (3, "TF-TASK-NOT-FOUND")
    assert taskflow.json("dlq", "delete", "--filter", f"type:{type_}")["deleted_count"] == 0  # nothing to ask about


def test_ids_to_delete_may_be_more_than_fit_into_a_filter(taskflow: CommandLine, engine: Engine, type_: str) -> None:
    ids = dead(taskflow, engine, type_, "a", "b")
    gone = [str(2**63 - 1 - number) for number in range(250)]
    deleted = taskflow.json("dlq", "delete", ids[0], *gone, ids[1], ids[0], "--yes")["deleted_count"]
    assert deleted == 2
    assert taskflow.json("dlq", "list", f"type:{type_}")["entries"] == []


def test_a_schedule_from_its_beginning_to_its_end(taskflow: CommandLine) -> None:
    made = taskflow.json(
        "schedules", "create", "nightly", "report", "--cron", "0 3 * * *", "--timezone", "Europe/Berlin",
        "--payload", '{"all": true}', "--priority", "low", "--jitter", "1m", "--queue", "reports",
    )  # fmt: skip
    assert (made["cron"], made["payload"], made["jitter"], made["enabled"]) == ("0 3 * * *", {"all": True}, 60.0, True)
    assert taskflow.refused("schedules", "create", "nightly", "report", "--every", "1h") == (4, "TF-SCHEDULE-EXISTS")
    assert taskflow.json("schedules", "update", "nightly", "--every", "1h30m")["interval"] == 5400.0
    row = taskflow("schedules", "list", "--type", "report").splitlines()[1].split("\t")
    assert row[1:6] == ["nightly", "active", "report", "reports", "every 1h30m"]
    assert taskflow("schedules", "pause", "nightly") == "nightly\tschedule paused\n"
    task_id = taskflow("schedules", "run", "nightly").strip()
    assert taskflow.json("tasks", "show", task_id)["schedule_id"] == made["id"]
    taskflow("schedules", "resume", made["id"])
    shown = dict(line.split("\t", 1) for line in taskflow("schedules", "show", "nightly").splitlines())
    assert (shown["enabled"], shown["run_count"]) == ("yes", "1")
    assert taskflow.refused("schedules", "delete", "nightly") == (2, "TF-CONFIRMATION-NEEDED")
    taskflow("schedules", "delete", "nightly", "--yes")
    assert taskflow.refused("schedules", "show", "nightly") == (3, "TF-SCHEDULE-NOT-FOUND")


def test_a_preview_stores_nothing_and_knows_the_zone(taskflow: CommandLine) -> None:
    when = ("--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "--after", "2027-03-27T12:00:00Z", "--count", "2")
    # The 28th has no half past two there: it fires right after the gap.
    assert taskflow("schedules", "preview", *when) == "2027-03-28T01:00:00Z\n2027-03-29T00:30:00Z\n"
    assert taskflow.refused("schedules", "preview", "--cron", "0 0 31 2 *") == (2, "TF-INVALID-REQUEST")
    assert taskflow.json("schedules", "list")["count"] == 0
