"""`taskflow workers`: which processes run tasks, and what is wanted of them."""

from __future__ import annotations

from typing import Any

import click

from taskflow.cli.api import Api
from taskflow.cli.connected import connected, json_option
from taskflow.cli.groups import Group
from taskflow.cli.output import Column, column, echo_fields, echo_items, echo_json, heading, is_terminal
from taskflow.cli.plain import ago
from taskflow.cli.values import Id

EVERY = "all"
COLUMNS = (
    column("id", right=True),
    column("state", is_state=True),
    Column("host", lambda worker: worker["hostname"]),
    column("pid", right=True, spare=True),
    Column("queues", lambda worker: worker["queues"] or EVERY),
    Column("types", lambda worker: len(worker["types"]), right=True, spare=True),
    Column("busy", lambda worker: f"{worker['active_tasks']}/{worker['concurrency']}", right=True),
    column("started_at", shown=ago),
    column("heartbeat", "last_heartbeat", shown=ago),
    column("version", spare=True),
)
RUNNING = (column("id", right=True), column("type"), column("since", shown=ago))
ids_argument = click.argument("worker_ids", type=Id(), nargs=-1, required=True, metavar="ID...")


@click.group("workers", cls=Group)
def command() -> None:
    """List workers, pause, resume and drain them."""


@command.command("list")
@json_option
@connected("workers")
def list_(api: Api, as_json: bool) -> None:
    """List the workers, the one started last at the end."""
    found = [worker for page in api.pages("/workers") for worker in page["workers"]]
    if as_json:
        echo_json({"workers": found, "count": len(found), "next_cursor": None})
        return
    echo_items(COLUMNS, found, empty="No worker runs: `taskflow worker` starts one.")


@command.command("show")
@click.argument("worker_id", type=Id(), metavar="ID")
@json_option
@connected("workers")
def show(api: Api, worker_id: str, as_json: bool) -> None:
    """Show a worker, what it can run, and what it runs."""
    worker = api.get(f"/workers/{worker_id}")
    if as_json:
        echo_json(worker)
        return
    echo_fields([(name.replace("_", " "), _shown(worker, name)) for name in worker if name != "running"])
    if worker["running"]:
        heading("running") if is_terminal() else click.echo()
        echo_items(RUNNING, worker["running"])


@command.command("pause")
@ids_argument
@json_option
@connected("workers")
def pause(api: Api, worker_ids: tuple[str, ...], as_json: bool) -> None:
    """Have workers claim nothing; what runs goes on."""
    _change(api, worker_ids, "pause", as_json=as_json)


@command.command("resume")
@ids_argument
@json_option
@connected("workers")
def resume(api: Api, worker_ids: tuple[str, ...], as_json: bool) -> None:
    """Have paused workers claim again."""
    _change(api, worker_ids, "resume", as_json=as_json)


@command.command("drain")
@ids_argument
@json_option
@connected("workers")
def drain(api: Api, worker_ids: tuple[str, ...], as_json: bool) -> None:
    """Have workers finish what runs, and end, as SIGTERM does."""
    _change(api, worker_ids, "drain", as_json=as_json)


def _change(api: Api, worker_ids: tuple[str, ...], verb: str, *, as_json: bool) -> None:
    answers = []
    for worker_id in dict.fromkeys(worker_ids):
        answer = api.post(f"/workers/{worker_id}/{verb}")
        answers.append(answer)
        if not as_json:
            click.echo(f"{answer['worker_id']}\t{answer['message']}")
    if as_json:
        echo_json(answers[0] if len(worker_ids) == 1 else answers)


def _shown(worker: dict[str, Any], name: str) -> Any:
    value = worker[name]
    if name == "queues":
        return value or EVERY
    return ago(value) if name in ("started_at", "last_heartbeat") and is_terminal() else value
