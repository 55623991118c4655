"""`taskflow dlq`: dead letters, what they died of, and trying them again."""

from __future__ import annotations

from typing import Any

import click

from taskflow.cli.api import PAGE, Api
from taskflow.cli.commands.tasks.showing import echo_task, traceback_option
from taskflow.cli.connected import connected, dry_run_option, json_option, secrets_option, yes_option
from taskflow.cli.failures import Refusal
from taskflow.cli.groups import Group
from taskflow.cli.output import Column, column, confirm, echo_items, echo_json, echo_line, is_terminal, say
from taskflow.cli.plain import ago, number
from taskflow.cli.progress import Progress
from taskflow.cli.values import Id, JsonObject

COLUMNS = (
    Column("id", lambda entry: entry["task_id"], right=True),
    Column("type", lambda entry: entry["task_type"]),
    Column("queue", lambda entry: entry["task"]["queue"]),
    column("attempts", right=True),
    column("reason"),
    column("added_at", shown=ago),
    Column("error", lambda entry: (entry["original_error"] or "").partition("\n")[0], long=True),
)
GROUPS = (
    column("count", right=True, shown=number),
    column("type"),
    Column("group", lambda group: group["fingerprint"]),
    column("first_seen", shown=ago),
    column("last_seen", shown=ago),
    Column("sample", lambda group: group["sample_id"], right=True),
    Column("error", lambda group: (group["error"] or "").partition("\n")[0], long=True),
)
IDS_IN_FILTER = 90  # of 19 digits, in 2,000 characters
filter_argument = click.argument("filter", nargs=-1, metavar="[FILTER]...")
ids_argument = click.argument("ids", nargs=-1, type=Id(), metavar="[ID]...")
filter_option = click.option("--filter", "filter_", metavar="FILTER", help="All that fit, as 'error:timeout'.")
group_option = click.option("--group", metavar="GROUP", help="All of a group, as `dlq groups` tells it.")
all_option = click.option("--all", "every", is_flag=True, help="Every dead letter.")


@click.group("dlq", cls=Group)
def command() -> None:
    """List dead letters, group them by what they died of, retry and delete them."""


@command.command("list")
@filter_argument
@group_option
@click.option("--name", "dead_letter_queue", metavar="NAME", help="Of queues with this dead-letter queue.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
@click.option("--all", "every", is_flag=True, help="All of them; with --json an object a line.")
@json_option
@secrets_option
@connected("dlq")
def list_(
    api: Api, filter: tuple[str, ...], group: str | None, dead_letter_queue: str | None, limit: int, every: bool,  # noqa: A002
    as_json: bool,
) -> None:  # fmt: skip
    """List dead letters, the latest first."""
    query = {"q": " ".join(filter) or None, "group": group, "dead_letter_queue": dead_letter_queue}
    answer: dict[str, Any] = {"entries": []}
    for page in api.pages("/dlq", **query, limit=PAGE if every else min(limit, PAGE)):
        if every and as_json:
            for entry in page["entries"]:
                echo_line(entry)
            continue
        answer = page | {"entries": answer["entries"] + page["entries"]}
        if not every and len(answer["entries"]) >= limit:
            break
    if every and as_json:
        return
    shown = answer["entries"] if every else answer["entries"][:limit]
    if as_json:
        echo_json(answer | {"entries": shown, "count": len(shown)})
        return
    echo_items(COLUMNS, shown, empty="There is no dead letter that fits.")
    if answer["next_cursor"] and is_terminal():
        say(f"{len(shown):,} are shown of {answer['size']:,} in all; --all lists every one.")


@command.command("show")
@click.argument("task_id", type=Id(), metavar="ID")
@json_option
@secrets_option
@traceback_option
@connected("tasks")
def show(api: Api, task_id: str, as_json: bool, traceback: bool) -> None:
    """Show a dead letter: its payload, what it died of, and every attempt with its error."""
    task = api.get(f"/tasks/{task_id}")
    if task["state"] != "dead_letter":
        what = f"Task {task_id} is {task['state']}, not a dead letter."
        raise Refusal("wrong_state", what, f"`taskflow tasks show {task_id}` shows it.")
    echo_task(api, task, as_json=as_json, traceback=traceback)


@command.command("groups")
@filter_argument
@click.option("--limit", type=click.IntRange(1, PAGE), default=50, show_default=True, help="How many at most.")
@json_option
@connected("dlq")
def groups(api: Api, filter: tuple[str, ...], limit: int, as_json: bool) -> None:  # noqa: A002
    """List what they died of: dead letters of one type with the same error, but for ids, numbers and quoted values."""
    answer = api.get("/dlq/groups", q=" ".join(filter) or None, limit=limit)
    if as_json:
        echo_json(answer)
    else:
        echo_items(GROUPS, answer["groups"], empty="There is no dead letter that fits.")


@command.command("retry")
@ids_argument
@filter_option
@group_option
@all_option
@click.option("--payload", type=JsonObject(), metavar="JSON", help="Another payload, or @FILE, or - for stdin.")
@click.option("--per-second", type=click.FloatRange(0, 100_000, min_open=True), metavar="N",
              help="So many become due in a second, not all of them at once.")  # fmt: skip
@dry_run_option
@yes_option
@json_option
@connected("dlq")
def retry(
    api: Api, ids: tuple[str, ...], filter_: str | None, group: str | None, every: bool,
    payload: dict[str, Any] | None, per_second: float | None, dry_run: bool, yes: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make dead letters pending again, with their failures forgotten.

    \b
    taskflow dlq retry 42
    taskflow dlq retry --group 9c1f… --per-second 20
    taskflow dlq retry --filter 'type:mail created:<1d' --dry-run
    """
    chosen = _chosen(ids, filter_, group, every)
    how = {name: value for name, value in (("payload", payload), ("per_second", per_second)) if value is not None}
    count = api.post("/dlq/retry", {**chosen, **how, "dry_run": True})["retried_count"]
    if dry_run:
        answer = {"message": "dry run: nothing was re-queued", "retried_count": count}
        _tell(answer, count, "would be made pending again", as_json=as_json)
        return
    if not ids and count:
        confirm(f"{count:,} dead letters are to be made pending again. Go on?", yes=yes)
    retried = 0
    with Progress("retry", count) as progress:
        while retried < count:  # a request ends after 20 seconds
            found = api.post("/dlq/retry", {**chosen, **how})["retried_count"]
            retried += found
            progress.advance(found)
            if not found or "task_id" in chosen:
                break
    answer = {"message": "tasks re-queued", "retried_count": retried}
    _tell(answer, retried, "made pending again", as_json=as_json)
    if retried < count:
        say(f"{count - retried:,} were passed over: a live task has their unique key, or they were retried meanwhile.")


@command.command("delete")
@ids_argument
@filter_option
@group_option
@all_option
@dry_run_option
@yes_option
@json_option
@connected("dlq")
def delete(
    api: Api, ids: tuple[str, ...], filter_: str | None, group: str | None, every: bool, dry_run: bool, yes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Remove dead letters and their attempts, for good."""
    chosen = _chosen(ids, filter_, group, every)
    count = api.post("/dlq/retry", {**chosen, "dry_run": True})["retried_count"]
    if dry_run:
        answer = {"message": "dry run: nothing was deleted", "deleted_count": count}
        _tell(answer, count, "would be removed for good", as_json=as_json)
        return
    deleted = 0
    if count:
        confirm(f"{count:,} dead letters are to be removed with all attempts, for good. Go on?", yes=yes)
        with Progress("delete", count) as progress:
            for filter_of_some in _filters_of(ids) if ids else [filter_]:
                while deleted < count:
                    found = api.delete("/dlq", q=filter_of_some, group=group, all=every or None)["deleted_count"]
                    deleted += found
                    progress.advance(found)
                    if not found:
                        break
    _tell({"message": "DLQ cleared", "deleted_count": deleted}, deleted, "removed for good", as_json=as_json)


def _chosen(ids: tuple[str, ...], filter_: str | None, group: str | None, every: bool) -> dict[str, Any]:
    """Which are meant, as the API takes it. Raises `UsageError` unless it is said in one way."""
    given = [bool(ids), bool(filter_ and filter_.strip()), group is not None, every]
    if sum(given) != 1:
        raise click.UsageError("Give one of: ids, --filter, --group, --all.", click.get_current_context())
    if ids:
        return {"task_id": ids[0]} if len(set(ids)) == 1 else {"ids": list(dict.fromkeys(ids))}
    if group is not None:
        return {"group": group}
    return {"retry_all": True} if every else {"filter": filter_}


def _filters_of(ids: tuple[str, ...]) -> list[str]:
    """These ids as filters, none of them longer than the API takes."""
    unlike = list(dict.fromkeys(ids))
    return [f"id:{','.join(unlike[at : at + IDS_IN_FILTER])}" for at in range(0, len(unlike), IDS_IN_FILTER)]


def _tell(answer: dict[str, Any], count: int, done: str, *, as_json: bool) -> None:
    if as_json:
        echo_json(answer)
    else:
        click.echo(f"{count:,} dead letter{'' if count == 1 else 's'} {done}.")
