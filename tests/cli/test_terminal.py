"""What people see at a terminal: tables, colours unless they want none, never what a task would tell the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress

import click.testing
import pytest
from click.testing import CliRunner, Result

from taskflow.cli.main import main
from taskflow.cli.plain import ago, clean, one_line, span
from taskflow.cli.values import seconds_of
from tests.cli.conftest import CommandLine
from tests.web.conftest import Engine


@pytest.fixture
def seen(shared_dsn: str, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a command whose stdout is a terminal of 120 columns."""
    monkeypatch.setattr(click.testing._NamedTextIOWrapper, "isatty", lambda _: True, raising=False)

    def run(*arguments: str, **environment: str) -> Result:
        variables = {"DATABASE_URL": shared_dsn, "COLUMNS": "120", "TERM": "xterm-256color", **environment}
        return CliRunner().invoke(main, arguments, env=variables, color=True, prog_name="taskflow")

    return run


def dead_letter(taskflow: CommandLine, engine: Engine) -> str:
    taskflow("enqueue", "mail", '{"to": "[bold]anna[/bold]"}')
    return str(engine.run("failed", None, "mail", error="\x1b]0;title\x07[red]no[/red]" + "x" * 200, final=True))


def test_a_list_is_a_table_within_the_width_with_states_in_colour(
    taskflow: CommandLine, engine: Engine, seen: object
) -> None:
    task_id = dead_letter(taskflow, engine)
    result = seen("tasks", "list", f"id:{task_id}")  # type: ignore[operator]
    plain = click.unstyle(result.stdout)
    assert all(len(line) <= 120 for line in plain.splitlines())
    assert "[red]no[/red]" in plain
    assert "…" in plain
    assert "\x1b[1;31mdead_letter" in result.stdout
    assert "\x1b]0;" not in result.stdout


@pytest.mark.parametrize("arguments", [["tasks", "list"], ["tasks", "show"], ["stats", "--queues"], ["top", "--once"]])
def test_no_color_means_none(taskflow: CommandLine, engine: Engine, seen: object, arguments: list[str]) -> None:
    task_id = dead_letter(taskflow, engine)
    more = [task_id] if arguments[-1] == "show" else []
    coloured, plain = seen(*arguments, *more), seen(*arguments, *more, NO_COLOR="1")  # type: ignore[operator]
    assert "\x1b[" in coloured.stdout
    assert "\x1b[3" not in plain.stdout.replace("\x1b[39m", "")
    failed = seen("tasks", "show", "999999", NO_COLOR="1")  # type: ignore[operator]
    assert (failed.exit_code, "\x1b" in failed.stderr) == (3, False)


def test_json_is_indented_for_people(taskflow: CommandLine, engine: Engine, seen: object) -> None:
    task_id = dead_letter(taskflow, engine)
    shown = seen("tasks", "show", task_id, "--json").stdout  # type: ignore[operator]
    assert f'{{\n  "id": "{task_id}",\n' in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("10m", 600), ("1h30m", 5400), ("500ms", 0.5), ("2D", 172_800), ("1w1s", 604_801)],
)
def test_a_duration_is_seconds_or_has_units(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "1x", "-1", "1h-5m", "1 h", "\u0661", "nan", "1e3", "10m5"])
def test_what_is_no_duration_is_none(text: str) -> None:
    assert seconds_of(text) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, None), (0, "0s"), (0.045, "45ms"), (3.21, "3.21s"), (59.99, "60s"), (60, "1m"), (125, "2m5s"),
     (5400, "1h30m"), (172_800, "2d"), (90_000, "1d1h")],
)  # fmt: skip
def test_a_length_of_time_has_its_two_largest_units(seconds: float | None, text: str | None) -> None:
    assert span(seconds) == text


def test_values_in_a_line_stay_in_it() -> None:
    assert one_line("a\tb\nc") == "a b c"
    assert one_line(["a", "b"]) == "a,b"
    assert one_line({"a": "\x9b1m"}) == '{"a": "\\u009b1m"}'
    assert (one_line(None), one_line(True), one_line(0)) == ("", "yes", "0")
    assert clean("a\r\x1b[2K\nb", indent=2) == "a\\u000d\\u001b[2K\n  b"
    assert str(ago("2000-01-01T00:00:00Z")).endswith(" ago")
    assert str(ago("2190-01-01T00:00:00Z")).startswith("in ")


def test_a_narrow_terminal_gets_fewer_columns(taskflow: CommandLine, engine: Engine, seen: object) -> None:
    task_id = dead_letter(taskflow, engine)
    wide = seen("tasks", "list", f"id:{task_id}", COLUMNS="130").stdout  # type: ignore[operator]
    narrow = seen("tasks", "list", f"id:{task_id}", COLUMNS="64").stdout  # type: ignore[operator]
    assert ("scheduled_at" in wide, "scheduled_at" in narrow) == (True, False)
    assert all(len(line) <= 64 for line in click.unstyle(narrow).splitlines())
    assert "dead_letter" in narrow


def test_top_is_a_live_view_that_q_ends(shared_dsn: str) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = {**os.environ, "DATABASE_URL": shared_dsn, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "taskflow", "top", "--interval", "100ms"]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        try:
            seen, deadline = b"", time.monotonic() + 60
            while seen.count(b"q ends") < 3 and time.monotonic() < deadline:
                if select.select([master], [], [], 1)[0]:
                    seen += os.read(master, 65536)
            os.write(master, b"q")
            with suppress(OSError):  # the other end is closed
                while select.select([master], [], [], 20)[0]:
                    seen += os.read(master, 65536)
            assert process.wait(20) == 0, seen
        finally:
            process.kill()
    os.close(master)
    assert seen.count(b"q ends") >= 3
    assert b"\x1b[?1049h" in seen  # a screen of its own,
    assert b"\x1b[?1049l" in seen  # which is left again
