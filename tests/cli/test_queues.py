"""`taskflow queues`, `workers`, `stats` and `top` against a database."""

from __future__ import annotations

import json
import threading
import time

import pytest

from tests.cli.conftest import CommandLine
from tests.web.conftest import Engine


def fields(text: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in text.splitlines() if "\t" in line)


def test_show_has_every_setting_in_effect_and_the_whole_retry_policy(taskflow: CommandLine) -> None:
    taskflow(
        "queues", "set", "mail", "--create", "--max-workers", "10", "--rate-limit", "100/1m", "--max-attempts", "4",
        "--retry", "linear", "--retry-delay", "5s", "--max-retry-delay", "12s", "--retry-jitter", "0.2",
        "--type-limit", "import=paused", "--type-limit", "sync=2/s", "--keep", "completed=2d", "--aging", "1h",
        "--no-dead-letter", "--timeout", "90", "--weight", "3", "--priority", "7",
    )  # fmt: skip
    shown = fields(taskflow("queues", "show", "mail"))
    expected = {
        "attempts": "4 (3 retries)", "retry_strategy": "linear", "retry_delay": "5s", "max_retry_delay": "12s",
        "retry_jitter": "20%", "waits": "5s, 10s, 12s", "then": "failed", "max_workers": "10",
        "rate_limit": "100 starts in 1m", "type_import": "paused", "type_sync": "2 starts in 1s",
        "keep_completed": "2d", "aging": "1h", "timeout": "1m30s", "weight": "3", "priority": "7", "state": "running",
        "workers": "0",
    }  # fmt: skip
    assert {name: shown[name] for name in expected} == expected
    queue = taskflow.json("queues", "show", "mail")
    assert (queue["rate_limit"], queue["rate_period"], queue["stats"]["pending_count"]) == (100, 60, 0)


@pytest.mark.parametrize(
    ("strategy", "waits"),
    [("fixed", "1s, 1s, 1s"), ("linear", "1s, 2s, 3s"), ("exponential", "1s, 2s, 4s")],
)
def test_the_waits_shown_are_those_that_the_database_computes(
    taskflow: CommandLine, engine: Engine, strategy: str, waits: str
) -> None:
    name = f"waits-{strategy}"
    taskflow("queues", "set", name, "--create", "--retry", strategy, "--max-attempts", "4", "--retry-jitter", "0")
    assert fields(taskflow("queues", "show", name))["waits"] == waits
    taskflow("enqueue", name, "--queue", name)
    found = []
    for _ in range(3):
        task_id = engine.claim(name, name)
        engine.finish(task_id, "failed", error="again")
        row = engine.connection.execute(
            "UPDATE taskflow.tasks_live SET run_at = now() WHERE id = %s"
            " RETURNING round(extract(epoch FROM (SELECT t.run_at - t.updated_at FROM taskflow.tasks_live t"
            " WHERE t.id = tasks_live.id)))::int",
            [task_id],
        ).fetchone()
        assert row is not None
        found.append(f"{row[0]}s")
    assert ", ".join(found) == waits


def test_what_is_not_named_stays_and_a_limit_can_be_lifted(taskflow: CommandLine) -> None:
    taskflow("queues", "set", "kept", "--create", "--max-workers", "10", "--weight", "3")
    taskflow("queues", "update", "kept", "--unset", "max-workers", "--type-limit", "a=1/s")
    queue = taskflow.json("queues", "set", "kept", "--type-limit", "b=2/m")
    assert (queue["max_workers"], queue["weight"]) == (None, 3)
    assert {name: limit["rate_limit"] for name, limit in queue["type_limits"].items()} == {"a": 1, "b": 2}
    assert taskflow.json("queues", "set", "kept", "--type-limit", "a=none")["type_limits"].keys() == {"b"}


def test_a_misspelt_queue_is_not_created(taskflow: CommandLine) -> None:
    assert taskflow.refused("queues", "set", "mial", "--weight", "2") == (3, "TF-QUEUE-NOT-FOUND")
    assert taskflow.refused("queues", "show", "a/b") == (2, "TF-USAGE")
    assert "mial" not in taskflow("queues", "list")


def test_pause_and_resume(taskflow: CommandLine) -> None:
    taskflow("queues", "set", "nap", "--create")
    assert taskflow("queues", "pause", "nap", "default") == "nap\tqueue paused\ndefault\tqueue paused\n"
    rows = [line.split("\t")[:2] for line in taskflow("queues", "list").splitlines()]
    assert ["nap", "paused"] in rows
    taskflow("queues", "resume", "nap", "default")
    assert not taskflow.json("queues", "show", "nap")["paused"]


def test_purge_counts_asks_and_cancels(taskflow: CommandLine) -> None:
    for delay in ("0", "1h"):
        taskflow("enqueue", "echo", "--queue", "full", "--delay", delay)
    assert taskflow("queues", "purge", "full", "--dry-run") == "2 tasks would be cancelled.\n"
    assert taskflow.refused("queues", "purge", "full") == (2, "TF-CONFIRMATION-NEEDED")
    assert taskflow.refused("queues", "delete", "full", "--yes") == (4, "TF-QUEUE-NOT-EMPTY")
    assert taskflow("queues", "purge", "full", "--yes") == "2 tasks cancelled.\n"
    taskflow("queues", "delete", "full", "--yes")
    assert taskflow.refused("queues", "show", "full") == (3, "TF-QUEUE-NOT-FOUND")


def test_drain_waits_for_what_runs_and_leaves_what_waits(taskflow: CommandLine, engine: Engine) -> None:
    for _ in range(2):
        taskflow("enqueue", "drained", "--queue", "drained")
    running = engine.claim("drained", "drained")
    assert taskflow.refused("queues", "drain", "drained", "--timeout", "100ms") == (1, "TF-WAIT-TIMEOUT")
    timer = threading.Timer(0.3, engine.finish, [running])
    timer.start()
    result = taskflow.result("queues", "drain", "drained", "--timeout", "20s")
    timer.join()
    assert (result.exit_code, "1 tasks wait" in result.stderr) == (0, True)
    assert taskflow.json("queues", "show", "drained")["paused"]


@pytest.fixture
def worker_id(engine: Engine) -> str:
    """Of one that only has a row."""
    row = engine.connection.execute(
        "INSERT INTO taskflow.workers (hostname, pid, queues, types, concurrency, version)"
        " VALUES ('box', 42, NULL, '{echo,mail}', 10, '1.0') RETURNING id"
    ).fetchone()
    assert row is not None
    return str(row[0])


def test_workers_are_listed_shown_and_told_what_to_do(taskflow: CommandLine, worker_id: str) -> None:
    row = next(line for line in taskflow("workers", "list").splitlines() if line.startswith(f"{worker_id}\t"))
    assert row.split("\t")[:7] == [worker_id, "idle", "box", "42", "all", "2", "0/10"]
    assert taskflow("workers", "pause", worker_id) == f"{worker_id}\tworker paused\n"
    assert fields(taskflow("workers", "show", worker_id))["state"] == "paused"
    taskflow("workers", "resume", worker_id)
    taskflow("workers", "drain", worker_id)
    assert taskflow.refused("workers", "resume", worker_id) == (4, "TF-WRONG-STATE")
    assert taskflow.refused("workers", "pause", "999999") == (3, "TF-WORKER-NOT-FOUND")


def test_stats_and_top_tell_what_waits_and_what_failed_last(
    taskflow: CommandLine, engine: Engine, worker_id: str
) -> None:
    taskflow("enqueue", "looked-at", "--queue", "looked-at")
    taskflow("enqueue", "looked-at", "--queue", "looked-at")
    failed = engine.claim("looked-at", "looked-at")
    engine.finish(failed, "failed", error="boom", final=True)
    whole = taskflow.json("stats", "--queues")
    assert whole["queues"]["looked-at"]["pending_count"] == 1
    assert fields(taskflow("stats"))["pending"] == str(whole["pending"])
    seen = json.loads(taskflow("top", "--once", "--json"))
    assert [queue["pending_count"] for queue in seen["queues"] if queue["queue_name"] == "looked-at"] == [1]
    assert seen["failures"][0]["id"] == str(failed)
    assert worker_id in [worker["id"] for worker in seen["workers"]]
    frame = taskflow("top", "--once")
    assert "oldest waits" in frame
    assert f"\n{failed}\tlooked-at\tlooked-at\tdead_letter\t" in frame


def test_top_looks_again_and_again_until_it_is_interrupted(
    taskflow: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("taskflow.cli.commands.top.time.sleep", sleep)
    began = time.monotonic()
    result = taskflow.result("top", "--json", "--interval", "5m")
    assert time.monotonic() - began < 60
    assert result.exit_code == 130
    assert [json.loads(line)["stats"]["total"] >= 0 for line in result.stdout.splitlines()] == [True] * 3
    assert all(280 < pause <= 300 for pause in pauses)
