"""`taskflow init`: what it makes runs and passes its own tests, and what is there already stays."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from click.testing import CliRunner, Result

from taskflow.cli.commands.init import FILES
from taskflow.cli.main import main
from tests.acceptance.support import Processes


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


def test_a_place_that_cannot_be_written_to_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way, also of root")
    done = init(tmp_path / "file" / "shop")
    assert done.exit_code == 1
    assert f"why: Cannot write to {tmp_path / 'file'}" in done.output
    assert "Traceback" not in done.output


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """The processes of this test; none outlives it."""
    own = Processes(tmp_path, measured=True)
    yield own
    own.close()


@pytest.mark.slow
def test_the_project_runs_and_its_worker_follows_changes_until_ctrl_c(
    processes: Processes, tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That its own tests pass is shown by tests/test_docs.py."""
    project = tmp_path / "shop"
    assert init(project).exit_code == 0
    monkeypatch.chdir(project)
    dev = processes.start("dev", "--import", "tasks", "--reload", "--port", "0", dsn=dsn)
    processes.wait_until(lambda: "database  " in dev.logs() or not dev.running)
    (url,) = re.findall(r"API +(http://\S+)/tasks", dev.logs())

    def result() -> Any:
        task = httpx.post(f"{url}/tasks", json={"type": "welcome", "queue": "mail", "payload": {"name": "Ada"}}).json()
        ended = httpx.get(f"{url}/tasks/{task['id']}", params={"wait": 20}, timeout=40).json()
        assert ended["state"] == "completed", dev.shown_logs()
        return ended["result"]

    assert result() == {"text": "Hello, Ada!"}
    source = (project / "tasks.py").read_text()
    (project / "tasks.py").write_text("def broken(:\n")
    processes.wait_until(lambda: "SyntaxError" in dev.logs() and "started again when a file changes" in dev.logs())
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM taskflow.workers").fetchone() == (0,)
    (project / "tasks.py").write_text(source.replace("Hello", "Hi"))
    assert result() == {"text": "Hi, Ada!"}
    children = dev.children()
    assert len(children) > 2
    dev.signal(signal.SIGINT)
    assert dev.wait() == 0
    assert [pid for pid in children if psutil.pid_exists(pid)] == []
