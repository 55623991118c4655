"""PostgreSQL for the tests: one server for the session, one database from a migrated template for every test.

- `dsn`: a fresh, migrated database of this test alone, as a connection string
- `shared_dsn`: one for all tests of a file that take it
- `connection`: an autocommit psycopg connection to it
- `empty_dsn`: a fresh database without the schema
- `cluster`: the server under them, shared and without fsync: do not stop it
- `free_port`: a TCP port that nobody uses
- `cluster_factory`: makes servers of the test's own, with fsync, to be stopped and killed

The server is PostgreSQL 18 of the `embedded` extra, or what `--pg-bin DIR` or TASKFLOW_TEST_PG_BIN names.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from pytest_postgresql import factories
from pytest_postgresql.executors import NoopExecutor

from taskflow.cluster import SUPERUSER, Cluster
from taskflow.settings.aliases import ALIASES, BROKERS

TEST_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_prepared_transactions": "10",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "log_min_messages": "log",
}
PRIVATE_SETTINGS = {"max_connections": "200", "max_prepared_transactions": "10"}
# A month of days is most of a database's files, and every test has a database of its own: few need more than these.
LATER_DAYS = """
    SELECT relname FROM pg_class WHERE relnamespace = 'taskflow'::regnamespace AND relkind = 'r'
    AND to_date(substring(relname FROM '_([0-9]{8})$'), 'YYYYMMDD') > (now() AT TIME ZONE 'UTC')::date + 2
"""
# Making and dropping the tables of a month leaves half of its catalogs' pages to nothing.
LARGE_CATALOGS = """
    SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r' AND NOT relisshared
    AND pg_total_relation_size(oid) > 100000
"""
ROOT = Path(__file__).parents[1]
PREFIX = "taskflow-test-"
MEMORY = Path("/dev/shm")
ENOUGH_MEMORY = 2 * 1024**3  # bytes free; containers often have no more than 64 MB there
_numbers = itertools.count(1)

ClusterFactory = Callable[..., Cluster]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--pg-bin",
        default=os.environ.get("TASKFLOW_TEST_PG_BIN"),
        help="the directory with the PostgreSQL to test on (default: that of the embedded extra)",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix the files, always in the same way: what waits runs beside what computes. Whole systems first: one after the
    other in one process, and not beside each other in all of them at the end."""
    places = {path: zlib.crc32(path.relative_to(ROOT).as_posix().encode()) for path in {item.path for item in items}}
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, places[item.path]))


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _only_settings_of_the_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No variable of the developer's shell reaches a test or a process that it starts, and no `taskflow dev` that runs
    in the checkout: they are where there is none."""
    others = {alias.variable for alias in ALIASES} | set(BROKERS)
    with pytest.MonkeyPatch.context() as patch:
        for name in tuple(os.environ):
            if name in others or name.startswith(("TASKFLOW_", "TASKQUEUE_", "PG")):
                patch.delenv(name)
        patch.chdir(tmp_path_factory.mktemp("nowhere"))
        yield


@pytest.fixture(scope="session")
def pg_bin(pytestconfig: pytest.Config) -> str | None:
    """The directory of the PostgreSQL to test on; None is that of the embedded extra."""
    chosen: str | None = pytestconfig.getoption("--pg-bin")
    return chosen


@pytest.fixture(scope="session")
def cluster(pg_bin: str | None) -> Iterator[Cluster]:
    """The server of this session (one in each xdist worker): fast, and shared by all tests."""
    # A database is 800 files: made in 25 ms in memory, in 400 ms on a common disk.
    parent = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_MEMORY else None
    with _temporary_directory(parent) as directory, Cluster(directory, pg_bin, settings=TEST_SETTINGS) as server:
        yield server


@pytest.fixture(scope="session")
def initialized(pg_bin: str | None) -> Iterator[Path]:
    """What initdb makes, once: a server's directory to copy."""
    with _temporary_directory() as directory:
        with Cluster(directory, pg_bin):
            pass
        yield directory


@pytest.fixture
def cluster_factory(pg_bin: str | None, initialized: Path) -> Iterator[ClusterFactory]:
    """Make a running server of the test's own: `cluster_factory(port=None, settings=None)`, with durable commits."""
    with contextlib.ExitStack() as stack:

        def make(port: int | None = None, settings: dict[str, str] | None = None) -> Cluster:
            directory = stack.enter_context(_temporary_directory())
            subprocess.run(["cp", "-a", initialized / "data", directory / "data"], check=True)
            return stack.enter_context(Cluster(directory, pg_bin, port, {**PRIVATE_SETTINGS, **(settings or {})}))

        yield make


@pytest.fixture(scope="session")
def server_address(cluster: Cluster) -> SimpleNamespace:
    """The session's server as pytest-postgresql wants to be told of it."""
    return SimpleNamespace(
        host=str(cluster.socket_dir),
        port=cluster.socket_port,
        user=SUPERUSER,
        password=None,
        options="",
        maintenance_dbname="postgres",
        template_dbname=None,
    )


def _migrate(*, host: str, port: int, user: str, dbname: str, **_: object) -> None:
    from taskflow.store.migrate import migrate

    dsn = f"postgresql://{user}@/{dbname}?host={host}&port={port}"
    migrate(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for (day,) in connection.execute(LATER_DAYS).fetchall():
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("taskflow", day)))
        for (catalog,) in connection.execute(LARGE_CATALOGS).fetchall():
            connection.execute(sql.SQL("VACUUM FULL {}").format(sql.Identifier("pg_catalog", catalog)))


migrated_server = factories.postgresql_noproc(depends_on="server_address", dbname="migrated", load=[_migrate])


@pytest.fixture(scope="session")
def template(cluster: Cluster, migrated_server: NoopExecutor) -> Callable[[], str]:
    """The name of the migrated database to copy. It has the days of today: midnight may pass while the tests run."""
    name = migrated_server.template_dbname
    made = [datetime.now(UTC).date()]

    def current() -> str:
        if (today := datetime.now(UTC).date()) != made[0]:
            made[0] = today
            with psycopg.connect(cluster.dsn(name), autocommit=True) as connection:
                connection.execute("DROP SCHEMA taskflow CASCADE")
            _migrate(host=str(cluster.socket_dir), port=cluster.socket_port, user=SUPERUSER, dbname=name)
        return name

    return current


class Databases:
    """Makes and drops the databases of tests."""

    def __init__(self, administrator: psycopg.Connection[tuple[object, ...]]) -> None:
        self._administrator = administrator
        self._left: list[str] = []

    @contextlib.contextmanager
    def database(self, template: str) -> Iterator[str]:
        """A database with a name that was never used, so that a process left over from another test cannot find it."""
        name = f"test_{next(_numbers)}"
        self._drop_what_is_left()
        # Half the time of the other strategy, where nothing waits for a disk.
        self._run("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, template)
        yield name
        # To drop it at once would take a tenth of a second: DROP DATABASE sleeps that long if a connection is just
        # being closed.
        self._administrator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        self._left.append(name)

    def _drop_what_is_left(self) -> None:
        while self._left:
            self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._left.pop())

    def _run(self, statement: LiteralString, *names: str) -> None:
        self._administrator.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture(scope="session")
def databases(cluster: Cluster) -> Iterator[Databases]:
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as administrator:
        yield Databases(administrator)


@pytest.fixture
def dsn(cluster: Cluster, databases: Databases, template: Callable[[], str]) -> Iterator[str]:
    """A database with the schema, which no other test sees."""
    with databases.database(template()) as name:
        yield cluster.dsn(name)


@pytest.fixture(scope="module")
def shared_dsn(cluster: Cluster, databases: Databases, template: Callable[[], str]) -> Iterator[str]:
    """A database with the schema for tests of a file that mind only tasks of their own."""
    with databases.database(template()) as name:
        yield cluster.dsn(name)


@pytest.fixture
def empty_dsn(cluster: Cluster, databases: Databases) -> Iterator[str]:
    """A database without the schema, which no other test sees."""
    with databases.database("template1") as name:
        yield cluster.dsn(name)


@pytest.fixture
def connection(dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """An autocommit connection to the test's database, as superuser."""
    with psycopg.connect(dsn, autocommit=True) as opened:
        yield opened


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@contextlib.contextmanager
def _temporary_directory(parent: Path | None = None) -> Iterator[Path]:
    """A directory with a path short enough for sockets, and open to the user that a server started by root runs as."""
    parent = parent or Path(tempfile.gettempdir())
    _remove_what_dead_sessions_left(parent)
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _remove_what_dead_sessions_left(parent: Path) -> None:
    for directory in parent.glob(f"{PREFIX}*-*"):
        session = directory.name.removeprefix(PREFIX).split("-")[0]
        if session.isdigit() and not _is_alive(int(session)):
            shutil.rmtree(directory, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
