"""The tables, which alembic owns: what the database lacks, and how it gets to the newest revision.

Alembic and SQLAlchemy are imported where they are used: workers import this package, never migrate, and are smaller so.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg

from taskflow.store import resources

if TYPE_CHECKING:
    from alembic.config import Config

# Alembic keeps the environment of a command in its module: two threads would find each other's.
ONE_AT_A_TIME = threading.Lock()


def pending(current: str | None) -> list[str]:
    """The revisions after `current` (None: an empty database), oldest first."""
    known = resources.revisions()
    return [revision for revision in known if current is None or revision > current]


def upgrade(connect: Callable[[], psycopg.Connection], revision: str, *, lock_timeout: str) -> None:
    """Bring the tables up to `revision`, in one transaction of a connection that `connect` opens (not in autocommit).

    Raises psycopg's errors, not SQLAlchemy's.
    """
    from alembic import command
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.exc import DBAPIError

    config = _config()
    config.attributes["lock_timeout"] = lock_timeout
    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    try:
        with engine.connect() as connection, ONE_AT_A_TIME:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise error.orig from error
        raise


def as_sql() -> str:
    """All migrations as a script for an empty database, with its BEGIN and COMMIT."""
    from alembic import command

    output = io.StringIO()
    with ONE_AT_A_TIME:
        command.upgrade(_config(output), "head", sql=True)
    return output.getvalue()


def _config(output: io.StringIO | None = None) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=output)
    # Alembic reads it through configparser, to which a % is the beginning of a variable.
    config.set_main_option("script_location", str(resources.migrations_path()).replace("%", "%%"))
    return config
