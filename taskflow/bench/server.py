"""The PostgreSQL server that is measured: a private one that commits durably, or one that is running already."""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import conninfo, sql

from taskflow.bench.process_stats import parent
from taskflow.bench.report import Figure, Report
from taskflow.cluster import Cluster
from taskflow.store.connection import connect
from taskflow.store.migrate import migrate

# What the figures of docs/benchmarks.md are measured with: every commit is on disk before it is acknowledged.
DURABLE = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "min_wal_size": "2GB",
    "max_connections": "300",
}
TOLD = ("fsync", "synchronous_commit", "shared_buffers", "max_wal_size")


class Server:
    """Makes databases of its own on a server and drops them again; touches no other database there."""

    def __init__(self, dsn: str, log: Path | None = None) -> None:
        self.dsn = dsn
        self.log = log  # the server's log file, where it is known
        self._prefix = f"taskflow_bench_{os.getpid()}_{uuid4().hex[:6]}"
        self._made = 0
        self._template: str | None = None

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self._template is not None:
            self._drop(self._template)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """A fresh, migrated database as DSN, dropped at the end with whatever is still connected to it."""
        template = self._template or self._make_template()
        self._made += 1
        name = f"{self._prefix}_{self._made}"
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield self._dsn_of(name)
        finally:
            self._drop(name)

    def administer(self) -> psycopg.Connection[Any]:
        """An autocommit connection to the database that the server was named by, for looking at it from outside."""
        return connect(self.dsn, name="bench observer")

    def report(self, benchmark: str, figures: list[Figure], **parameters: Any) -> Report:
        """The report of a benchmark that ran on this server."""
        return Report(benchmark, figures, parameters, self.environment())

    def environment(self) -> dict[str, Any]:
        """What a reader of the figures wants to know of machine, server and settings."""
        with self.administer() as connection:
            told = {name: _scalar(connection, "SELECT current_setting(%s)", name) for name in TOLD}
            version = str(_scalar(connection, "SHOW server_version")).split()[0]
        return {"postgresql": version, "python": platform.python_version(), "cores": os.cpu_count(), **told}

    def _make_template(self) -> str:
        name = f"{self._prefix}_template"
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        self._template = name
        migrate(self._dsn_of(name))
        return name

    def _drop(self, name: str) -> None:
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with self.administer() as connection:
            connection.execute(statement)

    def _dsn_of(self, database: str) -> str:
        return conninfo.make_conninfo(self.dsn, dbname=database)


@contextlib.contextmanager
def open_server(database_url: str | None = None) -> Iterator[Server]:
    """The server named by `database_url`, or without one a private PostgreSQL 18 that ends with this block."""
    if database_url is not None:
        with Server(database_url) as server:
            yield server
        return
    with (
        tempfile.TemporaryDirectory(prefix="taskflow-bench-") as directory,
        Cluster(directory, settings=DURABLE) as cluster,
        Server(cluster.dsn(), cluster.log) as server,
    ):
        yield server


@contextlib.contextmanager
def open_measured_server(database_url: str | None = None) -> Iterator[Server]:
    """`open_server` for a benchmark that compares: a private one is warmed up first."""
    with open_server(database_url) as server:
        if database_url is None:
            _warm_up(server.dsn)
        yield server


def postmaster(connection: psycopg.Connection[Any]) -> int | None:
    """The process id of the server's first process; None where it runs on another machine."""
    return parent(connection.info.backend_pid)


def _warm_up(dsn: str) -> None:
    """Leave the server as one that has been up for a while: its memory is in use, and there are old files for its log.

    A file that is new is filled with 16 MB of zeros before its first use, which takes as long as a COPY of 10,000
    tasks: that doubled single runs, now of the one side and now of the other.
    """
    with connect(dsn, name="bench") as connection:
        connection.execute("CREATE TABLE memory (page text STORAGE PLAIN)")
        connection.execute("""INSERT INTO memory SELECT repeat('x', 7500)
            FROM pg_settings, generate_series(1, setting::integer) WHERE name = 'shared_buffers'""")
        connection.execute("DROP TABLE memory")
        for _ in range(2):  # files are kept by what the last checkpoints needed
            connection.execute("CHECKPOINT")


def _scalar(connection: psycopg.Connection[Any], statement: str, *arguments: Any) -> Any:
    row = connection.execute(statement, arguments).fetchone()
    return row[0] if row else None
