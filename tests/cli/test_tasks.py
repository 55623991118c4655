"""`taskflow tasks` and `taskflow enqueue` of one task, against a database."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from taskflow.cli.commands.tasks.showing import advice
from taskflow.tasks import waiting_reason
from tests.cli.conftest import CommandLine
from tests.web.conftest import Engine


def new_type() -> str:
    """A type that no other test of the file has."""
    return f"type-{time.monotonic_ns()}"


def test_enqueue_prints_the_id_alone_and_show_has_all_that_was_said(taskflow: CommandLine) -> None:
    task_id = taskflow(
        "enqueue", "mail", '{"to": "anna"}', "--queue", "mailing", "--priority", "high", "--delay", "1h30m",
        "--max-attempts", "3", "--timeout", "2m", "--retry", "linear", "--retry-delay", "5s", "--tag", "a",
        "--tag", "b",         "--metadata", '{"user": 7}', "--concurrency-key", "anna",
    ).removesuffix("\n")  # fmt: skip
    task = taskflow.json("tasks", "show", task_id)
    assert (task["payload"], task["queue"], task["priority"]) == ({"to": "anna"}, "mailing", "high")
    assert (task["state"], task["max_attempts"], task["timeout"]) == ("scheduled", 3, 120.0)
    assert (task["tags"], task["metadata"], task["concurrency_key"]) == (["a", "b"], {"user": 7}, "anna")
    fields = dict(line.split("\t") for line in taskflow("tasks", "show", task_id).splitlines())
    assert (fields["payload"], fields["timeout"], fields["state"]) == ('{"to": "anna"}', "2m", "scheduled")


def test_a_payload_may_come_from_a_file_or_from_stdin(taskflow: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_text('{"from": "file"}')
    by_file = taskflow("enqueue", "echo", f"@{tmp_path / 'payload.json'}").strip()
    by_stdin = taskflow("enqueue", "echo", "-", stdin='{"from": "stdin"}').strip()
    found = [taskflow.json("tasks", "show", task_id)["payload"]["from"] for task_id in (by_file, by_stdin)]
    assert found == ["file", "stdin"]


def test_a_unique_key_that_is_taken_prints_the_task_there_is(taskflow: CommandLine) -> None:
    type_ = new_type()
    first = taskflow("enqueue", type_, "--unique-key", "k")
    again = taskflow.result("enqueue", type_, "--unique-key", "k")
    assert (again.stdout, again.exit_code) == (first, 0)
    assert "has its unique key" in again.stderr
    assert taskflow.refused("enqueue", type_, "--unique-key", "k", "--on-conflict", "error") == (
        4,
        "TF-UNIQUE-CONFLICT",
    )


def test_enqueue_can_wait_for_the_result(taskflow: CommandLine, engine: Engine) -> None:
    good, bad = new_type(), new_type()

    def work(type_: str, outcome: str, **details: object) -> threading.Thread:
        def run() -> None:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                try:
                    engine.run(outcome, {"sum": 3}, type_, **details)
                except AssertionError:  # it is not there yet
                    continue
                return

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    worker = work(good, "succeeded")
    assert json.loads(taskflow("enqueue", good, "--wait")) == {"sum": 3}
    worker.join()
    worker = work(bad, "failed", error="boom", final=True)
    result = taskflow.result("enqueue", bad, "--wait", "--wait-timeout", "20s")
    worker.join()
    assert (result.exit_code, result.stdout) == (1, "")
    assert "dead_letter: boom" in result.stderr


def test_who_has_waited_long_enough_is_shown_how_to_wait_for_the_same_task_again(taskflow: CommandLine) -> None:
    result = taskflow.result("enqueue", "too-long", "--wait-timeout", "300ms")
    (task,) = taskflow.json("tasks", "list", "type:too-long")["tasks"]
    assert result.exit_code == 1
    assert result.stderr.startswith("error[TF-WAIT-TIMEOUT]")
    assert f"  why: Task {task['id']} is pending.\n" in result.stderr
    assert f"`taskflow tasks wait {task['id']}`" in result.stderr
    assert "--wait-timeout" in result.stderr
    assert " --timeout" not in result.stderr


def test_list_takes_the_filter_language_and_options_alike(taskflow: CommandLine) -> None:
    type_ = new_type()
    ids = [taskflow("enqueue", type_, "--metadata", f'{{"user": {user}}}').strip() for user in (7, 8)]
    taskflow("tasks", "cancel", ids[1])
    found = taskflow.json("tasks", "list", f"type:{type_}", "metadata.user:7", "created:<1h")
    assert [task["id"] for task in found["tasks"]] == ids[:1]
    listed = taskflow.json("tasks", "list", "--type", type_, "--state", "cancelled", "--state", "running")
    assert [task["id"] for task in listed["tasks"]] == ids[1:]
    header, *rows = taskflow("tasks", "list", f"type:{type_}", "--sort", "id").splitlines()
    assert header.split("\t")[:4] == ["id", "type", "queue", "state"]
    assert [row.split("\t")[0] for row in rows] == ids


def test_all_and_export_walk_through_the_pages(taskflow: CommandLine, engine: Engine) -> None:
    type_ = new_type()
    engine.connection.execute("INSERT INTO taskflow.tasks (type) SELECT %s FROM generate_series(1, 450)", [type_])
    lines = taskflow("tasks", "list", f"type:{type_}", "--all", "--json").splitlines()
    exported = taskflow("tasks", "export", f"type:{type_}").splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == 450
    assert [json.loads(line)["id"] for line in exported] == [json.loads(line)["id"] for line in reversed(lines)]
    assert len(taskflow.json("tasks", "list", f"type:{type_}", "--limit", "300")["tasks"]) == 300


def test_secrets_are_shown_only_to_who_asks_for_them(taskflow: CommandLine) -> None:
    task_id = taskflow("enqueue", "echo", '{"password": "hunter2"}').strip()
    assert "hunter2" not in taskflow("tasks", "show", task_id) + taskflow("tasks", "list", "--json")
    assert "hunter2" in taskflow("tasks", "show", task_id, "--secrets")
    assert "hunter2" in taskflow("tasks", "export", f"id:{task_id}", "--secrets")


def test_what_a_task_holds_moves_no_cursor_and_breaks_no_line(taskflow: CommandLine, engine: Engine) -> None:
    type_ = new_type()
    taskflow("enqueue", type_)
    task_id = engine.run("failed", None, type_, error="a\x1b[2J\tb\nc", final=True)
    [_, row] = taskflow("tasks", "list", f"type:{type_}").splitlines()
    assert row.split("\t")[-1] == "a\\u001b[2J b"
    assert "\x1b" not in taskflow("tasks", "show", str(task_id)) + taskflow("tasks", "logs", str(task_id))


def test_show_has_every_attempt_with_its_error_and_why_says_what_to_do(taskflow: CommandLine, engine: Engine) -> None:
    type_ = new_type()
    taskflow("enqueue", type_, "--max-attempts", "1")
    task_id = str(engine.run("failed", None, type_, error="timeout of mail.example", traceback="Traceback: …"))
    shown = taskflow("tasks", "show", task_id)
    assert "attempt\tstatus\tworker\tstarted_at\ttook_ms\terror" in shown
    assert "\tfailed\t" in shown
    assert shown.count("timeout of mail.example") == 2
    assert "Traceback: …" in taskflow("tasks", "show", task_id, "--traceback")
    assert f"`taskflow tasks retry {task_id}`" in taskflow("tasks", "why", task_id)


def test_why_of_a_paused_queue_names_the_command_that_resumes_it(taskflow: CommandLine) -> None:
    task_id = taskflow("enqueue", "echo", "--queue", "asleep").strip()
    taskflow("queues", "pause", "asleep")
    said = taskflow("tasks", "why", task_id)
    assert "is paused" in said
    assert "taskflow queues resume asleep" in said


def test_logs_are_those_of_all_attempts_and_follow_ends_with_the_task(taskflow: CommandLine, engine: Engine) -> None:
    type_ = new_type()
    taskflow("enqueue", type_)
    logs = [{"at": "2030-01-01T00:00:00+00:00", "level": "warning", "message": "slow", "host": "mx1"}]
    task_id = str(engine.run("succeeded", {"ok": True}, type_, logs=logs))
    printed = taskflow("tasks", "logs", task_id)
    assert "warning" in printed
    assert "slow  host=mx1" in printed
    followed = [json.loads(line) for line in taskflow("tasks", "logs", task_id, "--follow", "--json").splitlines()]
    assert [entry["message"] for entry in followed] == ["slow", "succeeded"]


def test_wait_is_0_for_completed_and_1_for_any_other_end(taskflow: CommandLine, engine: Engine) -> None:
    type_ = new_type()
    taskflow("enqueue", type_)
    completed = str(engine.run("succeeded", None, type_))
    cancelled = taskflow("enqueue", type_).strip()
    waiting = taskflow("enqueue", type_).strip()
    taskflow("tasks", "cancel", cancelled)
    assert taskflow("tasks", "wait", completed) == f"{completed}\tcompleted\n"
    assert taskflow.result("tasks", "wait", completed, cancelled).exit_code == 1
    assert taskflow.refused("tasks", "wait", waiting, "--timeout", "300ms") == (1, "TF-WAIT-TIMEOUT")


def test_a_task_that_waits_can_be_edited_and_one_that_ended_cannot(taskflow: CommandLine) -> None:
    task_id = taskflow("enqueue", "echo", '{"n": 1}').strip()
    changes = ("--payload", '{"n": 2}', "--priority", "critical", "--delay", "1h", "--tag", "late")
    task = taskflow.json("tasks", "edit", task_id, *changes)
    assert (task["payload"], task["priority"]) == ({"n": 2}, "critical")
    assert (task["state"], task["tags"]) == ("scheduled", ["late"])
    taskflow("tasks", "cancel", task_id)
    assert taskflow.refused("tasks", "edit", task_id, "--priority", "low") == (4, "TF-WRONG-STATE")


def test_an_editor_changes_what_is_different_and_keeps_secrets(
    taskflow: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = taskflow("enqueue", "echo", '{"token": "t0p", "n": 1}').strip()
    monkeypatch.setattr("taskflow.cli.commands.tasks.editing.is_terminal", lambda: True)
    monkeypatch.setattr(
        "taskflow.cli.commands.tasks.editing.click.edit", lambda text, **_: text.replace('"n": 1', '"n": 2')
    )
    taskflow("tasks", "edit", task_id)
    assert taskflow.json("tasks", "show", task_id, "--secrets")["payload"] == {"token": "t0p", "n": 2}
    monkeypatch.setattr(
        "taskflow.cli.commands.tasks.editing.click.edit", lambda text, **_: text.replace("t0p", "[redacted]")
    )
    assert taskflow.refused("tasks", "edit", task_id) == (2, "TF-INVALID-INPUT")


@pytest.mark.parametrize("verb", ["show", "why", "logs", "wait", "retry", "cancel", "edit"])
def test_a_task_that_is_not_there_is_exit_code_3(taskflow: CommandLine, verb: str) -> None:
    options = ["--priority", "low"] if verb == "edit" else []
    assert taskflow.refused("tasks", verb, "999999", *options) == (3, "TF-TASK-NOT-FOUND")


def test_some_are_changed_though_others_cannot_be(taskflow: CommandLine) -> None:
    one, two = (taskflow("enqueue", "echo").strip() for _ in range(2))
    result = taskflow.result("tasks", "cancel", one, "999999", two)
    assert result.exit_code == 3
    assert result.stdout == f"{one}\tcancelled\n{two}\tcancelled\n"
    assert "error[TF-TASK-NOT-FOUND]" in result.stderr


def test_many_are_counted_before_they_are_changed(taskflow: CommandLine) -> None:
    type_ = new_type()
    for _ in range(3):
        taskflow("enqueue", type_)
    by_filter = ("--filter", f"type:{type_}")
    assert taskflow("tasks", "cancel", *by_filter, "--dry-run") == "3 tasks would be cancelled.\n"
    assert taskflow.refused("tasks", "cancel", *by_filter) == (2, "TF-CONFIRMATION-NEEDED")
    assert taskflow("tasks", "cancel", *by_filter, "--yes") == "3 of 3 tasks cancelled.\n"
    again = taskflow.json("tasks", "retry", *by_filter, "--yes", "--per-second", "1", "--priority", "low")
    assert again == {"matched": 3, "affected": 3, "dry_run": False}
    due = sorted(task["scheduled_at"] for task in taskflow.json("tasks", "list", *by_filter[1:])["tasks"])
    assert len(set(due)) == 3
    taskflow("tasks", "cancel", *by_filter, "--yes")
    assert taskflow("tasks", "delete", *by_filter, "--yes") == "3 of 3 tasks removed for good.\n"
    assert taskflow.json("tasks", "list", *by_filter[1:])["tasks"] == []


def test_at_a_terminal_the_question_has_the_count_and_no_changes_nothing(
    taskflow: CommandLine, on_a_terminal: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = taskflow("enqueue", "echo").strip()
    taskflow("tasks", "cancel", task_id)
    on_a_terminal("n")
    asked: list[str] = []
    monkeypatch.setattr("taskflow.cli.output.click.confirm", lambda text, **_: asked.append(text))
    assert taskflow.refused("tasks", "delete", "--filter", f"id:{task_id}") == (1, "TF-NOT-CONFIRMED")
    assert asked == ["1 task is to be removed for good. Go on?"]
    on_a_terminal("y")
    assert taskflow("tasks", "delete", task_id) == f"{task_id}\tremoved\n"


def test_all_that_the_api_advises_has_a_command() -> None:
    source = Path(waiting_reason.__file__).read_text()
    routes = {
        "POST /api/v1/tasks/7/retry": "`taskflow tasks retry 7`",
        "POST /api/v1/queues/mail/resume": "`taskflow queues resume mail`",
        "POST /api/v1/workers/{id}/resume": "`taskflow workers resume id`",
        "PATCH /api/v1/tasks/7 with scheduled_at": "`taskflow tasks edit 7 --delay 0`",
        "PATCH /api/v1/queues/mail with key_limit": "`taskflow queues set mail --key-limit …`",
        "PATCH /api/v1/queues/mail with type_limits": "`taskflow queues set mail --type-limit …`",
    }
    assert {advice(route) for route in routes} == set(routes.values())
    assert set(re.findall(r"(?:POST|PATCH|DELETE) /api/v1/\w+", source)) == {
        " ".join(route.split("/", 4)[:1]) + "/" + "/".join(route.split("/")[1:4]) for route in routes
    }
