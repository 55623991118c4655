"""`ops/smoke`: says ok for a deployment that works, and which step fails for one that does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.deployment import Deployment, deployment, running_worker

SMOKE = Path(__file__).resolve().parents[1] / "ops" / "smoke"
STEPS = [
    *("live", "ready", "openapi", "auth", "worker", "submit", "completion"),
    *("schedule", "dead letters", "metrics", "clean up"),
]


def smoke(url: str, *arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit code and, by step, its word and what it says. With an isolated Python: it may need nothing installed."""
    command = [sys.executable, "-I", "-S", str(SMOKE), url, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={})
    assert done.stderr == "", done.stderr
    rows = [line for line in done.stdout.splitlines() if line[:4] in ("ok  ", "FAIL")]
    return done.returncode, {row[6:18].strip(): (row[:4].strip(), row[29:].strip()) for row in rows}


def tasks(at: Deployment) -> int:
    with psycopg.connect(at.dsn) as connection:
        row = connection.execute("SELECT count(*) FROM taskflow.task_list").fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture(scope="module")
def idle(shared_dsn: str) -> Iterator[Deployment]:
    """A deployment that asks for keys, without a worker."""
    with deployment(shared_dsn, worker=False) as running:
        yield running


def test_every_step_is_ok_and_nothing_stays_behind(idle: Deployment) -> None:
    with running_worker(idle.dsn):
        code, steps = smoke(idle.url, "--key", idle.key)
    left = tasks(idle)

    assert list(steps) == STEPS
    assert {word for word, _ in steps.values()} == {"ok"}, steps
    assert code == 0
    assert "refused without a key" in steps["auth"][1]
    assert left == 0


def test_without_a_worker_it_fails_says_why_and_removes_its_task(idle: Deployment) -> None:
    code, steps = smoke(idle.url, "--key", idle.key, "--timeout", "1")
    left = tasks(idle)

    failed = {name: words for name, (word, words) in steps.items() if word == "FAIL"}
    assert code == 1
    assert list(failed) == ["worker", "completion"]
    assert "start one: taskflow worker" in failed["worker"]
    assert "it is pending after 1 s. No worker is alive. Start one: taskflow worker." in failed["completion"]
    assert steps["clean up"][0] == "ok"
    assert left == 0


def test_a_server_that_lets_everybody_in_and_one_that_refuses_the_key_fail_the_step_auth(idle: Deployment) -> None:
    with deployment(idle.dsn, worker=False, auth="off") as running:
        code, steps = smoke(running.url, "--key", running.key)
    assert code == 1
    assert steps["auth"] == ("FAIL", "a request without a key was answered with 200 instead of 401")

    for arguments, words in ((["--key", "tf_wrong"], "--key"), ([], "a key is asked for, and none was given")):
        code, steps = smoke(idle.url, *arguments)
        assert code == 1
        assert steps["auth"][0] == "FAIL"
        assert words in steps["auth"][1]
        assert list(steps)[-1] == "auth", "nothing else can be asked"


def test_nobody_at_the_address_is_one_line(free_port: int) -> None:
    code, steps = smoke(f"http://127.0.0.1:{free_port}")
    assert code == 1
    assert list(steps) == ["live"]
    assert "Connection refused" in steps["live"][1]


@pytest.mark.parametrize("arguments", [["nonsense"], ["http://127.0.0.1:1", "--key", "two\nlines"], []])
def test_wrong_usage_has_an_exit_code_of_its_own(arguments: list[str]) -> None:
    command = [sys.executable, "-I", "-S", str(SMOKE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={})
    assert done.returncode == 2
    assert "usage: ops/smoke" in done.stderr
