"""`taskflow tasks list` and `export`: tasks by the filter language, a page or all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import IO, Any

import click

from taskflow.cli.api import PAGE, Api
from taskflow.cli.commands.tasks.words import SORTS, query_of
from taskflow.cli.connected import connected, json_option, secrets_option
from taskflow.cli.groups import Choice
from taskflow.cli.output import Column, column, echo_items, echo_json, echo_line, is_terminal, say
from taskflow.cli.plain import ago, as_json, number, one_line
from taskflow.cli.progress import Progress
from taskflow.tasks.task import STATES

COLUMNS = (
    column("id", right=True),
    column("type"),
    column("queue"),
    column("state", is_state=True),
    column("priority", spare=True),
    Column("attempt", lambda task: f"{task['attempt']}/{task['max_attempts']}", right=True),
    column("created_at", shown=ago, spare=True),
    column("scheduled_at", shown=ago, spare=True),
    Column("error", lambda task: (task["error"] or "").partition("\n")[0] or None, long=True),
)

filter_argument = click.argument("filter", nargs=-1, metavar="[FILTER]...")
state_option = click.option("--state", "states", type=Choice(STATES), multiple=True, help="Repeatable.")
type_option = click.option("--type", "type_", metavar="TYPE", help="Of this type only.")
queue_option = click.option("--queue", metavar="QUEUE", help="Of this queue only.")


@click.command("list")
@filter_argument
@state_option
@type_option
@queue_option
@click.option("--sort", type=Choice(SORTS), default="-id", show_default=True, metavar="ORDER", help=", ".join(SORTS))
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many at most.")
@click.option("--all", "every", is_flag=True, help="All of them; with --json an object a line.")
@click.option("--cursor", metavar="CURSOR", help="Go on where a list ended.")
@json_option
@secrets_option
@connected("tasks")
def list_(
    api: Api,
    filter: tuple[str, ...],  # noqa: A002  (the argument's name in the help)
    states: tuple[str, ...],
    type_: str | None,
    queue: str | None,
    sort: str,
    limit: int,
    every: bool,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List tasks, the newest first.

    \b
    taskflow tasks list state:failed type:mail 'created:<1h'
    taskflow tasks list --state running --json
    """
    query = query_of(filter, states, type_, queue) | {"sort": sort}
    if every:
        _echo_all(api, query, as_json=as_json)
        return
    answer = api.get("/tasks", **query, limit=min(limit, PAGE), cursor=cursor)
    while len(answer["tasks"]) < limit and answer["next_cursor"]:
        page = api.get("/tasks", **query, limit=min(limit - len(answer["tasks"]), PAGE), cursor=answer["next_cursor"])
        answer |= {"tasks": answer["tasks"] + page["tasks"], "next_cursor": page["next_cursor"]}
    answer["count"] = len(answer["tasks"])
    if as_json:
        echo_json(answer)
        return
    echo_items(COLUMNS, answer["tasks"], empty="No task fits.")
    if answer["next_cursor"] and is_terminal():
        about = "about " if answer["total_estimated"] else ""
        say(f"{answer['count']:,} of {about}{answer['total']:,}; the next ones: --cursor {answer['next_cursor']}")


@click.command("export")
@filter_argument
@state_option
@type_option
@queue_option
@click.option("--sort", type=Choice(SORTS), default="id", show_default=True, metavar="ORDER", help=", ".join(SORTS))
@click.option("--output", "-o", type=click.File("w", encoding="utf-8", lazy=True), default="-", metavar="FILE",
              help="Write there. [default: standard output]")  # fmt: skip
@secrets_option
@connected("tasks")
def export(
    api: Api,
    filter: tuple[str, ...],  # noqa: A002
    states: tuple[str, ...],
    type_: str | None,
    queue: str | None,
    sort: str,
    output: IO[str],
) -> None:
    """Write tasks with all their fields, one JSON object a line, the oldest first.

    \b
    taskflow tasks export state:dead_letter -o dead.ndjson
    """
    query = query_of(filter, states, type_, queue) | {"sort": sort}
    count = 0
    for task in _all(api, query):
        output.write(as_json(task) + "\n")
        count += 1
    say(f"{number(count)} tasks")


def _echo_all(api: Api, query: dict[str, Any], *, as_json: bool) -> None:
    tasks = _all(api, query)
    if as_json:
        for task in tasks:
            echo_line(task)
    elif is_terminal():
        for rows in iter(lambda: list(itertools.islice(tasks, PAGE)), []):
            echo_items(COLUMNS, rows)
    else:
        click.echo("\t".join(column.name.replace(" ", "_") for column in COLUMNS))
        for task in tasks:
            click.echo("\t".join(one_line(column.value(task)) for column in COLUMNS))


def _all(api: Api, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every task that fits; a bar tells how far it is, unless the tasks go to the same terminal."""
    pages = api.pages("/tasks", **query)
    first = next(pages)
    if is_terminal():
        yield from first["tasks"]
        for page in pages:
            yield from page["tasks"]
        return
    with Progress("tasks", first["total"]) as progress:
        for page in itertools.chain([first], pages):
            yield from page["tasks"]
            progress.advance(page["count"])
