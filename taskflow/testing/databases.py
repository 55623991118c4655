"""Databases for tests: each has the schema and is a copy of a template, which is made once a process.

The server is that of TASKFLOW_TEST_DATABASE_URL, else of DATABASE_URL: the database named there is only connected to,
and others are made beside it. Without either, or with the word `embedded`, it is one of the `embedded` extra, started
for this process.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import conninfo, sql

from taskflow.cluster import Cluster
from taskflow.errors import NotAllowed, TaskflowError
from taskflow.settings import load_beside_nothing
from taskflow.store.connection import connect, errors_translated
from taskflow.store.migrate import migrate

VARIABLE = "TASKFLOW_TEST_DATABASE_URL"
EMBEDDED = "embedded"
PREFIX = "taskflow_test_"
DIRECTORY_PREFIX = "taskflow-testing-"
LOCK = "lock"
APPLICATION = "testing"
MEMORY = Path("/dev/shm")  # noqa: S108  (a directory of our own in it, with an unguessable name)
ENOUGH_MEMORY = 1024**3  # bytes free; a test's database takes about 10 MB, containers often have 64 MB in all
EMBEDDED_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_wal_size": "512MB",
}
# A month of days is most of a database's files, and a copy of one takes its time by their number.
LATER_DAYS = """
    SELECT relname FROM pg_class WHERE relnamespace = 'taskflow'::regnamespace AND relkind = 'r'
    AND to_date(substring(relname FROM '_([0-9]{8})$'), 'YYYYMMDD') > (now() AT TIME ZONE 'UTC')::date + 2
"""

Prepare = Callable[[str], object] | None


class Databases:
    """Makes and drops databases on one server. `prepare`, wherever it is taken, is called with the connection string
    of the template and may make tables of the program's own in it; each such function has a template of its own.

    Their names begin with `taskflow_test_`. What a process that was killed has left is dropped by the next one.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._session = secrets.token_hex(4)
        self._numbers = count(1)
        self._templates: dict[Prepare, str] = {}
        self._left: list[str] = []
        self._administrator = self._connect()
        # Copying files takes half the time of the log, where nothing waits for a disk.
        waits = self._administrator.execute("SELECT current_setting('fsync')::boolean").fetchone() != (False,)
        self._strategy = sql.SQL("wal_log") if waits else sql.SQL("file_copy")
        self._drop_what_dead_sessions_left()

    @contextlib.contextmanager
    def database(self, prepare: Prepare = None) -> Iterator[str]:
        """A database with the schema until the end of the block, as a connection string."""
        self._drop_what_is_left()
        name = self._create(self._template(prepare))
        try:
            yield with_database(self._dsn, name)
        finally:
            # To drop it at once would take a tenth of a second: DROP DATABASE sleeps that long where a connection is
            # just being closed.
            self._end_connections(name)
            self._left.append(name)

    def close(self) -> None:
        """Drop all that was made."""
        self._left += self._templates.values()
        self._templates.clear()
        self._drop_what_is_left()
        self._administrator.close()

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """To the database that was named, or to `postgres`: that of a developer may not have been made yet."""
        name = f"{APPLICATION} {self._session}"
        try:
            return connect(self._dsn, name=name)
        except TaskflowError:
            try:
                return connect(with_database(self._dsn, "postgres"), name=name)
            except TaskflowError:
                pass
            raise

    def _template(self, prepare: Prepare) -> str:
        """The name of the template for `prepare`, made when it is first asked for: from the one without it."""
        if prepare in self._templates:
            return self._templates[prepare]
        name = self._create("template0" if prepare is None else self._template(None))
        dsn = with_database(self._dsn, name)
        try:
            (_make_schema if prepare is None else prepare)(dsn)
        except BaseException:
            self._left.append(name)
            raise
        finally:
            self._end_connections(name)  # a pool of the program's; a template that is in use cannot be copied
        self._templates[prepare] = name
        return name

    def _create(self, template: str) -> str:
        name = f"{PREFIX}{self._session}_{next(self._numbers)}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} ENCODING 'UTF8' STRATEGY {}").format(
            sql.Identifier(name), sql.Identifier(template), self._strategy
        )
        try:
            with errors_translated():
                self._administrator.execute(statement)
        except NotAllowed as error:
            raise NotAllowed(
                f"Each test has a database of its own, and this login may not make any: {error.__cause__}. Name another"
                f" by {VARIABLE} (it needs CREATEDB), or set that to {EMBEDDED!r} for a PostgreSQL of its own."
            ) from error
        return name

    def _drop_what_is_left(self) -> None:
        while self._left:
            with contextlib.suppress(psycopg.Error):  # in use by another login: the next session drops it
                self._drop(self._left.pop())

    def _drop(self, name: str) -> None:
        self._administrator.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _end_connections(self, name: str) -> None:
        with contextlib.suppress(psycopg.Error):  # some are another login's, or the server is gone
            self._administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )

    def _drop_what_dead_sessions_left(self) -> None:
        """A session lives while the connection does by which it makes databases, and that has its name."""
        rows = self._administrator.execute(
            "SELECT d.datname FROM pg_database d WHERE d.datname ~ %s AND NOT EXISTS (SELECT FROM pg_stat_activity a"
            " WHERE a.application_name = %s || split_part(d.datname, '_', 3))",
            [f"^{PREFIX}[0-9a-f]{{8}}_[0-9]+$", f"taskflow {APPLICATION} "],
        ).fetchall()
        for (name,) in rows:
            with contextlib.suppress(psycopg.Error):  # another login's, or another session is quicker
                self._drop(name)


def _make_schema(dsn: str) -> None:
    migrate(dsn)
    with connect(dsn, name=APPLICATION) as connection:
        for (day,) in connection.execute(LATER_DAYS).fetchall():
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("taskflow", day)))


class _Embedded(Databases):
    """The same on a server of our own, in memory where there is enough of it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            directory = stack.enter_context(_temporary_directory())
            cluster = stack.enter_context(Cluster(directory, settings=EMBEDDED_SETTINGS))
            super().__init__(cluster.dsn())
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._administrator.close()
        self._stack.close()


@lru_cache(maxsize=1)
def shared() -> Databases:
    """Those of this process, made when first asked for, and gone when it ends."""
    given = os.environ.get(VARIABLE) or load_beside_nothing().database_url or EMBEDDED
    made = _Embedded() if given == EMBEDDED else Databases(given)
    process = os.getpid()
    atexit.register(lambda: made.close() if os.getpid() == process and shared.cache_info().currsize else None)
    return made


def close_shared() -> None:
    """End what `shared` has begun; asked again it begins anew."""
    if shared.cache_info().currsize:
        shared().close()
        shared.cache_clear()


@contextlib.contextmanager
def database(prepare: Prepare = None) -> Iterator[str]:
    """A database with taskflow's schema until the end of the block, as a connection string.

    It is a copy of a template on the server that TASKFLOW_TEST_DATABASE_URL or DATABASE_URL names, without them on one
    of the `embedded` extra. `prepare` is called once with the connection string of the template, and may make tables of
    the program's own in it.

    Raises a `TaskflowError` where there is neither a server nor the extra, `NotAllowed` where the login may not make
    databases, `DatabaseUnavailable`.
    """
    with shared().database(prepare) as dsn:
        yield dsn


def with_database(dsn: str, name: str) -> str:
    """The connection string for another database of the same server; a URL stays a URL."""
    if "://" in dsn:
        return urlsplit(dsn)._replace(path=f"/{name}").geturl()
    return conninfo.make_conninfo(dsn, dbname=name)


@contextlib.contextmanager
def _temporary_directory() -> Iterator[Path]:
    """With a path short enough for sockets, and open to the user that a server started by root runs as."""
    in_memory = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ENOUGH_MEMORY
    parent = MEMORY if in_memory else Path(tempfile.gettempdir())
    _remove_what_dead_processes_left(parent)
    directory = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX, dir=parent))
    directory.chmod(0o711)
    with (directory / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _remove_what_dead_processes_left(parent: Path) -> None:
    """The kernel lets go of a lock with its process; process ids say nothing about processes of another container."""
    for path in parent.glob(f"{DIRECTORY_PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), path.open() as lock:  # BlockingIOError: it lives
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)
