"""`taskflow queues pause`, `resume`, `drain`, `purge` and `delete`."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import click

from taskflow.cli.api import Api
from taskflow.cli.commands.queues.showing import NAME
from taskflow.cli.connected import connected, dry_run_option, json_option, yes_option
from taskflow.cli.failures import Refusal
from taskflow.cli.output import confirm, echo_json, say
from taskflow.cli.progress import Progress
from taskflow.cli.values import Duration, QueueName
from taskflow.tasks.task import WAITING_STATES

LOOK_SECONDS = 0.5
names_argument = click.argument("names", nargs=-1, type=QueueName(), required=True, metavar="NAME...")


@click.command("pause")
@names_argument
@json_option
@connected("queues")
def pause(api: Api, names: tuple[str, ...], as_json: bool) -> None:
    """Have nothing claimed from queues; what runs goes on."""
    _each(api, names, "pause", as_json=as_json)


@click.command("resume")
@names_argument
@json_option
@connected("queues")
def resume(api: Api, names: tuple[str, ...], as_json: bool) -> None:
    """Have tasks claimed from paused queues again."""
    _each(api, names, "resume", as_json=as_json)


@click.command("drain")
@NAME
@click.option("--empty", is_flag=True, help="Do not pause it: wait until all that is due has run as well.")
@click.option("--timeout", type=Duration(), metavar="DURATION", help="Wait no longer, as 10m. [default: for ever]")
@json_option
@connected("queues")
def drain(api: Api, name: str, empty: bool, timeout: float | None, as_json: bool) -> None:
    """Pause a queue and wait until nothing of it runs any more; what waits stays. `resume` goes on.

    Exit code 1: the time was up.
    """
    until = None if timeout is None else time.monotonic() + timeout
    if not empty:
        api.post(_path(name, "pause"))
    states = ("running", *(("pending", "blocked") if empty else ()))
    statistics = api.get(_path(name, "stats"))
    first = left = _total(statistics, states)
    with Progress(f"drain {name}", first) as progress:
        while left:
            if until is not None and time.monotonic() >= until:
                raise Refusal("wait_timeout", f"{left:,} tasks of the queue {name} are not done.")
            time.sleep(LOOK_SECONDS if until is None else max(0.0, min(LOOK_SECONDS, until - time.monotonic())))
            statistics = api.get(_path(name, "stats"))
            now = _total(statistics, states)
            progress.advance(max(0, left - now))
            left = now
    if as_json:
        echo_json(statistics)
    elif empty:
        say(f"Nothing of the queue {name} is due or runs.")
    else:
        waiting = _total(statistics, WAITING_STATES)
        say(f"The queue {name} is paused and nothing of it runs; {waiting:,} tasks wait in it.")


@click.command("purge")
@NAME
@dry_run_option
@yes_option
@json_option
@connected("queues")
def purge(api: Api, name: str, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Cancel all that waits in a queue, what is due later too; what runs goes on."""
    waiting = _total(api.get(_path(name, "stats")), WAITING_STATES)
    if dry_run:
        _tell({"message": "dry run", "name": name, "deleted_count": waiting}, "would be cancelled", as_json=as_json)
        return
    deleted = 0
    if waiting:
        confirm(f"{waiting:,} tasks that wait in the queue {name} are to be cancelled. Go on?", yes=yes)
        with Progress(f"purge {name}", waiting) as progress:
            while deleted < waiting:  # a request ends after 20 seconds
                count = api.post(_path(name, "purge"))["deleted_count"]
                deleted += count
                progress.advance(count)
                if not count:
                    break
    _tell({"message": "queue purged", "name": name, "deleted_count": deleted}, "cancelled", as_json=as_json)


@click.command("delete")
@NAME
@click.option("--force", is_flag=True, help="Also if tasks wait in it: they are cancelled.")
@yes_option
@json_option
@connected("queues")
def delete(api: Api, name: str, force: bool, yes: bool, as_json: bool) -> None:
    """Delete a queue with its settings; what has ended stays."""
    waiting = _total(api.get(_path(name, "stats")), WAITING_STATES)
    also = f" and cancel {waiting:,} tasks that wait in it" if force and waiting else ""
    confirm(f"Delete the queue {name} with its settings{also}?", yes=yes)
    answer = api.delete(_path(name), force=force or None)
    if as_json:
        echo_json(answer)
    else:
        say(f"The queue {name} is deleted; {answer['deleted_count']:,} tasks were cancelled.")


def _each(api: Api, names: tuple[str, ...], verb: str, *, as_json: bool) -> None:
    answers = []
    for name in dict.fromkeys(names):
        answer = api.post(_path(name, verb))
        answers.append(answer)
        if not as_json:
            click.echo(f"{answer['name']}\t{answer['message']}")
    if as_json:
        echo_json(answers[0] if len(names) == 1 else answers)


def _tell(answer: dict[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        echo_json(answer)
    else:
        click.echo(f"{answer['deleted_count']:,} tasks {done}.")


def _total(statistics: dict[str, Any], states: tuple[str, ...]) -> int:
    return sum(int(statistics[f"{state}_count"]) for state in states)


def _path(name: str, verb: str = "") -> str:
    return f"/queues/{quote(name, safe='')}" + (f"/{verb}" if verb else "")
