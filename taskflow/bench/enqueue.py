"""`taskflow bench enqueue`: what the client, the SQL functions and the triggers cost a producer.

One by one against a bare INSERT on the same connection; in bulk against the same rows into a twin of the table, with
the same columns and indexes and without triggers and checks: COPY against COPY, and `enqueue_many` both against itself,
which tells what triggers and checks cost, and against one INSERT of the whole call, which tells what all of it costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache, partial
from importlib import resources
from typing import Any

import orjson

from taskflow.bench.report import Figure, Goal, Report
from taskflow.bench.rounds import in_turn, rates
from taskflow.bench.server import Server
from taskflow.bench.tasks import Connection
from taskflow.client import Client
from taskflow.client.connections import execute_together
from taskflow.client.requests import many_tasks
from taskflow.store.client_statements import Answer, Operation
from taskflow.store.connection import connect

SINGLE_GOAL, MANY_GOAL, COPY_GOAL = Goal(at_least=0.8), Goal(at_least=0.85), Goal(at_least=0.7)
PER_CALL = 1_000
ONE_BY_ONE = 500  # each waits for the disk
TYPE = "bench.noop"
SCHEMA, TWIN = "taskflow", "taskflow_twin"
Producer = Callable[[int], None]


def run(server: Server, *, tasks: int = 20_000, rounds: int = 11) -> Report:
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
                "client.enqueue_many against INSERT": (partial(_client_many, client, connection), MANY_GOAL),
                "SQL enqueue_many() against INSERT": (partial(_sql_many, connection, SCHEMA), MANY_GOAL),
            },
            tasks,
            rounds,
        )
        figures += _compare(
            connection,
            partial(_client_many_into_twin, client, connection),
            {"client.enqueue_many against itself": (partial(_client_many, client, connection), MANY_GOAL)},
            tasks,
            rounds,
        )
        figures += _compare(
            connection,
            partial(_sql_many, connection, TWIN),
            {"SQL enqueue_many() against itself": (partial(_sql_many, connection, SCHEMA), MANY_GOAL)},
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


def _sql_many(connection: Connection, schema: str, tasks: int) -> None:
    statement = f"SELECT * FROM {schema}.enqueue_many(%s::jsonb)"
    for call in _calls(tasks):
        connection.execute(statement, (call,), prepare=True).fetchall()


def _client_many(client: Client, connection: Connection, tasks: int) -> None:
    for call in _given(tasks):
        client.enqueue_many(call, connection=connection)


def _client_many_into_twin(client: Client, connection: Connection, tasks: int) -> None:
    """What the client does, with the twin's function."""
    for call in _given(tasks):
        many = many_tasks(call, client.settings)
        many.in_order(execute_together(connection, [_moved(operation) for operation in many.operations]))


def _moved(operation: Operation[Answer]) -> Operation[Answer]:
    return replace(operation, sql=operation.sql.replace(f"{SCHEMA}.", f"{TWIN}."))


def _calls(tasks: int) -> Iterator[str]:
    return (orjson.dumps(call).decode() for call in _given(tasks))


def _given(tasks: int) -> Iterator[list[Mapping[str, Any]]]:
    for first in range(0, tasks, PER_CALL):
        yield [{"type": TYPE, "payload": {"n": n}} for n in range(first, min(first + PER_CALL, tasks))]


def _copy(connection: Connection, table: str, tasks: int) -> None:
    with connection.cursor().copy(f"COPY {table} (type, payload) FROM STDIN") as copy:
        copy.write(_copied(tasks))


@cache
def _copied(tasks: int) -> bytes:
    """The data of a COPY, made once: else this process takes as long as the server, and where the two share a core,
    half of the rate is what is measured."""
    return "".join(f'{TYPE}\t{{"n": {n}}}\n' for n in range(tasks)).encode()


def _client_copy(client: Client, connection: Connection, tasks: int) -> None:
    client.copy(({"type": TYPE, "payload": {"n": n}} for n in range(tasks)), connection=connection)
