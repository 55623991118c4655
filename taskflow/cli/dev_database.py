"""The database of `taskflow dev`: an embedded PostgreSQL in its directory, or the one that DATABASE_URL names."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from taskflow.cli.dev_port import PortInUse, free_port
from taskflow.cluster import Cluster, ClusterError
from taskflow.errors import TaskflowError
from taskflow.telemetry import hide_passwords

NAME = "taskflow"
LOOPBACK = "127.0.0.1"
PORTS = range(54320, 54340)
SETTINGS = {"max_connections": "200", "max_prepared_transactions": "10"}


@dataclass(frozen=True, slots=True)
class Database:
    """`url` is for our processes, `shown` for people to copy."""

    url: str
    shown: str


@contextlib.contextmanager
def named(url: str) -> Iterator[Database]:
    """The database that somebody named: it is theirs, so nothing is started or stopped."""
    yield Database(url, hide_passwords(url))


@contextlib.contextmanager
def embedded(directory: Path, *, fresh: bool) -> Iterator[Database]:
    """A PostgreSQL in `directory`/postgres for as long as the block runs; `fresh` drops what it held before.

    It listens on a Unix socket, and for programs that know none on a port of the loopback with a password.
    """
    home = directory / "postgres"
    try:
        if fresh and home.exists():
            shutil.rmtree(home)
        home.mkdir(exist_ok=True)
        password = _password(directory / "postgres-password", new=not (home / "data").exists())
    except OSError as error:
        raise TaskflowError(f"Cannot write to {error.filename or home}: {error.strerror}.") from error
    with _started(home, password) as cluster:
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [NAME]).fetchall():
                connection.execute(f"CREATE DATABASE {NAME}")
        yield Database(cluster.dsn(NAME), cluster.tcp_dsn(NAME) or cluster.dsn(NAME))


@contextlib.contextmanager
def _started(home: Path, password: str) -> Iterator[Cluster]:
    """The server on the first free port; another `taskflow dev` that starts just now may be quicker to take it."""
    for port in (*PORTS, 0):
        with contextlib.suppress(PortInUse):
            cluster = Cluster(home, port=free_port(LOOPBACK, port), settings=SETTINGS, password=password)
            try:
                cluster.start()
            except ClusterError:
                free_port(LOOPBACK, cluster.port)  # if it is no longer free, that was the reason
                raise
            break
    try:
        yield cluster
    finally:
        cluster.stop()


def _password(path: Path, *, new: bool) -> str:
    """The superuser's password for the port; initdb sets it, so a new one only goes with new data."""
    if new or not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w") as file:
            file.write(secrets.token_hex(12))
    return path.read_text()
