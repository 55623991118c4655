"""The databases of tests: beside the one that was named or on a server of our own, quick, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from taskflow import testing
from taskflow.cluster import Cluster
from taskflow.errors import NotAllowed
from taskflow.testing import databases
from taskflow.testing.databases import Databases, with_database

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(cluster: Cluster) -> Iterator[Databases]:
    own = Databases(cluster.dsn())
    yield own
    own.close()


def names(cluster: Cluster) -> set[str]:
    with psycopg.connect(cluster.dsn()) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_each_database_has_the_schema_and_nothing_of_the_one_before(made: Databases) -> None:
    for _ in range(2):
        with made.database() as dsn, testing.Harness(dsn) as harness:
            assert harness.tasks() == []
            harness.client.enqueue("echo")
            assert len(harness.drain()) == 1


def test_a_database_takes_less_than_a_tenth_of_a_second(made: Databases) -> None:
    with made.database():
        pass
    taken = [1.0]
    while min(taken) >= 0.1 and len(taken) < 30:  # others use this machine too
        began = time.monotonic()
        with made.database():
            taken.append(time.monotonic() - began)
    assert min(taken) < 0.1, taken


def test_tables_of_the_program_are_made_once_in_a_template_of_their_own(made: Databases) -> None:
    prepared: list[str] = []
    left_open = []

    def prepare(dsn: str) -> None:
        prepared.append(dsn)
        connection = psycopg.connect(dsn, autocommit=True)
        connection.execute("CREATE TABLE orders (article text)")
        left_open.append(connection)  # as a pool would

    for _ in range(2):
        with made.database(prepare) as dsn, psycopg.connect(dsn) as connection:
            connection.execute("INSERT INTO orders VALUES ('pen')")
            assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)
    with made.database() as dsn, psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT to_regclass('orders')").fetchone() == (None,)
    assert len(prepared) == 1
    left_open[0].close()


def test_all_are_dropped_at_the_end_and_those_of_a_dead_session_by_the_next(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "_make_schema", lambda _: None)  # which takes a second
    before = names(cluster)
    alive, dead = Databases(cluster.dsn()), Databases(cluster.dsn())
    with alive.database(), dead.database():
        pass
    of_dead = {name for name in names(cluster) if dead._session in name}
    of_alive = {name for name in names(cluster) if alive._session in name}
    assert len(of_dead) == len(of_alive) == 2
    dead._administrator.close()  # as the end of its process does
    Databases(cluster.dsn()).close()
    assert names(cluster) - before == of_alive
    alive.close()
    assert names(cluster) == before


def test_a_login_that_may_make_no_database_is_told_what_to_do(cluster: Cluster) -> None:
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS poor; CREATE ROLE poor LOGIN")
    try:
        own = Databases(cluster.dsn().replace("postgres@", "poor@"))
        with (
            pytest.raises(NotAllowed, match=r"TASKFLOW_TEST_DATABASE_URL \(it needs CREATEDB\).*'embedded'"),
            own.database(),
        ):
            pass
        own.close()
    finally:
        with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
            connection.execute("DROP ROLE poor")


def test_the_database_that_was_named_need_not_exist(cluster: Cluster) -> None:
    own = Databases(cluster.dsn("not_made_yet"))
    assert own._administrator.info.dbname == "postgres"
    own.close()


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://u:p%40@h1:1,h2:2/old?sslmode=require", "postgresql://u:p%40@h1:1,h2:2/new?sslmode=require"),
        ("postgresql://u@/old?host=/run", "postgresql://u@/new?host=/run"),
        ("postgresql://h", "postgresql://h/new"),
        ("host=h dbname=old", "dbname=new host=h"),
    ],
)
def test_another_database_of_the_same_server(dsn: str, expected: str) -> None:
    assert with_database(dsn, "new") == expected


def test_the_server_is_the_one_for_tests_before_that_of_the_program(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/never")
    monkeypatch.setenv("TASKFLOW_TEST_DATABASE_URL", cluster.dsn())
    databases.close_shared()
    try:
        assert databases.shared() is databases.shared()
        assert databases.shared()._dsn == cluster.dsn()
    finally:
        databases.close_shared()


@pytest.mark.slow
def test_without_a_server_an_embedded_one_is_started_and_leaves_nothing(tmp_path: Path) -> None:
    program = """
import os, psycopg
from taskflow import testing
for _ in range(2):
    with testing.harness() as taskflow:
        taskflow.client.enqueue("echo", {"a": 1})
        print(taskflow.drain()[0].state)
with testing.database() as dsn, psycopg.connect(dsn) as connection:
    print(connection.execute("SHOW data_directory").fetchone()[0])
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    *states, data = done.stdout.split()
    assert (done.returncode, states) == (0, ["completed", "completed"]), done.stderr
    assert not Path(data).parent.exists()


def test_the_plugin_and_the_package_load_nothing_heavy() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules); import taskflow.testing.plugin\n"
        "print(*sorted(m for m in set(sys.modules) - before if '.' not in m or m.startswith('taskflow')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["taskflow", "taskflow.testing", "taskflow.testing.plugin"]
