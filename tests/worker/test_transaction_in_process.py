"""`context.transaction()` with isolation="process": the child commits, and its worker hears of it, or finds out."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psutil
import psycopg
import pytest
from structlog.testing import capture_logs

from taskflow.tasks.registry import registry
from taskflow.worker.attempt import Attempt
from taskflow.worker.connections import HandlerConnections
from taskflow.worker.own_completion import Stage
from taskflow.worker.process_slots import ProcessSlots
from tests.worker.conftest import Bench
from tests.worker.test_claiming_rules import claimed
from tests.worker.test_commit_in_doubt import IN_COMMIT, SLOW_COMMIT, names

ROOT = Path(__file__).parents[2]
TASKS = "tests.acceptance.tasks_for_tests"
SETTINGS: dict[str, Any] = {"imports": (TASKS,), "concurrency": 1}


@pytest.fixture
def effects(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[tuple[int, ...]]]:
    """A table of business writes; calling it reads (task id, attempt) of each."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # where the child finds them too
    __import__(TASKS)
    handler = registry.get("book_apart")
    assert handler is not None
    bench.registry.add(handler)
    bench.connection.execute("CREATE TABLE effects (task_id bigint, attempt int)")
    return lambda: bench.connection.execute("SELECT task_id, attempt FROM effects ORDER BY 1, 2").fetchall()


def test_a_child_completes_its_task_and_is_told_off_for_nothing(
    bench: Bench, effects: Callable[[], list[tuple[int, ...]]]
) -> None:
    with capture_logs() as logs, bench.worker(**SETTINGS):
        first = bench.enqueue("book_apart", '{"result": "42"}', concurrency_key="one")
        second = bench.enqueue("book_apart", '{"result": "43", "fails": true}', concurrency_key="one", retry_delay=0)
        killed = bench.enqueue("book_apart", '{"result": "44", "dies": true}', concurrency_key="two")
        assert bench.ended(first, "result") == ("completed", "42")
        assert bench.ended(second, "result") == ("completed", "43")
        assert bench.ended(killed, "result") == ("completed", "44")
        bench.wait(lambda: "handler_failed_after_completion" in names(logs))
    assert effects() == [(first, 1), (second, 2), (killed, 1)]
    entries = [entry for entry in logs if entry["log_level"] in ("warning", "error")]
    assert [(entry["event"], entry["task_id"]) for entry in entries] == [("handler_failed_after_completion", killed)]
    assert "killed by SIGKILL" in entries[0]["error"]


@pytest.mark.parametrize("commits", [True, False])
def test_a_child_that_is_killed_in_its_commit_has_done_its_work_once(
    bench: Bench, effects: Callable[[], list[tuple[int, ...]]], commits: bool
) -> None:
    bench.connection.execute(SLOW_COMMIT)
    with (
        capture_logs() as logs,
        psycopg.connect(bench.dsn, autocommit=True) as other,
        bench.worker(**SETTINGS),
    ):
        other.execute("SELECT pg_advisory_lock(4711)")
        task_id = bench.enqueue("book_apart", retry_delay=0)
        (backend,) = bench.wait(lambda: bench.connection.execute(IN_COMMIT).fetchone())
        for child in psutil.Process().children():
            if "taskflow.worker.process_child" in child.cmdline():
                child.kill()
        if commits:
            other.execute("SELECT pg_advisory_unlock_all()")
        else:
            bench.connection.execute("SELECT pg_terminate_backend(%s)", (backend,))
        assert bench.ended(task_id) == ("completed",)
    assert effects() == [(task_id, 1 if commits else 2)]
    assert [row[1] for row in bench.executions(task_id)] == (["succeeded"] if commits else ["failed", "succeeded"])
    assert "completion_refused" not in names(logs)


def test_what_a_child_had_said_before_it_was_killed_is_heard() -> None:
    ours, theirs = Pipe()
    theirs.send(((1, 1), "commit_begins"))
    theirs.send(((1, 1), "committed", '"42"', True))
    theirs.close()
    gone: Any = Mock(pipe=ours)
    gone.reap.return_value = "was killed"
    connections: Any = HandlerConnections("", lambda: None)
    nothing: Any = None
    attempt = Attempt(claimed(1), nothing, 1, 0.0, 60.0, connections)

    assert ProcessSlots(nothing, {})._discard(gone, attempt) == "was killed"
    assert attempt.own is not None
    assert (attempt.own.stage, attempt.own.stored, attempt.own.released) == (Stage.COMMITTED, '"42"', True)
