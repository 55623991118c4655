"""`taskflow init`: what it makes runs and passes its own tests, and what is there already stays."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from taskflow.cli.init import FILES
from taskflow.cli.main import main
from taskflow.cluster import Cluster
from tests.forked import UNMEASURED

ROOT = Path(__file__).parents[2]


def init(directory: Path) -> Result:
    return CliRunner().invoke(main, ["init", str(directory)])


def test_a_new_directory_gets_every_file_and_the_next_commands_are_told(tmp_path: Path) -> None:
    done = init(tmp_path / "new" / "shop")
    assert done.exit_code == 0, done.output
    made = {
        str(path.relative_to(tmp_path / "new/shop")) for path in (tmp_path / "new/shop").rglob("*") if path.is_file()
    }
    assert made == set(FILES.values())
    assert f"cd {tmp_path / 'new/shop'}\n" in done.output
    assert re.fullmatch(r"taskflow-pg~=\d+\.\d+\.\d+\n", (tmp_path / "new/shop/requirements.txt").read_text())
    assert "{" not in (tmp_path / "new/shop/Procfile").read_text()


def test_nothing_is_overwritten_and_then_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_tasks.py").write_text("mine")
    (tmp_path / ".gitignore").symlink_to("nowhere")
    done = init(tmp_path)
    assert done.exit_code == 1
    assert "has tests/test_tasks.py, .gitignore already" in done.output
    assert {path.name for path in tmp_path.iterdir()} == {"tests", ".gitignore"}
    assert (tmp_path / "tests/test_tasks.py").read_text() == "mine"


def test_a_place_that_cannot_be_written_to_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way, also of root")
    done = init(tmp_path / "file" / "shop")
    assert done.exit_code == 1
    assert done.output.startswith(f"error: Cannot write to {tmp_path / 'file'}")


@pytest.mark.slow
def test_the_project_passes_its_own_tests_and_runs(tmp_path: Path, cluster: Cluster, dsn: str) -> None:
    project = tmp_path / "shop"
    assert init(project).exit_code == 0
    environment = {**os.environ, **UNMEASURED, "PYTHONPATH": str(ROOT)}
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "taskflow.testing.plugin"],
        cwd=project,
        env={**environment, "TASKFLOW_TEST_DATABASE_URL": cluster.dsn()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tests.returncode == 0, tests.stdout
    assert "3 passed" in tests.stdout

    dev = subprocess.Popen(
        [sys.executable, "-m", "taskflow", "dev", "--import", "tasks", "--reload", "--port", "0"],
        cwd=project,
        env={**environment, "DATABASE_URL": dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert dev.stdout is not None
        said = ""
        while "database  " not in said:
            line = dev.stdout.readline()
            assert line, said
            said += line
        (url,) = re.findall(r"API +(http://\S+)/tasks", said)
        task = httpx.post(f"{url}/tasks", json={"type": "welcome", "queue": "mail", "payload": {"name": "Ada"}}).json()
        ended = httpx.get(f"{url}/tasks/{task['id']}", params={"wait": 20}, timeout=30).json()
        assert (ended["state"], ended["result"]) == ("completed", {"text": "Hello, Ada!"})
    finally:
        dev.send_signal(signal.SIGINT)
        rest, _ = dev.communicate(timeout=40)
    assert dev.returncode == 0, rest
