"""`taskflow grants`: the statements that create the roles and give them their rights."""

from __future__ import annotations

import click

from taskflow.store import grants


@click.command("grants")
def command() -> None:
    """Print the SQL that creates the database roles and grants, for an administrator to run.

    `taskflow migrate` does the same by itself where its login may create roles.
    """
    click.echo(grants.as_sql(), nl=False)
