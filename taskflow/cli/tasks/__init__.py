"""`taskflow tasks`: find tasks, see what became of them and why, change them, alone and by the thousand."""

from __future__ import annotations

import click

from taskflow.cli.groups import Group
from taskflow.cli.tasks.changing import cancel, delete, retry
from taskflow.cli.tasks.editing import edit
from taskflow.cli.tasks.following import logs, wait
from taskflow.cli.tasks.listing import export, list_
from taskflow.cli.tasks.showing import show, why


@click.group("tasks", cls=Group)
def command() -> None:
    """Find, show, follow, retry, cancel, delete, edit and export tasks.

    FILTER is the filter language: state:failed type:mail metadata.user:7 'created:<1h'.
    """


for found in (list_, show, logs, why, wait, retry, cancel, delete, edit, export):
    command.add_command(found)
