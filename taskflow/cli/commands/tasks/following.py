"""`taskflow tasks logs` and `wait`: what a task does, while it does it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from taskflow.cli.api import Api
from taskflow.cli.commands.tasks.showing import state_line
from taskflow.cli.connected import connected, json_option, secrets_option
from taskflow.cli.failures import Refusal
from taskflow.cli.output import echo_json, echo_line, say
from taskflow.cli.plain import at, clean, color, one_line
from taskflow.cli.values import Duration, Id
from taskflow.tasks.task import FINISHED_STATES

LONGEST_WAIT_SECONDS = 25  # of one request
LOOK_SECONDS = 1
OWN_FIELDS = frozenset({"at", "level", "message"})
LEVEL_STYLES = {"warning": "yellow", "error": "red", "critical": "red", "debug": "bright_black"}


@click.command("logs")
@click.argument("task_id", type=Id(), metavar="ID")
@click.option("--attempt", type=click.IntRange(1), help="Of this attempt only.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the task has ended; --json is an object a line then.")
@json_option
@secrets_option
@connected("tasks")
def logs(api: Api, task_id: str, attempt: int | None, follow: bool, as_json: bool) -> None:
    """Print what the attempts of a task have logged.

    A handler's log is stored when its attempt ends; while it runs, --follow shows its progress.
    """
    entries = _followed(api, task_id) if follow else _entries(_attempts(api, task_id))
    wanted = (entry for entry in entries if attempt is None or entry["attempt"] == attempt)
    if as_json and not follow:
        echo_json(list(wanted))
        return
    for entry in wanted:
        if as_json:
            echo_line(entry)
        else:
            _echo(entry)


@click.command("wait")
@click.argument("task_ids", type=Id(), nargs=-1, required=True, metavar="ID...")
@click.option("--timeout", type=Duration(), metavar="DURATION", help="Wait no longer, as 10m. [default: for ever]")
@json_option
@secrets_option
@connected("tasks")
@click.pass_context
def wait(context: click.Context, api: Api, task_ids: tuple[str, ...], timeout: float | None, as_json: bool) -> None:
    """Wait until tasks have ended. Exit code 0: all of them completed; 1: one ended otherwise, or the time was up."""
    until = None if timeout is None else time.monotonic() + timeout
    ended = [ended_task(api, task_id, until) for task_id in dict.fromkeys(task_ids)]
    if as_json:
        echo_json(ended[0] if len(task_ids) == 1 else ended)
    else:
        for task in ended:
            state_line(task)
    if any(task["state"] != "completed" for task in ended):
        context.exit(1)


def ended_task(api: Api, task_id: str, until: float | None) -> dict[str, Any]:
    """The task when it has ended. `until`: a monotonic time; raises `Refusal` when that comes first."""
    while True:
        left = LONGEST_WAIT_SECONDS if until is None else until - time.monotonic()
        seconds = max(1, min(LONGEST_WAIT_SECONDS, int(left))) if left >= 1 else None
        task: dict[str, Any] = api.get(f"/tasks/{task_id}", wait=seconds)
        if task["state"] in FINISHED_STATES:
            return task
        if until is not None and time.monotonic() >= until:
            raise Refusal("wait_timeout", f"Task {task_id} is {task['state']}.")
        if seconds is None:
            time.sleep(min(0.1, max(0.0, left)))


def _followed(api: Api, task_id: str) -> Iterator[dict[str, Any]]:
    """The entries of the attempts as they end, and the progress of the one that runs, until the task has ended."""
    shown: set[tuple[int, bool]] = set()
    progress: Any = None
    while True:
        task = api.get(f"/tasks/{task_id}")
        now = (task["attempt"], task["progress"], task["progress_message"])
        if task["progress"] is not None and now != progress and task["state"] == "running":
            progress = now
            message = f"{task['progress']}% {task['progress_message'] or ''}".rstrip()
            yield {"attempt": task["attempt"], "at": task["updated_at"], "level": "progress", "message": message}
        for attempt in _attempts(api, task_id):
            place = (attempt["attempt"], attempt["finished_at"] is not None)
            if place not in shown:
                shown.add(place)
                yield from _entries([attempt]) if place[1] else _begun(attempt)
        if task["state"] in FINISHED_STATES:
            say(f"Task {task_id} is {task['state']}.")
            return
        api.get(f"/tasks/{task_id}", wait=LOOK_SECONDS)


def _attempts(api: Api, task_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/tasks/{task_id}/executions")["executions"]
    return found


def _begun(attempt: dict[str, Any]) -> Iterator[dict[str, Any]]:
    message = f"started by worker {attempt['worker_id']}"
    yield {"attempt": attempt["attempt"], "at": attempt["started_at"], "level": "attempt", "message": message}


def _entries(attempts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for attempt in attempts:
        for entry in attempt["logs"]:
            known = entry if isinstance(entry, dict) else {"message": entry}
            yield {"attempt": attempt["attempt"], "at": None, "level": "info", "message": "", **known}
        if attempt["finished_at"] is not None:
            message = attempt["status"] + (f": {attempt['error']}" if attempt["error"] else "")
            place = {"attempt": attempt["attempt"], "at": attempt["finished_at"]}
            yield {**place, "level": "attempt", "message": message}


def _echo(entry: dict[str, Any]) -> None:
    more = " ".join(f"{clean(name)}={one_line(value)}" for name, value in entry.items() if name not in _KNOWN)
    level = click.style(clean(str(entry["level"])).ljust(8), fg=LEVEL_STYLES.get(entry["level"]))
    message = clean(str(entry["message"]), indent=2)
    line = f"{_time(entry['at'])}  #{entry['attempt']}  {level}  {message}" + (f"  {more}" if more else "")
    click.echo(line, color=color())


def _time(text: Any) -> str:
    try:
        return at(text) or "-"
    except (TypeError, ValueError):  # a handler's own entry may hold anything
        return one_line(text)


_KNOWN = OWN_FIELDS | {"attempt"}
