"""`taskflow tasks`: find tasks, see what became of them and why, change them, alone and by the thousand."""

from __future__ import annotations

import click

from taskflow.cli.commands.tasks.changing import cancel, delete, retry
from taskflow.cli.commands.tasks.editing import edit
from taskflow.cli.commands.tasks.following import logs, wait
from taskflow.cli.commands.tasks.listing import export, list_
from taskflow.cli.commands.tasks.showing import show, why
from taskflow.cli.groups import Group


@click.group("tasks", cls=Group)
def command() -> None:
    """Find, show, follow, retry, cancel, delete, edit and export tasks.

    FILTER is the filter language: state:failed type:mail metadata.user:7 'created:<1h'.
    """


for found in (list_, show, logs, why, wait, retry, cancel, delete, edit, export):
    command.add_command(found)
