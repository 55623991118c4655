"""`taskflow bench enqueue`: what the client, the SQL functions and the triggers cost a producer.

One by one against a bare INSERT on the same connection; in bulk against the same rows into a twin of the table, with
the same columns and indexes and without triggers and checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import resources

import orjson

from taskflow.bench.report import Figure, Goal, Report
from taskflow.bench.rounds import in_turn, rates
from taskflow.bench.server import Server
from taskflow.bench.tasks import Connection
from taskflow.client import Client
from taskflow.store.connection import connect

SINGLE_GOAL, MANY_GOAL, COPY_GOAL = Goal(at_least=0.8), Goal(at_least=0.85), Goal(at_least=0.7)
PER_CALL = 1_000
ONE_BY_ONE = 500  # each waits for the disk
TYPE = "bench.noop"
Producer = Callable[[int], None]


def run(server: Server, *, tasks: int = 20_000, rounds: int = 7) -> Report:
    """Enqueue up to 500 tasks one by one, and `tasks` in bulk, each way in turn with its baseline."""
    with server.database() as dsn, connect(dsn, name="bench") as connection, Client(dsn) as client:
        connection.execute(resources.files(__package__).joinpath("twin.sql").read_text())
        figures = _compare(
            connection,
            partial(_bare_inserts, connection),
            {
                "client.enqueue": (partial(_client_enqueue, client, connection), SINGLE_GOAL),
                "SQL enqueue()": (partial(_sql_enqueue, connection), None),
            },
            min(tasks, ONE_BY_ONE),
            rounds,
        )
        figures += _compare(
            connection,
            partial(_twin_inserts, connection),
            {
                "client.enqueue_many, 1,000 a call": (partial(_client_many, client, connection), MANY_GOAL),
                "SQL enqueue_many(), 1,000 a call": (partial(_sql_many, connection), MANY_GOAL),
            },
            tasks,
            rounds,
        )
        figures += _compare(
            connection,
            partial(_copy, connection, "taskflow_twin.tasks"),
            {
                "client.copy": (partial(_client_copy, client, connection), None),
                "COPY": (partial(_copy, connection, "taskflow.tasks"), COPY_GOAL),
            },
            tasks,
            rounds,
        )
    return server.report("enqueue", figures, tasks=tasks, one_by_one=min(tasks, ONE_BY_ONE), rounds=rounds)


def _compare(
    connection: Connection,
    baseline: Producer,
    ways: Mapping[str, tuple[Producer, Goal | None]],
    tasks: int,
    rounds: int,
) -> list[Figure]:
    """Each way against its baseline, in tasks a second."""

    def rate(produce: Producer) -> float:
        connection.execute("TRUNCATE taskflow.tasks_live, taskflow_twin.tasks_live")
        began = time.perf_counter()
        produce(tasks)
        return tasks / (time.perf_counter() - began)

    measured = in_turn(partial(rate, baseline), {name: partial(rate, way) for name, (way, _) in ways.items()}, rounds)
    return [rates(name, measured[name], "tasks/s", goal) for name, (_, goal) in ways.items()]


def _bare_inserts(connection: Connection, tasks: int) -> None:
    statement = "INSERT INTO taskflow.tasks (type, payload) VALUES (%s, %s) RETURNING id"
    for n in range(tasks):
        connection.execute(statement, (TYPE, f'{{"n": {n}}}'), prepare=True).fetchone()


def _client_enqueue(client: Client, connection: Connection, tasks: int) -> None:
    for n in range(tasks):
        client.enqueue(TYPE, {"n": n}, connection=connection)


def _sql_enqueue(connection: Connection, tasks: int) -> None:
    for n in range(tasks):
        parameters = (TYPE, f'{{"n": {n}}}')
        connection.execute("SELECT * FROM taskflow.enqueue(%s, %s::jsonb)", parameters, prepare=True).fetchone()


def _twin_inserts(connection: Connection, tasks: int) -> None:
    statement = """
        INSERT INTO taskflow_twin.tasks (type, payload)
        SELECT type, payload FROM jsonb_to_recordset(%s::jsonb) AS given (type text, payload jsonb) RETURNING id
    """
    for call in _calls(tasks):
        connection.execute(statement, (call,), prepare=True).fetchall()


def _sql_many(connection: Connection, tasks: int) -> None:
    for call in _calls(tasks):
        connection.execute("SELECT * FROM taskflow.enqueue_many(%s::jsonb)", (call,), prepare=True).fetchall()


def _client_many(client: Client, connection: Connection, tasks: int) -> None:
    for first in range(0, tasks, PER_CALL):
        numbers = range(first, min(first + PER_CALL, tasks))
        client.enqueue_many([{"type": TYPE, "payload": {"n": n}} for n in numbers], connection=connection)


def _calls(tasks: int) -> Iterator[str]:
    for first in range(0, tasks, PER_CALL):
        numbers = range(first, min(first + PER_CALL, tasks))
        yield orjson.dumps([{"type": TYPE, "payload": {"n": n}} for n in numbers]).decode()


def _copy(connection: Connection, table: str, tasks: int) -> None:
    with connection.cursor().copy(f"COPY {table} (type, payload) FROM STDIN") as copy:
        for n in range(tasks):
            copy.write_row((TYPE, f'{{"n": {n}}}'))


def _client_copy(client: Client, connection: Connection, tasks: int) -> None:
    client.copy(({"type": TYPE, "payload": {"n": n}} for n in range(tasks)), connection=connection)
