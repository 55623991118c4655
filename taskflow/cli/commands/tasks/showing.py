"""`taskflow tasks show` and `why`: all that is known about one task."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from taskflow.cli.api import Api
from taskflow.cli.connected import connected, json_option, secrets_option
from taskflow.cli.output import (
    Column,
    coloured_state,
    column,
    echo_fields,
    echo_items,
    echo_json,
    heading,
    is_terminal,
)
from taskflow.cli.plain import ago, at, clean, color, span
from taskflow.cli.values import Id

ATTEMPTS = (
    column("attempt", right=True),
    column("status", is_state=True),
    column("worker", "worker_id", right=True),
    column("started_at", shown=ago),
    column("took", "duration_ms", shown=lambda ms: None if ms is None else span(ms / 1000), right=True, unit="ms"),
    Column("error", lambda attempt: (attempt["error"] or "").partition("\n")[0] or None, long=True),
)
# What the API advises, in the words of the command line.
ADVICE = (
    (re.compile(r"POST /api/v1/(\w+)/\{?(\S+?)\}?/(\w+)"), r"`taskflow \1 \3 \2`"),
    (re.compile(r"PATCH /api/v1/tasks/(\S+) with scheduled_at"), r"`taskflow tasks edit \1 --delay 0`"),
    (re.compile(r"PATCH /api/v1/queues/(\S+) with (\w+)"), lambda m: f"`taskflow queues set {m[1]} {_option(m[2])} …`"),
)


traceback_option = click.option("--traceback", is_flag=True, help="The tracebacks of failed attempts too.")


@click.command("show")
@click.argument("task_id", type=Id(), metavar="ID")
@json_option
@secrets_option
@traceback_option
@connected("tasks")
def show(api: Api, task_id: str, as_json: bool, traceback: bool) -> None:
    """Show a task: its payload, its result, and every attempt with its error."""
    echo_task(api, api.get(f"/tasks/{task_id}"), as_json=as_json, traceback=traceback)


def echo_task(api: Api, task: dict[str, Any], *, as_json: bool, traceback: bool) -> None:
    """Print a task and its attempts."""
    attempts = api.get(f"/tasks/{task['id']}/executions")["executions"]
    if as_json:
        echo_json(task | {"executions": attempts})
        return
    echo_fields(_fields(task))
    if is_terminal() and not attempts:
        return
    if attempts:
        heading("attempts") if is_terminal() else click.echo()
        echo_items(ATTEMPTS, attempts)
    for attempt in attempts:
        text = attempt["traceback"] if traceback else attempt["error"]
        if text and (traceback or (is_terminal() and "\n" in text)):
            heading(f"attempt {attempt['attempt']}")
            click.echo(clean(text))


@click.command("why")
@click.argument("task_id", type=Id(), metavar="ID")
@json_option
@connected("tasks")
def why(api: Api, task_id: str, as_json: bool) -> None:
    """Say why a task is not running, and what to do about it."""
    answer = api.get(f"/tasks/{task_id}/why")
    if as_json:
        echo_json(answer)
        return
    click.echo(clean(answer["reason"]))
    if answer["fix"]:
        click.echo(clean(advice(answer["fix"])))


def advice(text: str) -> str:
    """What the API advises, as commands."""
    for pattern, command in ADVICE:
        text = pattern.sub(command, text)
    return text


def _option(setting: str) -> str:
    return "--type-limit" if setting == "type_limits" else f"--{setting.replace('_', '-')}"


def _fields(task: dict[str, Any]) -> list[tuple[str, Any]]:
    times = ("created_at", "scheduled_at", "started_at", "completed_at", "next_retry_at")
    moments = {name: _moment(task[name]) for name in times}
    state = task["state"] + (", asked to stop" if task["cancel_requested"] else "")
    progress = None if task["progress"] is None else f"{task['progress']}% {task['progress_message'] or ''}".rstrip()
    return [
        ("id", task["id"]),
        ("type", task["type"]),
        ("queue", task["queue"]),
        ("state", state),
        ("priority", task["priority"]),
        ("attempt", f"{task['attempt']} ({task['failures']} of {task['max_attempts']} failures used)"),
        ("timeout", span(task["timeout"])),
        ("payload", _json(task["payload"])),
        ("result", _json(task["result"])),
        ("error", task["error"]),
        ("progress", progress),
        ("metadata", _json(task["metadata"]) if task["metadata"] else None),
        ("tags", ", ".join(task["tags"]) or None),
        ("unique key", task["unique_key"]),
        ("concurrency key", task["concurrency_key"]),
        ("worker", task["worker_id"]),
        ("schedule", task["schedule_id"]),
        ("created", f"{moments['created_at']} by {task['created_by']}"),
        ("due", moments["scheduled_at"]),
        ("started", moments["started_at"]),
        ("ended", moments["completed_at"]),
        ("next retry", moments["next_retry_at"]),
    ]


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    return f"{at(text)} UTC ({ago(text)})" if is_terminal() else text


def _json(value: Any) -> str | None:
    if value is None:
        return None
    short = json.dumps(value, ensure_ascii=False)
    return short if len(short) <= 100 or not is_terminal() else json.dumps(value, ensure_ascii=False, indent=2)


def state_line(task: dict[str, Any]) -> None:
    """One line about a task, for people and programs: id, state, error."""
    parts = [task["id"], coloured_state(task["state"])]
    if task["error"] and task["state"] != "completed":
        parts.append(clean(task["error"]).partition("\n")[0])
    click.echo("\t".join(parts), color=color())
