"""The flags of `taskflow worker` reach its settings, and those of each process of several."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from click.testing import CliRunner

from taskflow.cli.main import main
from taskflow.cli.worker import member_command
from taskflow.settings import load


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
