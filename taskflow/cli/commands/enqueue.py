"""`taskflow enqueue`: one task from the command line, or very many from lines of JSON."""

from __future__ import annotations

import time
from typing import IO, Any

import click

from taskflow.cli.api import Api
from taskflow.cli.bulk import enqueue_lines
from taskflow.cli.commands.tasks.following import ended_task
from taskflow.cli.commands.tasks.words import PRIORITIES
from taskflow.cli.connected import connected, json_option, secrets_option
from taskflow.cli.failures import refusal_of
from taskflow.cli.groups import Choice
from taskflow.cli.output import echo_json, is_terminal, say
from taskflow.cli.plain import one_line
from taskflow.cli.unserved import unknown_type, unserved
from taskflow.cli.values import Duration, JsonObject, Moment, QueueName
from taskflow.errors import TaskflowError

STRATEGIES = ("fixed", "linear", "exponential")
CONFLICTS = ("skip", "error", "replace")


@click.command("enqueue")
@click.argument("type_", metavar="[TYPE]", required=False)
@click.argument("payload", type=JsonObject(), metavar="[PAYLOAD]", required=False)
@click.option("--file", "-f", "lines", type=click.File("rb"), metavar="FILE",
              help="Many tasks, an object of JSON a line; - is stdin. With TYPE a line is a payload.")  # fmt: skip
@click.option("--skip", type=click.IntRange(0), default=0, metavar="N", help="Pass over the first N lines of the file.")
@click.option("--queue", type=QueueName(), help="[default: default]")
@click.option("--priority", type=Choice(PRIORITIES), help="[default: normal]")
@click.option("--at", "scheduled_at", type=Moment(), metavar="TIME", help="Not before this time.")
@click.option("--delay", type=Duration(), metavar="DURATION", help="Not before so long from now, as 10m.")
@click.option("--max-attempts", type=click.IntRange(1, 1000), help="[default: the queue's]")
@click.option("--timeout", type=Duration(above_zero=True), metavar="DURATION", help="[default: the queue's]")
@click.option("--retry", "retry_strategy", type=Choice(STRATEGIES), help="How the wait between attempts grows.")
@click.option("--retry-delay", type=Duration(), metavar="DURATION", help="The first wait.")
@click.option("--max-retry-delay", type=Duration(), metavar="DURATION", help="The longest wait.")
@click.option("--unique-key", metavar="KEY", help="At most one live task of the type has this key.")
@click.option("--on-conflict", type=Choice(CONFLICTS), help="What to do where one has. [default: skip]")
@click.option("--unique-for", type=Duration(), metavar="DURATION", help="The key stays taken for so long.")
@click.option("--concurrency-key", metavar="KEY", help="Tasks of one key run one at a time.")
@click.option("--metadata", type=JsonObject(), metavar="JSON", help="An object to find it by.")
@click.option("--tag", "tags", multiple=True, help="A word to find it by; repeatable.")
@click.option("--wait", is_flag=True, help="Wait until it has ended, and print its result; exit code 1: not completed.")
@click.option("--wait-timeout", type=Duration(), metavar="DURATION", help="Wait no longer than this.")
@json_option
@secrets_option
@connected("tasks", "types")
@click.pass_context
def command(
    context: click.Context, /, api: Any, type_: str | None, payload: dict[str, Any] | None, lines: IO[bytes] | None,
    skip: int, wait: bool, wait_timeout: float | None, as_json: bool, tags: tuple[str, ...], **options: Any,
) -> None:  # fmt: skip
    """Create a task, or many from lines of a file. Prints the id of the task.

    \b
    taskflow enqueue mail '{"to": "anna@example.com"}' --delay 10m
    taskflow enqueue report @payload.json --wait
    taskflow enqueue --file tasks.ndjson
    taskflow enqueue mail --file payloads.ndjson --priority low
    """
    given = {name: value for name, value in options.items() if value is not None}
    given |= {"tags": list(tags)} if tags else {}
    if lines is not None:
        if payload is not None or wait:
            raise click.UsageError("With --file there is neither a PAYLOAD nor --wait.", context)
        enqueue_lines(api, lines, type_=type_, options=given, skip=skip, as_json=as_json)
        _warn(unknown_type(api, type_) if type_ is not None else None)
        return
    if type_ is None:
        raise click.UsageError("Say which TYPE, or give --file with many tasks.", context)
    if skip:
        raise click.UsageError("--skip is for --file.", context)
    task = api.post("/tasks", {"type": type_, "payload": payload or {}, **given})
    _warn(unserved(api, task))
    created = task["created"]
    if wait or wait_timeout is not None:
        task = _ended(api, task, wait_timeout) | {"created": created}
    if as_json:
        echo_json(task)
    else:
        _echo(task, waited=wait or wait_timeout is not None)
    if (wait or wait_timeout is not None) and task["state"] != "completed":
        context.exit(1)


def _warn(reason: str | None) -> None:
    if reason is not None:
        say(f"warning: {reason}")


def _ended(api: Api, task: dict[str, Any], timeout: float | None) -> dict[str, Any]:
    """The task when it has ended. Where that cannot be awaited the error names it: who repeats the command for want of
    an id makes a second one."""
    made = f"Task {task['id']} was created" if task["created"] else f"Task {task['id']} has its unique key already"
    try:
        return ended_task(api, task["id"], None if timeout is None else time.monotonic() + timeout)
    except KeyboardInterrupt:
        say(f"{made}; it goes on by itself.")
        raise
    except TaskflowError as error:
        refusal = refusal_of(error)
        if refusal.code == "wait_timeout":  # --timeout, which others have for that, is the task's own here
            refusal.fix = (
                f"It goes on by itself: `taskflow tasks wait {task['id']}` waits again. "
                "How long `enqueue --wait` does is said by --wait-timeout."
            )
        else:
            refusal.why = (f"{made}; it cannot be watched: {' '.join(refusal.why)}",)
        raise refusal from error


def _echo(task: dict[str, Any], *, waited: bool) -> None:
    if not waited:
        click.echo(task["id"])
        if not task["created"]:
            say(f"It was not created: task {task['id']}, which is {task['state']}, has its unique key.")
        elif is_terminal():
            say(f"Task {task['id']} is {task['state']} in the queue {task['queue']}.")
        return
    if task["state"] == "completed":
        click.echo(one_line(task["result"]) if task["result"] is not None else task["id"])
    else:
        say(f"Task {task['id']} is {task['state']}: {task['error'] or 'no error was given'}")
