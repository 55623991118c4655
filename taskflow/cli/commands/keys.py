"""`taskflow keys`: make, list and revoke API keys."""

from __future__ import annotations

import click

from taskflow.cli.api import Api
from taskflow.cli.connected import connected, json_option
from taskflow.cli.groups import Choice, Group
from taskflow.cli.output import Column, column, echo_items, echo_json, say
from taskflow.cli.plain import ago, at
from taskflow.cli.values import Duration, Id, QueueName

SCOPES = ("read", "enqueue", "operate", "admin")
COLUMNS = (
    column("id", right=True),
    column("name"),
    column("prefix"),
    column("scopes"),
    Column("queues", lambda key: key["queues"] or "all"),
    column("state", is_state=True),
    column("last_used_at", shown=ago),
    column("expires_at", shown=at),
)


@click.group("keys", cls=Group)
def command() -> None:
    """Make, list and revoke the keys of the REST API.

    Servers know a new key, and one that is revoked no more, within a second.
    """


@command.command("create")
@click.argument("name")
@click.option("--scope", "scopes", type=Choice(SCOPES), multiple=True, required=True, help="Repeatable.")
@click.option("--queue", "queues", type=QueueName(), multiple=True,
              help="Limit the key to this queue; repeatable. [default: every queue]")  # fmt: skip
@click.option("--expires", type=Duration(above_zero=True), metavar="DURATION",
              help="As 12h, 90d, 52w. [default: never]")  # fmt: skip
@json_option
@connected("keys")
def create(
    api: Api, name: str, scopes: tuple[str, ...], queues: tuple[str, ...], expires: float | None, as_json: bool
) -> None:
    """Make a key and print it: this once, since only its hash is stored.

    Scopes: read sees, enqueue creates tasks, operate changes tasks, queues, schedules and workers, admin does all.
    """
    body = {"name": name, "scopes": sorted(set(scopes)), "queues": sorted(set(queues)) or None, "expires_in": expires}
    made = api.post("/keys", {field: value for field, value in body.items() if value is not None})
    if as_json:
        echo_json(made)
        return
    say(f"Key {made['id']}, {made['name']!r}. It is shown this once; keep it as a password:")
    click.echo(made["key"])


@command.command("list")
@click.option("--all", "every", is_flag=True, help="Revoked keys too.")
@json_option
@connected("keys")
def list_(api: Api, every: bool, as_json: bool) -> None:
    """List the keys, without the keys themselves."""
    keys = [key for page in api.pages("/keys") for key in page["keys"] if every or key["state"] != "revoked"]
    keys.reverse()
    if as_json:
        echo_json({"keys": keys, "count": len(keys), "next_cursor": None})
    else:
        echo_items(COLUMNS, keys, empty="There is no key: `taskflow keys create NAME --scope …` makes one.")


@command.command("revoke")
@click.argument("key_id", type=Id(), metavar="ID")
@json_option
@connected("keys")
def revoke(api: Api, key_id: str, as_json: bool) -> None:
    """Revoke a key for good, by its id."""
    answer = api.delete(f"/keys/{key_id}")
    if as_json:
        echo_json(answer)
    else:
        say(f"Key {answer['id']} is revoked.")
