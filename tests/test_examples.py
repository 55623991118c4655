"""What the documentation shows runs: SQL in a database, requests against a server, the first steps from end to end."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.debian import debian_program
from tests.deployment import Deployment, deployment
from tests.forked import UNMEASURED
from tests.shown import PAGES, ROOT, SHORTENED, blocks, scripts, statements

pytestmark = pytest.mark.timeout(240)
WITH_SQL = [page for page in PAGES if any(SHORTENED not in block for block in blocks(page, "sql"))]
WITH_CURL = [page for page in PAGES if any("curl " in block for block in blocks(page, "sh", "console"))]
GETTING_STARTED = ROOT / "docs" / "getting-started.md"
REFERENCE = ROOT / "docs" / "api-reference.md"
ROLE = "my_service"
# It asks hosts on the internet.
LEFT_OUT_TYPES = {"webhook"}
MAX_SECONDS = 2
Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def furnished_dsn(shared_dsn: str) -> Iterator[str]:
    """A database with what the examples speak of: a table of orders, a role, some tasks, schedules."""
    with psycopg.connect(shared_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (article text)")
        with contextlib.suppress(psycopg.errors.DuplicateObject):
            connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(ROLE)))
        connection.execute("SELECT taskflow.enqueue('echo')")
        connection.execute(
            "SELECT taskflow.enqueue('echo', '{}', run_at => now() + '1 day') FROM generate_series(1, 50)"
        )
        connection.execute(
            "INSERT INTO taskflow.schedules (name, type, cron, enabled)"
            " SELECT CASE n WHEN 7 THEN 'nightly' ELSE 'other' || n END, 'echo', '0 0 1 1 *', false"
            " FROM generate_series(1, 7) n"
        )
    yield shared_dsn
    with psycopg.connect(shared_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(ROLE)))


@pytest.mark.parametrize("page", WITH_SQL, ids=lambda page: page.name)
def test_the_sql_that_is_shown_runs(page: Path, furnished_dsn: str) -> None:
    with psycopg.connect(furnished_dsn, autocommit=True) as connection:
        for block in blocks(page, "sql"):
            if SHORTENED in block:
                continue
            for statement in statements(block):
                run(connection, statement)


def run(connection: Connection, statement: str) -> None:
    if statement.startswith("COPY"):
        with connection.cursor().copy(statement.encode()) as copy:
            copy.write_row(("echo", "{}"))
    else:
        connection.execute(statement.encode())


@pytest.fixture(scope="module")
def served(furnished_dsn: str) -> Iterator[Deployment]:
    """A server without keys, as `ops/dev` has it, with a worker."""
    types = tuple({"echo", "sleep", "fail", "math", "demo"} - LEFT_OUT_TYPES)
    with deployment(furnished_dsn, types=types, auth="off") as running:
        yield running


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    """A directory for PATH in which `curl` writes down what it was answered, a line each, into a file `answers`."""
    curl = debian_program("curl", "curl")
    log = tmp_path / "answers"
    log.touch()
    shim = tmp_path / "bin" / "curl"
    shim.parent.mkdir()
    # A stream has no end: what has been answered after some seconds counts.
    shim.write_text(
        f"#!/bin/sh\n{shlex.quote(curl)} --max-time {MAX_SECONDS} --output /dev/null"
        f" --write-out '%{{http_code}} %{{method}} %{{url}}\\n' \"$@\" >> {shlex.quote(str(log))} || [ $? = 28 ]\n"
    )
    shim.chmod(0o755)
    # What ops/dev does once all is installed, where a `taskflow dev` has run.
    dev = tmp_path / "ops" / "dev"
    dev.parent.mkdir()
    dev.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m taskflow dev "$@"\n')
    dev.chmod(0o755)
    (tmp_path / ".taskflow").mkdir()
    return log


def requests(scripts_of_page: list[str], answers: Path) -> list[tuple[int, str]]:
    """Run all that talk to the server; the status and the request of each."""
    path = f"{answers.parent / 'bin'}:{os.environ['PATH']}"
    with_curl = [script for script in scripts_of_page if "curl " in script]
    # `taskflow` and the like in the same block are looked at elsewhere.
    lines = "".join(line for script in with_curl for line in script.splitlines(True) if not line.startswith("taskflow"))
    done = subprocess.run(
        ["sh", "-e"],
        input=lines,
        text=True,
        cwd=answers.parent,
        env={"PATH": path, "KEY": "tf_none"},
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(int(line[:3]), line[4:]) for line in answers.read_text().splitlines()]


@pytest.mark.parametrize(
    "page", [page for page in WITH_CURL if page not in (GETTING_STARTED, REFERENCE)], ids=lambda page: page.name
)
def test_the_requests_that_are_shown_are_answered(page: Path, served: Deployment, answers: Path) -> None:
    with psycopg.connect(served.dsn, autocommit=True) as connection:
        connection.execute("UPDATE taskflow.queues SET paused = false")
        connection.execute("DELETE FROM taskflow.schedules WHERE name = 'nightly'")
    answered = requests(scripts(page, served.url), answers)

    assert answered
    # 409: what the page has created before, or on another page.
    assert [request for status, request in answered if not 200 <= status < 300 and status != 409] == []


def test_the_requests_of_the_reference_are_understood(served: Deployment, answers: Path) -> None:
    """They are about tasks, queues and workers that need not exist here; none is refused for how it is said."""
    answered = requests(scripts(REFERENCE, served.url), answers)

    assert len(answered) == len(blocks(REFERENCE, "sh"))
    # A WebSocket begins otherwise than curl does.
    understood = {404, 409, 412, *range(200, 300)}
    assert [one for one in answered if one[0] not in understood and not one[1].endswith("/ws")] == []
    assert len([status for status, _ in answered if status < 300]) > len(answered) / 2


class Reader:
    """Follows a page: writes its files and types its commands in a directory, with the right Python on the PATH."""

    def __init__(self, directory: Path, dsn: str) -> None:
        self.directory = directory
        psql = debian_program("psql", "postgresql-client")
        path = f"{Path(sys.executable).parent}:{Path(psql).parent}:{os.environ['PATH']}"
        self.environment = {"PATH": path, "DATABASE_URL": dsn, "PYTHONPATH": f"{ROOT}:{directory}"}

    def types(self, script: str) -> str:
        done = subprocess.run(
            ["sh", "-e"],
            input=script,
            text=True,
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@contextlib.contextmanager
def worker(reader: Reader) -> Iterator[None]:
    """The worker of `taskflow dev --import shop`, from that directory."""
    command = [sys.executable, "-m", "taskflow", "worker", "--import", "shop", "--no-leader"]
    environment = {**os.environ, **UNMEASURED, **reader.environment}
    with (reader.directory / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=reader.directory, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_the_first_steps_lead_where_they_say(dsn: str, tmp_path: Path) -> None:
    shop, order, more, other = blocks(GETTING_STARTED, "python")
    reader = Reader(tmp_path, dsn)
    for name, source in (("shop", shop), ("order", order), ("other", other)):
        (tmp_path / f"{name}.py").write_text(source)
    # Fewer, for the time of a test.
    (tmp_path / "more.py").write_text(more.replace("1001", "11").replace("10_001", "11"))
    with deployment(dsn, worker=False, auth="off") as running, worker(reader):
        shown = [
            one for one in scripts(GETTING_STARTED, running.url) if "taskflow dev" not in one and "ops/dev" not in one
        ]
        create, wait, with_psql, with_python, wait_dead, executions, dead, again, own_database = shown

        assert json.loads(reader.types(create))["id"] == "1"
        assert json.loads(reader.types(wait))["result"] == {"echoed": {"hello": "world"}}
        reader.types(without_the_address(with_psql))

        assert reader.types(with_python) == "Enqueued(id=3, created=True, state='pending')\n"
        died = json.loads(reader.types(wait_dead))
        assert (died["state"], died["attempt"]) == ("dead_letter", 3)
        assert reader.types(executions).count("failed | FileNotFoundError: [Errno 2]") == 3
        reader.types(dead)

        reader.types(again)
        back = json.loads(reader.types(wait_dead))
        assert back["state"] == "completed"
        assert (back["result"], back["attempt"]) == ({"total": 7.5}, 4)

        printed = reader.types("python -c 'import more, other'")
        assert "created=False" in printed
        assert "{'echoed': {'hello': 'client'}}" in printed
    assert "taskflow migrate" in own_database  # it has databases of tests of its own


def without_the_address(script: str) -> str:
    """The database is known here; its address is shown shortened."""
    return "".join(line for line in script.splitlines(True) if not line.startswith("export DATABASE_URL"))
