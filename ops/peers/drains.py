"""One drain of another queue, timed from outside: how fast what is left gets less."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import conninfo

from ops.peers.queues import Queue
from taskflow.bench.server import Server
from taskflow.bench.tasks import Connection
from taskflow.bench.workers import end
from taskflow.errors import TaskflowError
from taskflow.processes import spawn
from taskflow.store.connection import connect

LONGEST_SECONDS = 300.0
OBSERVED_EVERY_SECONDS = 0.02
OBSERVED_AT_MOST = 1 / 20  # of the time: counting is work of the server, too
VARIABLES = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}


@dataclass(frozen=True, slots=True)
class Observation:
    """How many jobs were left, and when, in seconds."""

    at: float
    left: int


def drain(server: Server, queue: Queue, tasks: int, processes: int) -> float:
    """Fill the queue with at most `tasks` no-op jobs and let its workers drain them: jobs a second."""
    tasks = min(tasks, queue.at_most)
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(server.database())
        connection = stack.enter_context(connect(dsn, name="bench"))
        environment = os.environ | _variables(dsn)
        for arguments in (["install"], ["fill", str(tasks)]):
            done = subprocess.run(queue.command(*arguments), env=environment, capture_output=True, check=False)
            if done.returncode:
                raise TaskflowError(f"{queue.name} {arguments[0]}: {done.stderr.decode(errors='replace')}")
        if (filled := _left(connection, queue.left)) != tasks:
            raise TaskflowError(f"{queue.name} was filled with {filled} jobs instead of {tasks}")
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
        output = stack.enter_context(tempfile.TemporaryFile())
        for _ in range(processes):
            stack.callback(end, spawn(queue.command("work"), environment=environment, output=output))
        try:
            return rate([Observation(time.perf_counter(), tasks), *_observe(connection, queue.left)])
        except TaskflowError as error:
            output.seek(0)
            raise TaskflowError(f"{queue.name}: {error}\n{output.read()[-2000:].decode(errors='replace')}") from None


def rate(observations: Sequence[Observation]) -> float:
    """Jobs a second between the first and the last observation at which some were done and some were left.

    Neither the start of the workers nor how late the end was seen is in it.
    """
    most = max(one.left for one in observations)
    under_way = [one for one in observations if 0 < one.left < most]
    if len(under_way) < 2:
        raise TaskflowError("it was done before it could be observed twice: more tasks are needed")
    first, last = under_way[0], under_way[-1]
    return (first.left - last.left) / (last.at - first.at)


def _left(connection: Connection, statement: str) -> int:
    row = connection.execute(statement.encode()).fetchone()
    return int(row[0]) if row else 0


def _observe(connection: Connection, left: str) -> list[Observation]:
    observations: list[Observation] = []
    limit = time.perf_counter() + LONGEST_SECONDS
    while True:
        began = time.perf_counter()
        observations.append(Observation(began, _left(connection, left)))
        if observations[-1].left == 0:
            return observations
        if began > limit:
            raise TaskflowError(f"{observations[-1].left} jobs are left after {LONGEST_SECONDS:.0f} s")
        took = time.perf_counter() - began
        time.sleep(max(OBSERVED_EVERY_SECONDS, took / OBSERVED_AT_MOST))


def _variables(dsn: str) -> dict[str, str]:
    """The connection as libpq's variables, which every driver reads."""
    given = conninfo.conninfo_to_dict(dsn)
    return {variable: str(given[name]) for name, variable in VARIABLES.items() if name in given}
