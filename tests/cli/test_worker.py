"""The flags of `taskflow worker` reach its settings, and those of each process of several."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from taskflow.cli.commands.worker import member_command
from taskflow.cli.main import main
from taskflow.settings import load

ROOT = Path(__file__).resolve().parents[2]
WORKER = [sys.executable, "-m", "taskflow", "worker", "--import"]


def test_each_of_several_processes_is_started_with_what_the_flags_said() -> None:
    settings = load(
        queues="a,b", types="t", worker_id="w 1", concurrency=7, poll_interval="500ms", metrics_host="::1",
        metrics_port=9100, processes=2,
    )  # fmt: skip
    command = member_command(settings, 2)
    given = dict(pairwise(command))
    assert {name: given[name] for name in given if name.startswith("--")} == {
        "--processes": "1", "--no-leader": "--member", "--member": "2", "--queues": "a,b", "--types": "t",
        "--metrics-addr": "[::1]:9100", "--worker-id": "w 1", "--concurrency": "7", "--poll-interval": "0.5",
        "--drain-timeout": "25.0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--metrics-addr", "9100"], "must be host:port"),
        (["--metrics-addr", "h:99999"], "must be host:port"),
        (["--poll-interval", "soon"], "--poll-interval: must be a number of seconds, or a duration such as 500ms"),
        (["--concurrency", "0"], "--concurrency: must be greater than or equal to 1"),
        (["--worker-id", "x" * 201], "--worker-id: "),
    ],
)
def test_a_flag_with_a_wrong_value_is_named(arguments: list[str], problem: str) -> None:
    result = CliRunner().invoke(main, ["worker", *arguments], env={"DATABASE_URL": "postgresql://h/d"})
    assert result.exit_code == 2
    assert problem in result.output


def test_what_is_wrong_with_flags_and_variables_is_listed_at_once_and_a_flag_mends_a_variable() -> None:
    environment = {"DATABASE_URL": "", "TASKFLOW_AUTH": "x", "TASKFLOW_CONCURRENCY": "many"}
    wrong = CliRunner().invoke(main, ["worker", "--concurrency", "5", "--poll-interval", "soon"], env=environment)
    assert wrong.exit_code == 2
    assert "--poll-interval: " in wrong.stderr
    assert "TASKFLOW_AUTH: " in wrong.stderr
    assert "TASKFLOW_CONCURRENCY" not in wrong.stderr
    assert len(re.findall(r"(?m)^ +(?:why: )?[-A-Z_a-z]+: ", wrong.stderr.partition("  fix: ")[0])) == 2


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("foo = bar", "nam cannot be imported: NameError: name 'bar' is not defined, at nam.py line 2"),
        ("def f(:\n", "nam cannot be imported: SyntaxError: invalid syntax, at nam.py line 2"),
        ("import helper", "nam cannot be imported: ZeroDivisionError: division by zero, at helper.py line 3"),
        ("import os; os.environ['NOPE']", "nam cannot be imported: KeyError: 'NOPE', at nam.py line 2"),
        ("import json; json.loads('{')", "nam cannot be imported: JSONDecodeError: Expecting"),
        ("import no_such", "nam cannot be imported: ModuleNotFoundError: No module named 'no_such', at nam.py line 2"),
        ("from os import nope", "nam cannot be imported: ImportError: cannot import name 'nope' from 'os'"),
        ("raise SystemExit(3)", "nam cannot be imported: SystemExit: 3, at nam.py line 2"),
    ],
)
def test_a_mistake_in_a_module_with_handlers_is_told_with_its_place(tmp_path: Path, source: str, why: str) -> None:
    (tmp_path / "nam.py").write_text(f"# mine\n{source}\n")
    (tmp_path / "helper.py").write_text("def f():\n    pass\n1 / 0\n")
    done = worker_in(tmp_path, "nam")
    assert done.returncode == 1
    assert done.stderr.startswith("error[TF-HANDLERS-NOT-IMPORTED]: A module with handlers cannot be imported\n")
    assert f"  why: {why}" in done.stderr
    assert ", at nam.py line 2\n" in done.stderr or ", at helper.py line 3\n" in done.stderr


@pytest.mark.parametrize("name", ["missing", "nam.missing", "missing.tasks"])
def test_a_module_that_there_is_not_is_a_wrong_setting(tmp_path: Path, name: str) -> None:
    (tmp_path / "nam.py").write_text("")
    done = worker_in(tmp_path, name)
    assert done.returncode == 2
    assert done.stderr.startswith("error[TF-SETTINGS]: ")
    assert f"TASKFLOW_IMPORTS: {name} cannot be imported (No module named " in done.stderr
    assert f"), looked for in {tmp_path}\n  fix: Correct TASKFLOW_IMPORTS or --import, " in done.stderr


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_handler_that_takes_the_place_of_a_built_in_one_is_named_once_at_the_start(
    tmp_path: Path, processes: str
) -> None:
    (tmp_path / "nam.py").write_text(
        "from taskflow import task\n@task('report')\ndef mine(payload): ...\n@task('own')\ndef own(payload): ...\n"
    )
    log, environment = tmp_path / "log", {**environment_of_a_worker(), "TASKFLOW_LOG_FORMAT": "json"}
    with log.open("w") as file:
        worker = subprocess.Popen(
            [*WORKER, "nam", "--processes", processes], cwd=tmp_path, env=environment, stderr=file, text=True
        )
    try:
        deadline = time.monotonic() + 60
        while log.read_text().count("worker_starting") < int(processes):
            assert worker.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
    finally:
        worker.terminate()
        worker.wait(60)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = [(line["level"], line["type"], line["by"]) for line in lines if line["event"] == "builtin_replaced"]
    assert told == [("info", "report", "nam.mine")]


def worker_in(directory: Path, module: str) -> subprocess.CompletedProcess[str]:
    """`taskflow worker` with a module in this directory, of which it does not get as far as its database."""
    return subprocess.run(
        [*WORKER, module],
        cwd=directory,
        env=environment_of_a_worker(),
        capture_output=True,
        text=True,
        timeout=60,
    )


def environment_of_a_worker() -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": "postgresql://h/d", "PYTHONPATH": str(ROOT)}
