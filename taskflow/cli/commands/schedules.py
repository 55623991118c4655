"""`taskflow schedules`: what creates tasks by itself, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import click

from taskflow.cli.api import Api
from taskflow.cli.commands.tasks.words import PRIORITIES
from taskflow.cli.connected import connected, json_option, yes_option
from taskflow.cli.groups import Choice, Group
from taskflow.cli.output import Column, column, confirm, echo_fields, echo_items, echo_json, is_terminal, say
from taskflow.cli.plain import ago, at, span
from taskflow.cli.values import Duration, JsonObject, Moment, QueueName

OLDER = frozenset({"priority_value", "version"})
SCHEDULE = click.argument("schedule", metavar="NAME")
COLUMNS = (
    column("id", right=True),
    column("name"),
    Column("state", lambda schedule: "active" if schedule["enabled"] else "paused", is_state=True),
    column("type"),
    column("queue", spare=True),
    Column("when", lambda schedule: schedule["cron"] or f"every {span(schedule['interval'])}"),
    column("timezone", spare=True),
    column("next_run_at", shown=ago),
    column("last_run_at", shown=ago, spare=True),
    column("runs", "run_count", right=True),
)


@click.group("schedules", cls=Group)
def command() -> None:
    """List, create, change, pause, run and delete schedules, and see when one would fire.

    NAME is the name of a schedule, or its id.
    """


def _timing(function: Any) -> Any:
    """The options that say when."""
    options = (
        click.option("--cron", metavar="EXPRESSION", help="Five fields, or @hourly, @daily and so on."),
        click.option("--every", "interval", type=Duration(above_zero=True), metavar="DURATION", help="As 10m, 1h."),
        click.option("--timezone", metavar="ZONE", help="As Europe/Berlin. [default: UTC]"),
        click.option("--starts-at", type=Moment(), metavar="TIME", help="Not before this time."),
        click.option("--ends-at", type=Moment(), metavar="TIME", help="Not after this time."),
    )
    return _with(function, options)


def _settings(function: Any) -> Any:
    """The options for all else."""
    options = (
        click.option("--queue", type=QueueName(), help="The queue of its tasks. [default: default]"),
        click.option("--payload", type=JsonObject(), metavar="JSON", help="Of its tasks; or @FILE, or - for stdin."),
        click.option("--priority", type=Choice(PRIORITIES), help="Of its tasks. [default: normal]"),
        click.option("--missed", type=Choice(("skip", "once", "all")), help="What becomes of fire times that went by."),
        click.option("--overlap", type=Choice(("allow", "skip")), help="skip: none while one has not ended."),
        click.option("--jitter", type=Duration(), metavar="DURATION", help="Late by at most this, at random."),
        click.option("--max-runs", type=click.IntRange(1), help="Fire no more after so many tasks, by hand or not."),
    )
    return _with(function, options)


def _with(function: Any, options: tuple[Callable[[Any], Any], ...]) -> Any:
    for option in reversed(options):
        function = option(function)
    return function


@command.command("list")
@click.option("--queue", metavar="QUEUE", help="For this queue only.")
@click.option("--type", "type_", metavar="TYPE", help="Of this type only.")
@json_option
@connected("schedules")
def list_(api: Api, queue: str | None, type_: str | None, as_json: bool) -> None:
    """List the schedules, the oldest first."""
    pages = api.pages("/schedules", queue=queue, type=type_)
    found = [schedule for page in pages for schedule in page["schedules"]]
    if as_json:
        echo_json({"schedules": found, "count": len(found), "next_cursor": None})
        return
    echo_items(COLUMNS, found, empty="There is no schedule.")


@command.command("show")
@SCHEDULE
@json_option
@connected("schedules")
def show(api: Api, schedule: str, as_json: bool) -> None:
    """Show a schedule and its next fire times."""
    _echo(api.get(_path(schedule)), as_json=as_json)


@command.command("create")
@click.argument("name")
@click.argument("type_", metavar="TYPE")
@_timing
@_settings
@click.option("--paused", is_flag=True, help="It fires only once it is resumed.")
@json_option
@connected("schedules")
def create(api: Api, name: str, type_: str, paused: bool, as_json: bool, **options: Any) -> None:
    """Create a schedule of tasks of a type.

    \b
    taskflow schedules create nightly report --cron '0 3 * * *' --timezone Europe/Berlin
    taskflow schedules create pulse echo --every 10m
    """
    body = {"name": name, "type": type_, **_given(options)} | ({"enabled": False} if paused else {})
    _echo(api.post("/schedules", body), as_json=as_json)


@command.command("update")
@SCHEDULE
@click.option("--name", help="Another name.")
@click.option("--type", "type", metavar="TYPE", help="Another type.")
@_timing
@_settings
@json_option
@connected("schedules")
def update(api: Api, schedule: str, as_json: bool, **options: Any) -> None:
    """Change a schedule; what is not named stays."""
    changes = _given(options)
    if not changes:
        raise click.UsageError("Say what to change, as --every 10m.", click.get_current_context())
    _echo(api.patch(_path(schedule), changes), as_json=as_json)


@command.command("pause")
@SCHEDULE
@json_option
@connected("schedules")
def pause(api: Api, schedule: str, as_json: bool) -> None:
    """Have a schedule create no tasks."""
    _changed(api.post(_path(schedule, "pause")), as_json=as_json)


@command.command("resume")
@SCHEDULE
@json_option
@connected("schedules")
def resume(api: Api, schedule: str, as_json: bool) -> None:
    """Have a paused schedule create tasks again, from its next fire time on."""
    _changed(api.post(_path(schedule, "resume")), as_json=as_json)


@command.command("run")
@SCHEDULE
@json_option
@connected("schedules")
def run(api: Api, schedule: str, as_json: bool) -> None:
    """Create a task of a schedule now, and print its id; the next fire time stays."""
    task = api.post(_path(schedule, "run"))
    if as_json:
        echo_json(task)
    else:
        click.echo(task["id"])


@command.command("delete")
@SCHEDULE
@yes_option
@json_option
@connected("schedules")
def delete(api: Api, schedule: str, yes: bool, as_json: bool) -> None:
    """Delete a schedule; the tasks that it has created stay."""
    found = api.get(_path(schedule))
    confirm(f"Delete the schedule {found['name']}? Tasks created by it: {found['run_count']:,}; they stay.", yes=yes)
    answer = api.delete(f"/schedules/{found['id']}")
    if as_json:
        echo_json(answer)
    else:
        say(f"The schedule {answer['name']} is deleted.")


@command.command("preview")
@_timing
@click.option("--after", type=Moment(), metavar="TIME", help="Fire times after this one. [default: now]")
@click.option("--count", type=click.IntRange(1, 100), default=5, show_default=True, help="How many.")
@json_option
@connected("schedules")
def preview(api: Api, count: int, as_json: bool, **options: Any) -> None:
    """Print when a schedule would fire; nothing is stored.

    \b
    taskflow schedules preview --cron '30 2 * * *' --timezone Europe/Berlin
    """
    answer = api.post("/schedules/preview", {"count": count, **_given(options)})
    if as_json:
        echo_json(answer)
        return
    for time in answer["next_runs"]:
        click.echo(time)


def _echo(schedule: dict[str, Any], *, as_json: bool) -> None:
    for warning in schedule["warnings"]:
        say(f"warning: {warning}")
    if as_json:
        echo_json(schedule)
        return
    echo_fields([(name.replace("_", " "), _shown(name, value)) for name, value in _ordered(schedule).items()])


def _ordered(schedule: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in schedule.items() if name not in OLDER and (name != "warnings" or value)}


def _shown(name: str, value: Any) -> Any:
    if not is_terminal() or value is None:
        return value
    if name == "next_runs":
        return "\n".join(f"{at(time)} UTC" for time in value) or None
    if name in ("interval", "jitter"):
        return span(value)
    return f"{at(value)} UTC ({ago(value)})" if name.endswith("_at") else value


def _changed(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo_json(answer)
    else:
        click.echo(f"{answer['name']}\t{answer['message']}")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _path(schedule: str, verb: str = "") -> str:
    return f"/schedules/{quote(schedule, safe='')}" + (f"/{verb}" if verb else "")
