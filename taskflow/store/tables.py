"""The tables, which alembic owns: what revision the database has, and how it gets to the newest."""

from __future__ import annotations

import io
from collections.abc import Callable

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import DBAPIError

from taskflow.store import resources


def _config(output: io.StringIO | None = None) -> Config:
    config = Config(output_buffer=output)
    # Alembic reads it through configparser, to which a % is the beginning of a variable.
    config.set_main_option("script_location", str(resources.migrations_path()).replace("%", "%%"))
    return config


def pending(current: str | None) -> list[str]:
    """The revisions after `current` (None: an empty database), oldest first."""
    scripts = ScriptDirectory.from_config(_config())
    steps = scripts.iterate_revisions("head", current or "base")
    return [step.revision for step in steps][::-1]


def upgrade(connect: Callable[[], psycopg.Connection], revision: str, *, lock_timeout: str) -> None:
    """Bring the tables up to `revision`, in one transaction of a connection that `connect` opens (not in autocommit).

    Raises psycopg's errors, not SQLAlchemy's.
    """
    config = _config()
    config.attributes["lock_timeout"] = lock_timeout
    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise error.orig from error
        raise


def as_sql() -> str:
    """All migrations as a script for an empty database, with its BEGIN and COMMIT."""
    output = io.StringIO()
    command.upgrade(_config(output), "head", sql=True)
    return output.getvalue()
