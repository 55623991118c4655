"""GET /api/v1/types: what workers have registered, and who can run it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg
from flask.testing import FlaskClient
from psycopg.types.json import Jsonb

from taskflow.web.models.workers import RegisteredTypes

Connection = psycopg.Connection[Any]


def register(connection: Connection, *types: dict[str, Any]) -> None:
    connection.execute("SELECT taskflow.register_types(%s)", [Jsonb(list(types))])


def worker(connection: Connection, *types: str) -> str:
    row = connection.execute("SELECT taskflow.register_worker('host', 1, NULL, %s, 1, '1')", [list(types)]).fetchone()
    assert row is not None
    return str(row[0])


def test_a_type_with_its_schema_and_the_workers_that_can_run_it(client: FlaskClient, connection: Connection) -> None:
    schema = {"type": "object", "required": ["to"]}
    register(
        connection,
        {"type": "mail", "schema": schema, "description": "Send it.", "priority": 2, "max_attempts": 3, "queue": "m"},
        {"type": "other", "schema": None},
    )
    able = [worker(connection, "mail", "x"), worker(connection, "mail")]
    worker(connection, "x")

    answer = client.get("/api/v1/types")

    RegisteredTypes.model_validate(answer.json)
    mail, other = answer.json["types"]
    assert (mail["type"], mail["schema"], mail["description"]) == ("mail", schema, "Send it.")
    assert (mail["priority"], mail["max_attempts"], mail["queue"]) == ("high", 3, "m")
    assert (mail["workers"], other["workers"], other["schema"]) == (able, [], None)
    assert answer.json["count"] == 2


def test_a_type_was_last_seen_with_the_last_heartbeat_of_a_worker_that_knows_it(
    client: FlaskClient, connection: Connection
) -> None:
    register(connection, {"type": "mail"})
    connection.execute("UPDATE taskflow.task_types SET last_seen = now() - interval '3 days'")
    before = client.get("/api/v1/types").json["types"][0]["last_seen"]
    worker(connection, "mail")

    after = client.get("/api/v1/types").json["types"][0]["last_seen"]

    beat = connection.execute("SELECT last_heartbeat FROM taskflow.workers").fetchone()
    assert beat is not None
    assert datetime.fromisoformat(before) < datetime.fromisoformat(after) == beat[0]


def test_a_worker_that_is_silent_cannot_run_anything(client: FlaskClient, connection: Connection) -> None:
    register(connection, {"type": "mail"})
    worker(connection, "mail")
    connection.execute("UPDATE taskflow.workers SET last_heartbeat = now() - interval '10 min'")

    assert client.get("/api/v1/types").json["types"][0]["workers"] == []


def test_the_types_come_in_pages_by_name(client: FlaskClient, connection: Connection) -> None:
    names = ["B", "a", "b-1", "b_1", "ä"]
    register(connection, *({"type": name} for name in names))

    found: list[str] = []
    cursor = ""
    while cursor is not None:
        page = client.get("/api/v1/types", query_string={"limit": 2, **({"cursor": cursor} if cursor else {})}).json
        found += [item["type"] for item in page["types"]]
        cursor = page["next_cursor"]

    assert found == sorted(names)
