"""PgBouncer in transaction mode between worker and database: no notification arrives, no session lock may be taken."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import conninfo

from taskflow.cli.main import main
from taskflow.processes import Identity, spawn
from tests.debian import debian_program

SERVER_CONNECTIONS = 3  # fewer than the clients have, so that they change all the time
PICKED_UP_SECONDS = 2.0  # it polls every 0.25 s; the rest is for a busy machine
CONFIGURATION = """
[databases]
{database} = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
server_fast_close = 1
"""


@pytest.fixture(scope="session")
def pgbouncer_program() -> str:
    """Debian's, installed if need be."""
    return debian_program("pgbouncer", "pgbouncer")


class Pooler:
    """A PgBouncer in front of one database, at `dsn`; it runs as the owner of the server's socket."""

    def __init__(self, program: str, dsn: str, port: int, directory: Path) -> None:
        to = conninfo.conninfo_to_dict(dsn)
        self.dsn = conninfo.make_conninfo("", host="127.0.0.1", port=port, dbname=to["dbname"], user=to["user"])
        self._program = program
        self._owner = Path(str(to["host"])).stat()
        self._file, self._log = directory / "pgbouncer.ini", directory / "log"
        self._file.write_text(
            CONFIGURATION.format(
                database=to["dbname"],
                host=to["host"],
                port=to.get("port", 5432),
                user=to["user"],
                listen_port=port,
                pool_size=SERVER_CONNECTIONS,
            )
        )
        self.start()

    def start(self) -> None:
        identity = Identity(self._owner.st_uid, self._owner.st_gid) if os.geteuid() == 0 else None
        with self._log.open("wb") as output:
            self._process = spawn([self._program, self._file], identity=identity, output=output)
        deadline = time.monotonic() + 20
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn).close()
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture
def pooler(dsn: str, free_port: int, pgbouncer_program: str) -> Iterator[Pooler]:
    """A PgBouncer of the test's own."""
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as directory:
        os.chmod(directory, 0o755)
        started = Pooler(pgbouncer_program, dsn, free_port, Path(directory))
        try:
            yield started
        finally:
            started.kill()


def insert(connection, count: int) -> None:
    connection.execute("INSERT INTO taskflow.tasks (type) SELECT 'noop' FROM generate_series(1, %s)", (count,))


def completed(connection) -> int:
    return connection.execute("SELECT count(*) FROM taskflow.tasks WHERE state = 'completed'").fetchone()[0]


def test_workers_behind_a_pooler_in_transaction_mode_poll_and_say_so_once(
    pooler, connection, start_worker, wait_until
) -> None:
    workers = [start_worker(pooler.dsn, "--poll-interval", "60") for _ in range(2)]
    for worker in workers:
        wait_until(lambda worker=worker: "worker_ready" in worker.logs())

    insert(connection, 1000)
    wait_until(lambda: completed(connection) == 1000)
    for number in range(1, 6):  # and one that nobody announces
        insert(connection, 1)
        wait_until(lambda number=number: completed(connection) == 1000 + number, timeout=PICKED_UP_SECONDS)
    assert connection.execute("SELECT count(*), max(attempt) FROM taskflow.executions").fetchone() == (1005, 1)

    # A lock of a session stays with a connection of others; one of a transaction is gone in a moment.
    held = (
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE locktype = 'advisory' AND datname = current_database()"
    )
    wait_until(lambda: connection.execute(held).fetchone() == (0,), timeout=PICKED_UP_SECONDS)
    prepared = [
        worker.events() for worker in workers if any("prepared statement" in str(event) for event in worker.events())
    ]
    assert not prepared
    for worker in workers:
        warnings = [event for event in worker.events() if event["level"] in ("warning", "error")]
        assert [event["event"] for event in warnings] == ["notifications_not_delivered"], worker.shown_logs()
        assert worker.stop() == 0
    assert connection.execute("SELECT count(*) FROM taskflow.workers").fetchone() == (0,)


def test_the_doctor_names_the_pooler_and_makes_every_other_check_through_it(pooler, connection, dsn) -> None:
    seen = {}
    for url in (dsn, pooler.dsn):
        done = CliRunner().invoke(main, ["doctor", "--json"], env={"DATABASE_URL": url})
        assert done.exit_code == 0, done.output
        seen[url] = json.loads(done.stdout)
    said = {url: [finding["check"] for finding in answer["findings"]] for url, answer in seen.items()}
    assert [check for check in said[pooler.dsn] if check not in said[dsn]] == ["notifications"]
    finding = next(finding for finding in seen[pooler.dsn]["findings"] if finding["check"] == "notifications")
    assert finding["what"] == "a pooler in transaction mode stands before the database"
    assert seen[pooler.dsn]["facts"]["pooler"] is True
    assert "could not be made" not in str(seen)
    held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
    assert connection.execute(held).fetchone() == (0,)


def test_a_worker_that_loses_its_pooler_polls_again_when_it_is_back_and_repeats_no_warning(
    pooler, connection, start_worker, wait_until
) -> None:
    worker = start_worker(pooler.dsn, "--poll-interval", "60")
    wait_until(lambda: "worker_ready" in worker.logs())
    pooler.kill()
    wait_until(lambda: any(event["event"] == "database_unavailable" for event in worker.events()))
    pooler.start()
    insert(connection, 100)
    wait_until(lambda: completed(connection) == 100)
    wait_until(lambda: sum(event["event"] == "worker_ready" for event in worker.events()) > 1)
    assert sum(event["event"] == "notifications_not_delivered" for event in worker.events()) == 1, worker.shown_logs()


def test_handlers_complete_their_tasks_in_transactions_of_their_own_behind_a_pooler(
    pooler, connection, start_worker, wait_until
) -> None:
    connection.execute("CREATE TABLE effects (task_id bigint, attempt int)")
    start_worker(pooler.dsn, env={"TASKFLOW_SQL_FUNCTIONS": "pg_catalog.pg_backend_pid"})
    types = ("book", "book_async", "sql")
    connection.execute(
        "INSERT INTO taskflow.tasks (type, payload, retry_delay) SELECT unnest(%s::text[]), %s, 0"
        " FROM generate_series(1, 20)",
        (list(types), '{"function": "pg_catalog.pg_backend_pid", "args": []}'),
    )
    wait_until(lambda: completed(connection) == 20 * len(types))
    assert connection.execute("SELECT count(*), count(DISTINCT task_id) FROM effects").fetchone() == (40, 40)
    assert connection.execute("SELECT count(*), max(attempt) FROM taskflow.executions").fetchone() == (60, 1)
    with psycopg.connect(pooler.dsn, autocommit=True, prepare_threshold=None) as behind:
        assert behind.execute("SHOW statement_timeout").fetchone() == ("0",), "a setting stays with others"
