"""`taskflow queues set`: the settings of a queue; what is not named stays."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import click

from taskflow.cli.api import Api
from taskflow.cli.commands.queues.showing import NAME
from taskflow.cli.connected import connected, json_option
from taskflow.cli.failures import Refusal
from taskflow.cli.groups import Choice
from taskflow.cli.output import echo_json, say
from taskflow.cli.values import Duration, QueueName, seconds_of

STRATEGIES = ("fixed", "linear", "exponential")
KEPT = ("completed", "failed", "cancelled", "dead_letter")
RATE = re.compile(r"([1-9][0-9]*)(?:/(.+))?", re.ASCII)
LIMITS = ("max-workers", "rate-limit", "aging", "dead-letter-queue")


class Rate(click.ParamType[dict[str, Any]]):
    """So many starts in so long: 100, 100/s, 10/1m."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        found = RATE.fullmatch(str(value))
        period = None if found is None else 1.0 if found[2] is None else seconds_of(_with_number(found[2]))
        if found is None or not period:
            self.fail(f"{value!r} is no rate: write 100, 100/s or 10/1m.", param, ctx)
        return {"rate_limit": int(found[1]), "rate_period": period}


class TypeLimit(click.ParamType[tuple[str, Any]]):
    """TYPE=RATE, TYPE=paused, or TYPE=none."""

    name = "type limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        name, equals, limit = str(value).rpartition("=")
        if not name or not equals:
            self.fail(f"{value!r} is no limit of a type: write TYPE=10/1m, TYPE=paused or TYPE=none.", param, ctx)
        if limit == "none":
            return name, None
        return name, {"paused": True} if limit == "paused" else Rate().convert(limit, param, ctx) | {"paused": False}


class Kept(click.ParamType[tuple[str, Any]]):
    """STATE=DURATION, or STATE=none."""

    name = "retention"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        if isinstance(value, tuple):
            return value
        state, _, length = str(value).partition("=")
        state = Choice(KEPT).convert(state, param, ctx)
        return state, None if length == "none" else Duration(above_zero=True).convert(length, param, ctx)


def _settings(function: Any) -> Any:
    """The options for each setting of a queue."""
    count = click.IntRange(1, 1_000_000)
    options = (
        click.option("--priority", type=int, help="Queues with a higher one are served first."),
        click.option("--weight", type=count, help="Share among queues of equal priority."),
        click.option("--max-workers", type=count, help="Tasks that run at once, all workers together."),
        click.option("--rate-limit", "rate", type=Rate(), metavar="N[/TIME]", help="Starts in a time: 100/s, 10/1m."),
        click.option("--key-limit", type=count, help="Tasks of one concurrency key that run at once."),
        click.option("--type-limit", "type_limits", type=TypeLimit(), multiple=True, metavar="TYPE=N/TIME",
                     help="The same for a type; TYPE=paused, TYPE=none; repeatable."),
        click.option("--max-attempts", type=click.IntRange(1, 1000), help="Attempts, the first one included."),
        click.option("--retry", "retry_strategy", type=Choice(STRATEGIES), help="How the wait between them grows."),
        click.option("--retry-delay", type=Duration(), metavar="DURATION", help="The first wait."),
        click.option("--max-retry-delay", type=Duration(), metavar="DURATION", help="The longest wait."),
        click.option("--retry-jitter", type=click.FloatRange(0, 1), help="A fraction of the wait."),
        click.option("--timeout", type=Duration(above_zero=True), metavar="DURATION", help="Of an attempt."),
        click.option("--max-depth", type=click.IntRange(1), help="Tasks that may wait."),
        click.option("--dead-letter/--no-dead-letter", default=None, help="Whether what fails for good is kept."),
        click.option("--dead-letter-queue", type=QueueName(), metavar="NAME", help="A name that groups dead letters."),
        click.option("--aging", "aging_seconds", type=Duration(above_zero=True), metavar="DURATION",
                     help="Waiting so long lifts a task one priority."),
        click.option("--keep", "retention", type=Kept(), multiple=True, metavar="STATE=DURATION",
                     help="How long ended tasks are kept; STATE=none; repeatable."),
        click.option("--unset", type=Choice(LIMITS), multiple=True, help="Lift a limit; repeatable."),
        click.option("--create", is_flag=True, help="Create the queue if there is none."),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.command("set")
@NAME
@_settings
@json_option
@connected("queues")
def set_(api: Api, name: str, create: bool, as_json: bool, **options: Any) -> None:
    """Change settings of a queue; what is not named stays. Workers obey within a second.

    \b
    taskflow queues set mail --max-workers 10 --rate-limit 100/1m
    taskflow queues set mail --retry linear --retry-delay 5s --type-limit import=paused
    """
    changes = _changes(**options)
    if not changes and not create:
        raise click.UsageError("Say what to change, as --max-workers 10.", click.get_current_context())
    queue = _set(api, name, changes, create=create)
    if as_json:
        echo_json(queue)
    else:
        say(f"The queue {queue['name']} is changed; `taskflow queues show {queue['name']}` shows it.")


update = click.Command(
    "update",
    params=set_.params,
    callback=set_.callback,
    help=set_.help,
    short_help="The same as set.",
)


def _set(api: Api, name: str, changes: dict[str, Any], *, create: bool) -> Any:
    try:
        return api.patch(f"/queues/{quote(name, safe='')}", changes)
    except Refusal as refusal:
        if refusal.code != "queue_not_found":
            raise
        if not create:
            refusal.fix = "`taskflow queues list` shows them; --create makes a new one."
            raise
    return api.post("/queues", {"name": name, **{key: value for key, value in changes.items() if value is not None}})


def _changes(
    *, rate: dict[str, Any] | None, type_limits: tuple[tuple[str, Any], ...], max_attempts: int | None,
    retention: tuple[tuple[str, Any], ...], unset: tuple[str, ...], **plain: Any,
) -> dict[str, Any]:  # fmt: skip
    changes = {name: value for name, value in plain.items() if value is not None}
    changes |= rate or {}
    if max_attempts is not None:
        changes["max_retries"] = max_attempts - 1
    if type_limits:
        changes["type_limits"] = dict(type_limits)
    if retention:
        changes["retention"] = dict(retention)
    for name in unset:
        setting = "aging_seconds" if name == "aging" else name.replace("-", "_")
        if setting in changes:
            raise click.UsageError(f"--{name} is given and unset.", click.get_current_context())
        changes[setting] = None
    return changes


def _with_number(period: str) -> str:
    return period if period[0].isdigit() else f"1{period}"
