"""`taskflow tasks edit`: change a task that waits, by options or in an editor."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from taskflow.cli.api import Api
from taskflow.cli.commands.tasks.showing import state_line
from taskflow.cli.commands.tasks.words import PRIORITIES
from taskflow.cli.connected import connected, json_option
from taskflow.cli.failures import Refusal
from taskflow.cli.groups import Choice
from taskflow.cli.output import echo_json, is_terminal, say
from taskflow.cli.values import Duration, Id, JsonObject, Moment, QueueName

FIELDS = ("payload", "priority", "queue", "scheduled_at", "metadata", "tags")
HIDDEN = "[redacted]"


@click.command("edit")
@click.argument("task_id", type=Id(), metavar="ID")
@click.option("--payload", type=JsonObject(), metavar="JSON", help="The new payload, or @FILE, or - for stdin.")
@click.option("--priority", type=Choice(PRIORITIES), help="The new priority.")
@click.option("--queue", type=QueueName(), help="The new queue.")
@click.option("--at", "scheduled_at", type=Moment(), metavar="TIME", help="When it is due.")
@click.option("--delay", type=Duration(), metavar="DURATION", help="In how long it is due, as 10m.")
@click.option("--metadata", type=JsonObject(), metavar="JSON", help="The new metadata.")
@click.option("--tag", "tags", multiple=True, help="The new tags; repeatable.")
@json_option
@connected("tasks", shows_secrets=True)
def edit(api: Api, task_id: str, delay: float | None, tags: tuple[str, ...], as_json: bool, **changes: Any) -> None:
    """Change a task that waits. Without options its fields are opened in $EDITOR, and saved unless somebody else
    has changed the task meanwhile."""
    changed = {name: value for name, value in changes.items() if value is not None}
    if tags:
        changed["tags"] = list(tags)
    if delay is not None:
        if "scheduled_at" in changed:
            raise click.UsageError("Give --at or --delay, not both.", click.get_current_context())
        changed["scheduled_at"] = (datetime.now(UTC) + timedelta(seconds=delay)).isoformat()
    etag = None
    if not changed:
        found = api.request("GET", f"/tasks/{task_id}")
        etag, changed = found.etag, _edited(found.body)
        if not changed:
            say("Nothing was changed.")
            return
    task = api.patch(f"/tasks/{task_id}", changed, etag=etag)
    if as_json:
        echo_json(task)
    else:
        state_line(task)


def _edited(task: dict[str, Any]) -> dict[str, Any]:
    """What is different after somebody has edited it."""
    if not is_terminal():
        raise click.UsageError(
            "Say what to change, as --priority high: there is no terminal for an editor.", click.get_current_context()
        )
    before = {name: task[name] for name in FIELDS}
    text = click.edit(json.dumps(before, indent=2, ensure_ascii=False) + "\n", extension=".json")
    if text is None:
        return {}
    try:
        after = json.loads(text)
    except ValueError as error:
        raise Refusal("invalid_input", f"What was saved is no JSON: {error}") from error
    if not isinstance(after, dict):
        raise Refusal("invalid_input", "What was saved is no object.")
    changed = {name: value for name, value in after.items() if name not in before or value != before[name]}
    for name, value in changed.items():
        if HIDDEN in json.dumps(value):
            raise Refusal(
                "invalid_input",
                f"{name} holds {HIDDEN} in place of a secret, which would be lost.",
                "Use a key with the scope admin, or give all of it with --payload.",
            )
    return changed
