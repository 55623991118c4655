"""The database that commands talk to, by the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from taskflow.errors import SettingsError
from taskflow.settings import Settings, load
from taskflow.store.connection import connect, errors_translated

NO_DATABASE = (
    "DATABASE_URL: is not set; it names the database, as in postgresql://user@host/name."
    " (And no `taskflow dev` runs in this directory.)"
)


def settings_with_database(**flags: Any) -> Settings:
    """The settings with the flags of a command. Raises SettingsError for what is wrong, or if they name no database."""
    settings = load(**flags)
    if not settings.database_url:
        raise SettingsError([NO_DATABASE])
    return settings


def database_url() -> str:
    """The database of the settings. Raises SettingsError if there is none."""
    return settings_with_database().database_url


@contextmanager
def open_database(name: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection to the database of the settings, which PostgreSQL shows as "taskflow <name>". Errors of psycopg
    leave the block as those of taskflow, which have codes on the command line."""
    with errors_translated(), connect(database_url(), name=name) as connection:
        yield connection
