"""docs/cli.md: every command with its options, from click, and an example as it was seen at a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from taskflow.cli.failure_kinds import EXIT_CODES
from taskflow.cli.main import SECTIONS, main

NOTICE = "<!-- Made by ops/generate-docs from the code and ops/pages/examples.txt: change it there. -->\n"
INTRODUCTION = (Path(__file__).parent / "command_line.md").read_text(encoding="utf-8")
EXAMPLES = Path(__file__).parent / "examples.txt"
# What every command of the API has; it is explained once.
COMMON = frozenset({"url", "key", "as_json", "yes", "help"})


def page() -> str:
    return NOTICE + INTRODUCTION.replace("EXIT_CODES\n", _exit_codes()) + "".join(_commands())


def examples() -> dict[str, list[str]]:
    """The recorded examples by the command that they are of, such as `tasks list`."""
    known = {path for path, _ in paths()}
    found: dict[str, list[str]] = {}
    for block in EXAMPLES.read_text(encoding="utf-8").split("\n\n$ "):
        text = "$ " + block.removeprefix("$ ").strip("\n")
        found.setdefault(_named(text.splitlines()[0], known), []).append(text)
    return found


def paths() -> Iterator[tuple[str, click.Command]]:
    """Every command that has no subcommands, by its path, in the order of the help."""
    context = click.Context(main)
    assert isinstance(main, click.Group)
    listed = [name for names in SECTIONS.values() for name in names]
    for name in sorted(main.list_commands(context), key=lambda name: (name not in listed, _place(listed, name))):
        command = main.get_command(context, name)
        assert command is not None
        yield from _below(name, command)


def _below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group) or command.invoke_without_command:
        yield path, command
    if isinstance(command, click.Group):
        for name, found in command.commands.items():
            yield from _below(f"{path} {name}", found)


def _commands() -> Iterator[str]:
    recorded = examples()
    group = ""
    for path, command in paths():
        if path.split()[0] != group:
            group = path.split()[0]
            yield f"## {group}\n\n"
        if path != group:
            yield f"### {path}\n\n"
        yield from _command(path, command, recorded.get(path, []))


def _command(path: str, command: click.Command, shown: list[str]) -> Iterator[str]:
    context = click.Context(command, info_name=f"taskflow {path}")
    usage = " ".join(command.collect_usage_pieces(context))
    text = (command.help or "").split("\b")[0]
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    yield f"    taskflow {path} {usage}\n\n" + "".join(f"{part}\n\n" for part in paragraphs)
    rows = [_row(parameter, context) for parameter in command.params if parameter.name not in COMMON]
    if found := [row for row in rows if row]:
        yield "| option | meaning |\n| --- | --- |\n" + "".join(found) + "\n"
    for example in shown:
        yield f"```console\n{example}\n```\n\n"


def _row(parameter: click.Parameter, context: click.Context) -> str:
    record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
    if record is None:
        return ""
    flags, meaning = (re.sub(r"\s+", " ", part).replace("|", "\\|") for part in record)
    return f"| `{flags}` | {meaning} |\n".replace("\\|", "/", flags.count("\\|"))


def _named(line: str, known: set[str]) -> str:
    """The command that a line runs."""
    words = line.removeprefix("$ taskflow ").split()
    return next((path for end in (2, 1) if (path := " ".join(words[:end])) in known), "")


def _exit_codes() -> str:
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    return f"| exit code | meaning |\n| --- | --- |\n{rows}"


def _place(listed: list[str], name: str) -> tuple[int, str]:
    return (listed.index(name) if name in listed else 0, name)
