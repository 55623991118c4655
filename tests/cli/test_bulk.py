"""`taskflow enqueue --file` into a database: by COPY, all or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from taskflow.cli import bulk
from tests.cli.conftest import CommandLine
from tests.leader.conftest import wait_until
from tests.web.conftest import Engine


def lines(*tasks: Any) -> str:
    return "".join(json.dumps(task) + "\n" for task in tasks)


def count(engine: Engine, type_: str) -> int:
    row = engine.connection.execute("SELECT count(*) FROM taskflow.tasks WHERE type = %s", [type_]).fetchone()
    assert row is not None
    return int(row[0])


def test_a_file_of_ten_thousand_lines_is_ten_thousand_tasks(
    taskflow: CommandLine, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "tasks.ndjson").write_text(lines(*({"type": "many", "payload": {"n": n}} for n in range(10_000))))
    said = taskflow("enqueue", "--file", str(tmp_path / "tasks.ndjson"), "--queue", "bulk", "--priority", "low")
    assert said == "10,000 tasks created\n"
    row = engine.connection.execute(
        "SELECT count(*), sum((payload->>'n')::int) FROM taskflow.tasks WHERE type = 'many' AND queue = 'bulk'"
        " AND priority = 0"
    ).fetchone()
    assert row == (10_000, 9_999 * 5_000)


def test_with_a_type_each_line_is_a_payload(taskflow: CommandLine) -> None:
    said = taskflow("enqueue", "letter", "--file", "-", "--json", stdin=lines({"to": "a"}, {"to": "b"}) + "\n")
    assert json.loads(said) == {"created": 2, "existing": 0}
    found = taskflow.json("tasks", "list", "type:letter", "--sort", "id")["tasks"]
    assert [task["payload"] for task in found] == [{"to": "a"}, {"to": "b"}]


def test_lines_have_all_the_fields_of_the_api(taskflow: CommandLine) -> None:
    full = {
        "type": "full", "payload": {"a": 1}, "queue": "q", "priority": "high", "delay": 60, "max_retries": 2,
        "retry_strategy": "LINEAR", "retry_delay": 3, "timeout": 9, "unique_key": "u", "metadata": {"m": 1},
        "tags": ["t"],
    }  # fmt: skip
    again = {"type": "full", "unique_key": "u"}
    later = {"job_type": "full", "scheduled_at": "2100-01-01T00:00:00Z", "concurrency_key": "c"}
    result = taskflow.result("enqueue", "--file", "-", stdin=lines(full, again, later))
    assert result.stdout == "2 tasks created\n"
    assert "1 were there already" in result.stderr
    task, other = taskflow.json("tasks", "list", "type:full", "--sort", "-priority")["tasks"]
    same = ("type", "payload", "queue", "priority", "timeout", "unique_key", "metadata", "tags")
    assert {name: task[name] for name in same} == {name: full[name] for name in same}
    assert (task["max_attempts"], task["state"]) == (3, "scheduled")
    assert (other["scheduled_at"], other["concurrency_key"]) == ("2100-01-01T00:00:00Z", "c")


def test_one_wrong_line_is_named_and_nothing_is_stored(taskflow: CommandLine, engine: Engine) -> None:
    good = {"type": "partly"}
    wrong = {
        "{": "TF-INVALID-INPUT",
        "[]": "TF-INVALID-INPUT",
        '{"payload": {}}': "TF-INVALID-INPUT",
        '{"type": "partly", "payload": []}': "TF-INVALID-REQUEST",
        '{"type": "partly", "prioritty": 1}': "TF-INVALID-REQUEST",
        '{"type": "partly", "payload": {"a": "\\u0000"}}': "TF-INVALID-REQUEST",
    }
    for line, code in wrong.items():
        result = taskflow.result("enqueue", "--file", "-", stdin=lines(*[good] * 3) + line + "\n")
        assert (result.exit_code, result.stdout) == (2, ""), line
        assert result.stderr.startswith(f"error[{code}]"), result.stderr
        assert "line 4" in result.stderr
        assert "Nothing of the file was stored" in result.stderr
    assert count(engine, "partly") == 0


def test_a_payload_that_does_not_fit_its_type_is_refused_here_too(taskflow: CommandLine, engine: Engine) -> None:
    schema = {"type": "object", "required": ["to"]}
    engine.connection.execute(
        "INSERT INTO taskflow.task_types (type, schema) VALUES ('strict', %s)", [json.dumps(schema)]
    )
    result = taskflow.result("enqueue", "strict", "--file", "-", stdin=lines({"to": "a"}, {}))
    assert (result.exit_code, count(engine, "strict")) == (2, 0)
    assert "error[TF-INVALID-PAYLOAD]" in result.stderr
    assert "line 2: /payload: 'to' is a required property" in result.stderr


def test_lines_can_be_skipped(taskflow: CommandLine, engine: Engine) -> None:
    taskflow("enqueue", "skipped", "--file", "-", "--skip", "2", stdin=lines(*[{}] * 5))
    assert count(engine, "skipped") == 3


def test_two_uploads_with_the_same_unique_keys_in_opposite_order_do_not_end_in_a_deadlock(
    engine: Engine, shared_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", shared_dsn)
    monkeypatch.setattr(bulk, "COPIED_TASKS", 1)
    stored: list[str] = []
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pg_blocking_pids(pid) <> '{}'"

    def upload(*keys: str) -> bulk.Counted:
        def lines() -> Iterator[bulk.Line]:
            for number, key in enumerate(keys, 1):
                yield bulk.Line(number, {"type": "alike", "unique_key": key}, 1)
            stored.append(keys[0])  # all but the last key, which is stored when this has ended
            wait_until(lambda: len(stored) == 2 or engine.connection.execute(waiting).fetchone())

        return bulk._copied(lines())

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.submit(upload, "a", "b"), threads.submit(upload, "b", "a")
    assert sorted([first.result(), second.result()]) == [(0, 2), (2, 0)]
    assert count(engine, "alike") == 2
