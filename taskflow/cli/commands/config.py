"""`taskflow config`: which settings are in effect, where each comes from, and whether all of them are right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from taskflow.cli.config_option import config_option
from taskflow.cli.output import Column, echo_items
from taskflow.cli.terminal import check_database
from taskflow.errors import SettingsError
from taskflow.settings import Resolution, Settings, notices, resolve
from taskflow.settings.database_url import parameters
from taskflow.telemetry import HIDDEN, hide_passwords


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting as it may be shown. `source` is default, file, environment or flag; `where` names it more closely."""

    name: str
    value: Any
    source: str
    where: str | None


COLUMNS = (
    Column("setting", lambda item: item.name),
    Column("from", lambda item: item.where or "default"),
    Column("value", lambda item: _text(item.value)),
)


@click.group("config")
def command() -> None:
    """Show and check the settings.

    Defaults give way to taskflow.toml, that to the environment, and that to the flags of a command.
    """


@command.command("show")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--changed", is_flag=True, help="Only what is not the default.")
def show(as_json: bool, changed: bool) -> None:
    """Show every setting and where it comes from. Secrets are hidden.

    Exit code 2: some are wrong, and all that are wrong are listed.
    """
    found = [item for item in effective(_valid(resolve())) if not changed or item.source != "default"]
    said = notices()
    if as_json:
        settings = {item.name: {"value": item.value, "source": item.source, "where": item.where} for item in found}
        messages = [{"level": notice.level, "variables": notice.variables, "text": notice.text} for notice in said]
        click.echo(json.dumps({"settings": settings, "notices": messages}, ensure_ascii=False))
        return
    echo_items(COLUMNS, found)
    _say(said)


@command.command("check")
@config_option
def check() -> None:
    """Say whether the settings are right, without connecting to anything.

    Exit code 2: they are not, and every problem is listed.
    """
    resolution = resolve()
    problems = list(resolution.problems)
    if resolution.settings is not None:
        problems += _database_problems(resolution.settings)
    _say(notices())
    if problems:
        raise SettingsError(problems)
    click.echo("The settings are right.")


def effective(resolution: Resolution) -> Iterator[Shown]:
    """Every setting of a resolution without problems."""
    assert resolution.settings is not None
    for name in Settings.model_fields:
        place = resolution.found.get(name)
        value = _shown_value(name, getattr(resolution.settings, name))
        yield Shown(name, value, place.source if place else "default", place.where if place else None)


def _valid(resolution: Resolution) -> Resolution:
    if resolution.problems:
        raise SettingsError(resolution.problems)
    return resolution


def _shown_value(name: str, value: Any) -> Any:
    """The value without what is secret: the password of a connection string, the whole of anything else."""
    if Settings.model_fields[name].repr or not value:
        return hide_passwords(value) if isinstance(value, str) else value
    return _shown_database(value) if isinstance(value, str) and name.endswith("_url") else HIDDEN


def _shown_database(url: str) -> str:
    """The connection string without its passwords; nothing of it where it cannot be read as libpq would read it, since
    then nobody knows where they stand."""
    shown, given = hide_passwords(url), parameters(url)
    wanted = {name: HIDDEN if name.endswith("password") else value for name, value in given.items()}
    return shown if given and parameters(shown) == wanted else HIDDEN


def _database_problems(settings: Settings) -> tuple[str, ...]:
    try:
        check_database(settings)
    except SettingsError as error:
        return error.problems
    return ()


def _text(value: Any) -> str:
    match value:
        case None | "" | ():
            return "-"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.10g}"
        case tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _say(said: list[Any]) -> None:
    for notice in said:
        click.echo(f"{'warning' if notice.level == 'warning' else 'note'}: {notice.text}", err=True)
