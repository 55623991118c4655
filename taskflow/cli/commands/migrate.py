"""`taskflow migrate`: bring the database to this version's schema, print the SQL for it, or say what is pending."""

from __future__ import annotations

import click

from taskflow.cli.config_option import config_option
from taskflow.cli.terminal import database_url
from taskflow.store import migrate

NAMED = 20
"""As many are named, one by one; more are counted."""


@click.group("migrate", invoke_without_command=True)
@config_option
@click.option("--sql", is_flag=True, help="Print all SQL that would run for an empty database, and run nothing.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=migrate.PATIENCE_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long each step tries to get its locks beside open transactions.",
)
@click.pass_context
def command(context: click.Context, sql: bool, patience: float) -> None:
    """Create or update the schema. Safe to repeat, beside running workers and producers, and twice at once."""
    if context.invoked_subcommand:
        return
    if sql:
        click.echo(migrate.as_sql(), nl=False)
        return
    report = migrate.migrate(database_url(), patience_seconds=patience)
    for what, names in report.done.by_kind():
        click.echo(f"{what}: {', '.join(names) if len(names) <= NAMED else f'{len(names)} files'}")
    for note in report.notes:
        click.echo(note)
    click.echo("The schema is up to date." if report.done else "Nothing to do: the schema is up to date.")


@command.command()
@click.pass_context
def status(context: click.Context) -> None:
    """Say what `taskflow migrate` would do. Exit code 0: nothing; 1: something is pending."""
    pending = migrate.pending(database_url())
    for what, names in pending.by_kind():
        click.echo(f"pending {what}: {', '.join(names)}")
    if pending:
        context.exit(1)
    click.echo("Nothing is pending.")
