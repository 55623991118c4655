"""What comes before a handler with isolation="process": its process starts, and imports the modules that declare it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskflow.tasks.registry import task
from taskflow.worker import process_slots
from tests.worker.conftest import Bench

MODULE = "import os, time\nfrom taskflow import task\n{first}\n@task('apart', isolation='process')\n{handler}"
HANDLER = "def apart(payload):\n    return 'ran'\n"

Declare = Callable[..., dict[str, Any]]


@pytest.fixture
def declare(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Declare:
    """Declare the type `apart`, in a module whose import does `first`; returns what a worker needs."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # where the child finds it

    def declare(first: str, handler: str = HANDLER, **options: Any) -> dict[str, Any]:
        (tmp_path / "slow_module.py").write_text(MODULE.format(first=first, handler=handler))

        @task("apart", isolation="process", registry=bench.registry, retry="fixed", **options)
        def apart(payload: dict[str, Any]) -> None: ...

        return {"imports": ("slow_module",), "concurrency": 1}

    return declare


def ran_seconds(bench: Bench, task_id: int) -> float:
    """Between the start of the handler and its end, as the database has it."""
    row = bench.connection.execute(
        "SELECT extract(epoch FROM finished_at - started_at) FROM taskflow.executions WHERE task_id = %s", (task_id,)
    ).fetchone()
    assert row is not None
    return float(row[0])


def test_the_start_of_the_process_is_not_the_handlers_time(bench: Bench, declare: Declare) -> None:
    slow = declare("time.sleep(1.5)", timeout=1, max_attempts=2)
    task_id = bench.enqueue("apart")
    with bench.worker(**slow):
        assert bench.ended(task_id, "result", "attempt", "failures") == ("completed", "ran", 1, 0)
    assert ran_seconds(bench, task_id) < 1


def test_a_process_that_is_killed_leaves_the_next_attempt_all_of_its_time(bench: Bench, declare: Declare) -> None:
    marker = "if not os.path.exists(__file__ + '.once'):\n        open(__file__ + '.once', 'w')\n        time.sleep(20)"
    slow = declare("time.sleep(1.5)", f"def apart(payload):\n    {marker}\n    return 'ran'\n", timeout=1)
    task_id = bench.enqueue("apart")
    with bench.worker(**slow):
        assert bench.ended(task_id, "result", "attempt") == ("completed", "ran", 2)
    assert [status for _, status, _ in bench.executions(task_id)] == ["timed_out", "succeeded"]


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (
            "import no_such_module",
            "slow_module cannot be imported: ModuleNotFoundError: No module named 'no_such_module', at {file} line 3",
        ),
        ("raise SystemExit(2)", "slow_module cannot be imported: SystemExit: 2, at {file} line 3"),
        ("os._exit(7)", "the handler's process ended with exit code 7 before it was ready"),
        ("os.kill(os.getpid(), 11)", "the handler's process was killed by SIGSEGV before it was ready"),
    ],
)
def test_a_process_that_ends_over_its_imports_fails_the_attempt_with_the_reason(
    bench: Bench, declare: Declare, tmp_path: Path, first: str, error: str
) -> None:
    broken = declare(first, max_attempts=2)
    task_id = bench.enqueue("apart")
    with bench.worker(**broken):
        assert bench.ended(task_id, "error") == ("dead_letter", error.format(file=tmp_path / "slow_module.py"))
    assert [status for _, status, _ in bench.executions(task_id)] == ["failed", "failed"]


def test_the_death_of_a_process_is_noticed_by_the_end_of_its_pipe_too(
    bench: Bench, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")  # as where there is none
    dying = declare("", "def apart(payload):\n    os.kill(os.getpid(), 9)\n", max_attempts=1)
    task_id = bench.enqueue("apart")
    with bench.worker(**dying):
        assert bench.ended(task_id, "error") == ("dead_letter", "the handler's process was killed by SIGKILL")


def test_imports_that_do_not_end_fail_the_attempt_within_a_bound(
    bench: Bench, declare: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_slots, "READY_SECONDS", 2.5)  # more than it takes until what waits is given back
    hanging = declare("time.sleep(600)", max_attempts=1)
    task_id = bench.enqueue("apart")
    with bench.worker(**hanging):
        state, error = bench.ended(task_id, "error")
    assert state == "dead_letter"
    assert "was not ready within 2 s: it was still importing the modules" in error


def test_a_task_whose_process_gets_ready_can_be_cancelled(bench: Bench, declare: Declare) -> None:
    hanging = declare("open(__file__ + '.begun', 'w')\ntime.sleep(600)")
    task_id = bench.enqueue("apart")
    with bench.worker(**hanging):
        bench.wait(lambda: bench.task(task_id, "state") == ("running",))
        bench.connection.execute("SELECT taskflow.cancel(%s)", (task_id,))
        assert bench.ended(task_id) == ("cancelled",)


def test_a_worker_that_ends_gives_back_the_task_whose_process_gets_ready(
    bench: Bench, declare: Declare, tmp_path: Path
) -> None:
    hanging = declare("open(__file__ + '.begun', 'w')\ntime.sleep(600)")
    task_id = bench.enqueue("apart")
    with bench.worker(**hanging, drain_timeout=15.0):
        bench.wait((tmp_path / "slow_module.py.begun").exists)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 5
    assert bench.task(task_id, "state", "attempt") == ("pending", 1)
    assert bench.executions(task_id) == []
