"""`taskflow queues`: the queues, their settings and limits, and what is done to all that lies in one."""

from __future__ import annotations

import click

from taskflow.cli.commands.queues.actions import delete, drain, pause, purge, resume
from taskflow.cli.commands.queues.changing import set_, update
from taskflow.cli.commands.queues.showing import list_, show
from taskflow.cli.groups import Group


@click.group("queues", cls=Group)
def command() -> None:
    """List and show queues, set their limits and retries, pause, resume, drain, purge and delete them."""


for found in (list_, show, set_, update, pause, resume, drain, purge, delete):
    command.add_command(found)
