from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from taskflow import cli
from taskflow.cli.main import main
from taskflow.errors import DatabaseUnavailable, SettingsError, TaskflowError


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A further directory in which the command line looks for commands."""
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="taskflow")


def command_that_raises(directory: Path, error: str) -> None:
    (directory / "blow_up.py").write_text(
        "import click\nfrom taskflow.errors import *\n"
        f"@click.command('blow-up')\ndef command():\n    'Fails.'\n    raise {error}\n"
    )
    sys.modules.pop("taskflow.cli.blow_up", None)


def test_a_file_with_a_command_is_a_command(plugin: Path) -> None:
    (plugin / "say_hello.py").write_text(
        "import click\n@click.command('say-hello')\ndef command():\n    'Greets.'\n    click.echo('hello')\n"
    )
    assert run("say-hello").output == "hello\n"
    assert "say-hello" in run("--help").output


def test_a_file_without_a_command_is_none(plugin: Path) -> None:
    (plugin / "say_nothing.py").write_text("command = 'not a click command'\n")
    assert run("say-nothing").exit_code == 2
    assert "say-nothing" not in run("--help").output


def test_version_loads_neither_the_web_server_nor_the_migrations() -> None:
    program = (
        "import sys\nfrom taskflow.cli.main import main\nmain(['version'], standalone_mode=False)\n"
        "print(*sorted({'flask', 'alembic', 'sqlalchemy', 'gunicorn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, loaded = done.stdout.splitlines()
    assert first.startswith(f"taskflow {version('taskflow-pg')} (Python 3.")
    assert loaded == ""


def test_python_m_taskflow_is_the_same_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskflow", "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.startswith("Usage: taskflow [OPTIONS] COMMAND")
    for name in ("dev", "migrate", "server", "worker", "scheduler", "version"):
        assert f"\n  {name} " in done.stdout


def test_a_misspelt_command_names_the_one_that_was_meant() -> None:
    result = run("wroker")
    assert result.exit_code == 2
    assert "There is no command 'wroker'; did you mean 'worker'?" in result.output


def test_an_unknown_command_points_to_the_list() -> None:
    result = run("frobnicate")
    assert result.exit_code == 2
    assert "'taskflow --help' lists all" in result.output


@pytest.mark.parametrize(
    ("error", "code"),
    [(TaskflowError("no"), 1), (DatabaseUnavailable("no"), 5), (SettingsError(["no"]), 2)],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_taskflow_is_one_line_and_an_exit_code(plugin: Path, error: TaskflowError, code: int) -> None:
    command_that_raises(plugin, f"{type(error).__name__}({error.args[0]!r} if {code} != 2 else ['no'])")
    result = run("blow-up")
    assert (result.stderr, result.exit_code) == ("error: no\n", code)


def test_every_problem_with_the_settings_has_a_line_of_its_own(plugin: Path) -> None:
    command_that_raises(plugin, "SettingsError(['A: is wrong', 'B: is missing'])")
    result = run("blow-up")
    assert result.stderr == "error: A: is wrong\nerror: B: is missing\n"
    assert result.exit_code == 2


def test_an_error_without_a_message_still_says_what_it_is(plugin: Path) -> None:
    command_that_raises(plugin, "SchemaMismatch()")
    assert run("blow-up").stderr == "error: SchemaMismatch\n"


def test_a_bug_is_not_dressed_up_as_a_message(plugin: Path) -> None:
    command_that_raises(plugin, "KeyError('bug')")
    assert isinstance(run("blow-up").exception, KeyError)


def test_every_command_explains_itself() -> None:
    context = click.Context(main)
    assert isinstance(main, click.Group)
    for name in main.list_commands(context):
        found = main.get_command(context, name)
        assert found is not None
        assert found.help, name
        assert run(name, "--help").exit_code == 0


def test_without_a_database_a_command_says_which_setting_is_missing() -> None:
    environment = {name: value for name, value in os.environ.items() if "DATABASE_URL" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "taskflow", "migrate"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: DATABASE_URL: ")
    assert done.stderr.count("\n") == 1


def test_an_unreachable_database_is_exit_code_5(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskflow", "migrate"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DATABASE_URL": f"postgresql://anna:s3cret@/app?host={tmp_path}"},
    )
    assert done.returncode == 5
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr
