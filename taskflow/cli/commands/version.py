"""`taskflow version`: what is running here, as one line to paste into a bug report."""

from __future__ import annotations

import platform
from importlib.metadata import version

import click


@click.command("version")
def command() -> None:
    """Print the versions of taskflow, Python and the PostgreSQL driver."""
    click.echo(f"taskflow {version('taskflow-pg')} (Python {platform.python_version()}, psycopg {version('psycopg')})")
