"""The database that commands talk to, by the settings."""

from __future__ import annotations

from typing import Any

import psycopg

from taskflow.errors import SettingsError
from taskflow.settings import Settings, load
from taskflow.store.connection import connect

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


def open_database(name: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection to the database of the settings, which PostgreSQL shows as "taskflow <name>"."""
    return connect(database_url(), name=name)
