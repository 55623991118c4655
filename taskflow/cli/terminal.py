"""What commands share: the database that they talk to, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
import psycopg

from taskflow.errors import SettingsError
from taskflow.settings import Settings, load
from taskflow.store.connection import connect

NO_DATABASE = "DATABASE_URL: is not set; it names the database, as in postgresql://user@host/name"


def settings_with_database(**flags: Any) -> Settings:
    """The settings with the flags of a command. Raises SettingsError for what is wrong, or if they name no database."""
    settings = load(**flags)
    if not settings.database_url:
        raise SettingsError([NO_DATABASE])
    return settings


def database_url() -> str:
    """The database of the settings. Raises SettingsError if there is none."""
    return settings_with_database().database_url


def open_database(name: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection to the database of the settings, which PostgreSQL shows as "taskflow <name>"."""
    return connect(database_url(), name=name)


def echo_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their names; numbers to the right."""
    table = [list(columns), *([shown(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    right = [any(isinstance(row[place], int | float) for row in rows) for place in range(len(columns))]
    for line in table:
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(line, widths, right, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def shown(value: Any) -> str:
    """A value as people read it."""
    match value:
        case None:
            return "-"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
        case list():
            return ",".join(value)
        case int():
            return f"{value:,}"
        case _:
            return str(value)
