"""The database that commands talk to, by the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from taskflow.errors import SchemaMismatch, SettingsError, TaskflowError
from taskflow.settings import Settings, load, resolve
from taskflow.store.compatibility import schema_problem
from taskflow.store.connection import connect, connection_parameters, errors_translated

NO_DATABASE = "DATABASE_URL: is not set; it names the database, as in postgresql://user@host/name."


def check_database(settings: Settings) -> None:
    """Raise SettingsError if the settings name no database, or by a connection string that cannot be read.

    That is not left to who connects: a worker or a server would try it for ever.
    """
    if not settings.database_url:
        raise SettingsError([_no_database()])
    connection_parameters(settings.database_url, "")


def _no_database() -> str:
    """The problem that the settings name no database, and why none was found beside a `taskflow dev`."""
    url = resolve().found.get("url")
    if url is None or not url.value:
        return f"{NO_DATABASE} (And no `taskflow dev` runs in this directory.)"
    if url.source == "dev":
        return f"{NO_DATABASE} (The `taskflow dev` of this directory was given one of yours: name the same here.)"
    return (
        f"{NO_DATABASE} ({url.where} names a server, so no `taskflow dev` of this directory is asked for its database:"
        " unset it to use that.)"
    )


def settings_with_database(**flags: Any) -> Settings:
    """The settings with the flags of a command. Raises SettingsError for what is wrong, also with the connection
    string, and if they name no database."""
    settings = load(**flags)
    check_database(settings)
    return settings


def database_url() -> str:
    """The database of the settings. Raises SettingsError if there is none."""
    return settings_with_database().database_url


@contextmanager
def open_database(name: str) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection to the database of the settings, which PostgreSQL shows as "taskflow <name>". Errors of psycopg
    leave the block as those of taskflow, which have codes on the command line."""
    url = database_url()
    with schema_explained(url), errors_translated(), connect(url, name=name) as connection:
        yield connection


@contextmanager
def schema_explained(url: str) -> Iterator[None]:
    """Where something is missing in the schema it is said why, as `taskflow doctor` says it: there is none yet, it is
    older, or this login may not use it; and not only which table or function."""
    try:
        yield
    except SchemaMismatch as error:
        problem = _schema_problem(url)
        if problem is None:
            raise
        raise SchemaMismatch(problem) from error


def _schema_problem(url: str) -> str | None:
    with suppress(TaskflowError), errors_translated(), connect(url, name="schema") as connection:
        return schema_problem(connection)
    return None
