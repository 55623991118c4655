from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from taskflow.cli import commands
from taskflow.cli.failure_kinds import BY_STATUS, EXIT_CODES, OF_API, OWN
from taskflow.cli.main import SECTIONS, main
from taskflow.web.http.problems import KINDS as KINDS_OF_API

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A further directory in which the command line looks for commands."""
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="taskflow")


def command_that_raises(directory: Path, error: str) -> None:
    (directory / "blow_up.py").write_text(
        "import click\nfrom taskflow.errors import *\n"
        f"@click.command('blow-up')\ndef command():\n    'Fails.'\n    raise {error}\n"
    )
    sys.modules.pop("taskflow.cli.commands.blow_up", None)


def test_a_file_with_a_command_is_a_command(plugin: Path) -> None:
    (plugin / "say_hello.py").write_text(
        "import click\n@click.command('say-hello')\ndef command():\n    'Greets.'\n    click.echo('hello')\n"
    )
    assert run("say-hello").output == "hello\n"
    assert "say-hello" in run("--help").output


def test_what_commands_share_is_no_command() -> None:
    listed = run("--help").output
    for name in ("main", "terminal", "local-app", "commands"):
        assert run(name).exit_code == 2
        assert f"\n  {name} " not in listed


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


def test_an_unknown_command_points_to_the_list() -> None:
    result = run("frobnicate")
    assert result.exit_code == 2
    assert "'taskflow --help' lists all" in result.output


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        ("TaskflowError('no')", 1, "TF-FAILED"),
        ("WaitTimeout('no')", 1, "TF-WAIT-TIMEOUT"),
        ("SettingsError(['no'])", 2, "TF-SETTINGS"),
        ("InvalidFilter('no')", 2, "TF-INVALID-FILTER"),
        ("TaskNotFound(7)", 3, "TF-TASK-NOT-FOUND"),
        ("WrongState('no')", 4, "TF-WRONG-STATE"),
        ("UniqueConflict('no')", 4, "TF-UNIQUE-CONFLICT"),
        ("DatabaseUnavailable('no')", 5, "TF-DATABASE-UNAVAILABLE"),
        ("NotAllowed('no')", 6, "TF-NOT-ALLOWED"),
        ("LoginRefused('no')", 6, "TF-LOGIN-REFUSED"),
        ("DatabaseMissing('no')", 5, "TF-DATABASE-MISSING"),
    ],
)
def test_an_error_of_taskflow_has_a_code_a_reason_a_way_out_and_an_exit_code(
    plugin: Path, error: str, exit_code: int, code: str
) -> None:
    command_that_raises(plugin, error)
    result = run("blow-up")
    head, why, fix, docs = result.stderr.splitlines()
    assert (head.startswith(f"error[{code}]: "), result.exit_code) == (True, exit_code)
    assert why.startswith("  why: ")
    assert fix.startswith("  fix: ")
    assert (ROOT / docs.removeprefix("  docs: ")).is_file()


def test_an_installed_package_names_no_page_that_it_has_not(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.cli.failures.CHECKOUT", tmp_path)
    command_that_raises(plugin, "TaskNotFound(7)")
    assert [line[:5] for line in run("blow-up").stderr.splitlines()] == ["error", "  why", "  fix"]


def test_every_problem_with_the_settings_has_a_line_of_its_own(plugin: Path) -> None:
    command_that_raises(plugin, "SettingsError(['A: is wrong', 'B: is missing'])")
    result = run("blow-up")
    assert "\n  why: A: is wrong\n  why: B: is missing\n" in result.stderr
    assert result.exit_code == 2


def test_an_error_without_a_message_still_says_what_it_is(plugin: Path) -> None:
    command_that_raises(plugin, "RegistrationError()")
    assert run("blow-up").stderr.startswith("error[TF-REGISTRATION]: A handler is declared wrongly\n")


def test_a_bug_is_said_to_be_one_and_its_traceback_is_for_debug(plugin: Path) -> None:
    command_that_raises(plugin, "KeyError('bug')")
    plain, debug = run("blow-up"), run("--debug", "blow-up")
    assert plain.stderr.startswith("error[TF-INTERNAL]: ")
    assert "KeyError: 'bug', at blow_up.py line 6" in plain.stderr
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert (plain.exit_code, debug.exit_code) == (1, 1)


def test_what_others_wrote_moves_no_cursor(plugin: Path) -> None:
    command_that_raises(plugin, "TaskflowError('a\\x1b[2Jb\\u202ec')")
    assert "why: a\\u001b[2Jb\\u202ec\n" in run("blow-up").stderr


def test_ctrl_c_is_exit_code_130(plugin: Path) -> None:
    command_that_raises(plugin, "KeyboardInterrupt")
    result = run("blow-up")
    assert (result.exit_code, result.stderr) == (130, "\ninterrupted\n")


def test_every_code_of_the_api_is_one_of_the_command_line() -> None:
    assert set(OF_API) == set(KINDS_OF_API)
    assert not OF_API.keys() & OWN.keys()
    for code, kind in (OWN | OF_API).items():
        assert (ROOT / kind.docs).is_file(), code
        assert kind.exit_code in EXIT_CODES


@pytest.mark.parametrize("status", [401, 403, 404, 409, 412])
def test_a_status_has_one_exit_code_whatever_the_code_of_the_error(status: int) -> None:
    codes = {OF_API[code].exit_code for code, (of, _) in KINDS_OF_API.items() if of == status}
    assert codes == {BY_STATUS[status]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wroker"], "There is no command 'wroker'; did you mean 'worker'?"),
        (["tasks", "lsit"], "There is no command 'lsit'; did you mean 'list'?"),
        (["tasks", "list", "--stat", "failed"], "--state"),
        (["tasks", "list", "--state", "faild"], "did you mean 'failed'?"),
        (["enqueue", "mail", "--priority", "hihg"], "did you mean 'high'?"),
        (["queues", "set", "mail", "--unset", "max-worker"], "did you mean 'max-workers'?"),
        (["enqueue", "mail", "--delay", "soon"], "10m"),
        (["enqueue", "mail", "--at", "2030-01-01"], "has no zone"),
        (["enqueue", "mail", "{"], "no JSON"),
        (["enqueue", "mail", "[]"], "must be an object"),
        (["enqueue", "mail", "@/nowhere/x.json"], "cannot be read"),
        (["enqueue"], "TYPE"),
        (["tasks", "show", "seven"], "ids are numbers"),
        (["tasks", "retry", "type:mail"], "such as 42; a filter is given by --filter."),
        (["dlq", "delete", "type:mail"], "such as 42; a filter is given by --filter."),
        (["workers", "pause", "type:mail"], "such as 42.\n"),
        (
            ["schedules", "create", "x", "--type", "echo"],
            "TYPE is given without one: taskflow schedules create [OPTIONS] NAME TYPE",
        ),
        (["enqueue", "--payload", "{}"], "PAYLOAD is given without one: taskflow enqueue [OPTIONS] [TYPE] [PAYLOAD]"),
        (["tasks", "retry"], "Give either ids or --filter"),
        (["dlq", "delete", "4", "--all"], "Give one of: ids, --filter, --group, --all"),
        (["queues", "set", "mail"], "Say what to change"),
        (["queues", "set", "mail", "--rate-limit", "many"], "10/1m"),
    ],
)
def test_wrong_usage_says_what_was_meant(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, arguments, env={"DATABASE_URL": "postgresql://localhost:1/x"})
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert result.stderr.startswith("error[TF-USAGE]: ")
    assert result.stdout == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_what_completes_it(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert "_TASKFLOW_COMPLETE" in result.stdout


def test_the_help_groups_the_commands_and_leaves_none_out() -> None:
    shown = run("--help").stdout
    assert [shown.index(f"\n{title}:") for title in SECTIONS] == sorted(
        shown.index(f"\n{title}:") for title in SECTIONS
    )
    assert isinstance(main, click.Group)
    assert all(f"\n  {name} " in shown for name in main.list_commands(click.Context(main)))


@pytest.mark.parametrize("group", [[], ["dlq"], ["tasks"], ["schedules"], ["queues"], ["workers"]])
def test_a_group_alone_is_its_help_and_no_error(group: list[str]) -> None:
    result = run(*group)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == run(*group, "--help").stdout


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
    assert done.stderr.startswith("error[TF-SETTINGS]: ")
    assert "\n  why: DATABASE_URL: is not set" in done.stderr


def test_an_unreachable_database_is_exit_code_5(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "taskflow", "migrate"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DATABASE_URL": f"postgresql://anna:s3cret@/app?host={tmp_path}"},
    )
    assert done.returncode == 5
    assert done.stderr.startswith("error[TF-DATABASE-UNAVAILABLE]: ")
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr
