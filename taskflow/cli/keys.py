"""`taskflow keys`: make, list and revoke API keys, for whoever has the database."""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from taskflow.cli.terminal import echo_table, open_database
from taskflow.errors import TaskflowError
from taskflow.store import api_keys

DURATION = re.compile(r"([1-9][0-9]{0,5})([smhdw])", re.ASCII)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
QUEUE = re.compile(r"[A-Za-z0-9._:-]{1,100}", re.ASCII)
SHOWN = ("id", "name", "prefix", "scopes", "queues", "state", "last_used_at", "expires_at")


class Duration(click.ParamType[timedelta]):
    """A time such as 90d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        match = DURATION.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no duration such as 12h, 90d or 52w.", param, ctx)
        return timedelta(**{UNITS[match[2]]: int(match[1])})


@click.group("keys")
def command() -> None:
    """Make, list and revoke the keys of the REST API, in the database itself.

    Servers know a new key, and one that is revoked no more, within a second.
    """


@command.command("create")
@click.argument("name")
@click.option("--scope", "scopes", type=click.Choice(api_keys.SCOPES), multiple=True, required=True, help="Repeatable.")
@click.option(
    "--queue", "queues", multiple=True, help="Limit the key to this queue; repeatable. [default: every queue]"
)
@click.option("--expires", type=Duration(), metavar="DURATION", help="As 12h, 90d, 52w. [default: never]")
def create(name: str, scopes: tuple[str, ...], queues: tuple[str, ...], expires: timedelta | None) -> None:
    """Make a key and print it: this once, since only its hash is stored.

    Scopes: read sees, enqueue creates tasks, operate changes tasks, queues, schedules and workers, admin does all.
    """
    _check(name, scopes, queues)
    with open_database("keys") as connection:
        key, row = api_keys.create(
            connection,
            name=name,
            scopes=sorted(set(scopes)),
            queues=sorted(set(queues)) or None,
            expires_at=None if expires is None else datetime.now(UTC) + expires,
            actor=_actor(),
        )
    click.echo(f"Key {row['id']}, {name!r}. It is shown this once; keep it as a password:", err=True)
    click.echo(key)


@command.command("list")
@click.option("--all", "every", is_flag=True, help="Revoked keys too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(every: bool, as_json: bool) -> None:
    """List the keys, without the keys themselves."""
    with open_database("keys") as connection:
        rows = [row | {"state": _state(row)} for row in api_keys.listed(connection, revoked=every)]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, default=datetime.isoformat))
    else:
        names = [column.removesuffix("_at").replace("_", " ") for column in SHOWN]
        echo_table(names, [[str(row["id"]), *(row[column] for column in SHOWN[1:])] for row in rows])


@command.command("revoke")
@click.argument("key_id", type=click.IntRange(1, 2**63 - 1), metavar="ID")
def revoke(key_id: int) -> None:
    """Revoke a key for good, by its id."""
    with open_database("keys") as connection:
        row = api_keys.revoke(connection, key_id, actor=_actor())
    if row is None:
        raise TaskflowError(f"There is no API key {key_id}. `taskflow keys list` shows them.")
    click.echo(f"Key {key_id}, {row['name']!r}, is revoked.")


def _check(name: str, scopes: Sequence[str], queues: Sequence[str]) -> None:
    if not 1 <= len(name) <= 200:
        raise click.UsageError("NAME must have 1 to 200 characters.")
    if queues and "admin" in scopes:
        raise click.UsageError(
            "A key with the scope admin concerns every queue: leave --queue out, or take other scopes."
        )
    for queue in queues:
        if not QUEUE.fullmatch(queue):
            raise click.UsageError(f"{queue!r} is no name of a queue: 1 to 100 of letters, digits and . _ - :")


def _actor() -> str:
    """Who sits at the command line, for the audit log."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "somebody"
    return f"{user}@{socket.gethostname()} (command line)"


def _state(row: dict[str, Any]) -> str:
    if row["revoked_at"] is not None:
        return "revoked"
    return "expired" if row["expires_at"] is not None and row["expires_at"] <= datetime.now(UTC) else "active"
