"""Workers in the API: what each has and does, and that it is paused, resumed and drained."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg
import pytest
from flask import g
from flask.testing import FlaskClient

from taskflow.web.access import auth
from taskflow.web.models.workers import Worker, WorkerChanged, Workers
from tests.web.conftest import Engine

Connection = psycopg.Connection[Any]


def register(connection: Connection, queues: list[str] | None = None, concurrency: int = 4) -> int:
    row = connection.execute(
        "SELECT taskflow.register_worker('host-1', 42, %s, ARRAY['echo', 'mail'], %s, '1.2.3')", [queues, concurrency]
    ).fetchone()
    assert row is not None
    return int(row[0])


def enqueue(connection: Connection, count: int = 1, queue: str = "default") -> None:
    connection.execute("SELECT taskflow.enqueue('echo', '{}', queue => %s) FROM generate_series(1, %s)", [queue, count])


@pytest.fixture
def limited(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    """A client whose key sees only the queue `mail`."""
    someone = auth.Principal("mailer", frozenset({"read", "operate"}), frozenset({"mail"}))
    monkeypatch.setattr(auth.Authentication, "__call__", lambda _self: setattr(g, "principal", someone))
    return client


def test_a_worker_without_tasks_is_idle(client: FlaskClient, connection: Connection) -> None:
    worker_id = register(connection)

    answer = client.get(f"/api/v1/workers/{worker_id}")

    assert answer.status_code == 200
    Worker.model_validate(answer.json)
    assert {name: answer.json[name] for name in ("id", "state", "hostname", "pid", "queues", "types", "version")} == {
        "id": str(worker_id),
        "state": "idle",
        "hostname": "host-1",
        "pid": 42,
        "queues": None,
        "types": ["echo", "mail"],
        "version": "1.2.3",
    }
    assert (answer.json["concurrency"], answer.json["active_tasks"], answer.json["running"]) == (4, 0, [])


def test_one_that_has_tasks_is_busy_and_says_since_when(
    client: FlaskClient, connection: Connection, engine: Engine
) -> None:
    engine.worker_id = register(connection)
    enqueue(connection, 2)
    first, second = engine.claim(), engine.claim()
    connection.execute(
        "SELECT taskflow.mark_started(%s, ARRAY[%s::bigint], ARRAY[1], ARRAY[2.0::float8])", [engine.worker_id, second]
    )

    worker = client.get(f"/api/v1/workers/{engine.worker_id}").json

    assert (worker["state"], worker["active_tasks"]) == ("busy", 2)
    assert [task["id"] for task in worker["running"]] == [str(second), str(first)]  # what has begun comes first
    began, claimed = (datetime.fromisoformat(task["since"]) for task in worker["running"])
    assert (began - claimed).total_seconds() >= 2.0  # it was claimed after the other, and began 2 s later
    assert worker["running"][0]["type"] == "echo"


def test_what_is_held_ready_beyond_the_slots_does_not_count_as_running(
    client: FlaskClient, connection: Connection, engine: Engine
) -> None:
    engine.worker_id = register(connection, concurrency=2)
    enqueue(connection, 5)
    claimed = [engine.claim() for _ in range(5)]

    worker = client.get(f"/api/v1/workers/{engine.worker_id}").json

    assert (worker["active_tasks"], [task["id"] for task in worker["running"]]) == (2, [str(id) for id in claimed[:2]])


@pytest.mark.parametrize("prefix", ["/api/v1", "/admin"])
def test_the_list_has_them_all_in_pages(client: FlaskClient, connection: Connection, prefix: str) -> None:
    ids = [str(register(connection)) for _ in range(3)]

    first = client.get(f"{prefix}/workers?limit=2")
    second = client.get(f"{prefix}/workers?limit=2&cursor={first.json['next_cursor']}")

    Workers.model_validate(first.json)
    assert [worker["id"] for worker in (*first.json["workers"], *second.json["workers"])] == ids
    assert (first.json["count"], second.json["count"], second.json["next_cursor"]) == (2, 1, None)
    assert 'rel="next"' in first.headers["Link"]


@pytest.mark.parametrize("prefix", ["/api/v1", "/admin"])
@pytest.mark.parametrize(
    ("verb", "message", "shown"),
    [
        ("pause", "worker paused", "paused"),
        ("resume", "worker resumed", "idle"),
        ("drain", "worker draining", "draining"),
    ],
)
def test_an_operator_changes_what_a_worker_shall_do(
    client: FlaskClient, connection: Connection, prefix: str, verb: str, message: str, shown: str
) -> None:
    worker_id = register(connection)

    answers = [client.post(f"{prefix}/workers/{worker_id}/{verb}") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]  # twice is no error
    WorkerChanged.model_validate(answers[0].json)
    assert answers[0].json == {"message": message, "worker_id": str(worker_id)}
    assert client.get(f"{prefix}/workers/{worker_id}").json["state"] == shown


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_draining_cannot_be_taken_back(client: FlaskClient, connection: Connection, verb: str) -> None:
    worker_id = register(connection)
    client.post(f"/api/v1/workers/{worker_id}/drain")

    answer = client.post(f"/api/v1/workers/{worker_id}/{verb}")

    assert (answer.status_code, answer.json["code"]) == (409, "wrong_state")
    assert client.get(f"/api/v1/workers/{worker_id}").json["state"] == "draining"


def test_every_change_is_in_the_audit_log_and_a_refused_one_is_not(client: FlaskClient, connection: Connection) -> None:
    worker_id = register(connection)
    for verb in ("pause", "resume", "drain", "resume"):
        client.post(f"/api/v1/workers/{worker_id}/{verb}")

    rows = connection.execute("SELECT actor, action, target FROM taskflow.audit_log ORDER BY id").fetchall()

    assert rows == [("anybody", f"worker.{verb}", str(worker_id)) for verb in ("pause", "resume", "drain")]


@pytest.mark.parametrize("path", ["/999", "/x", "/0", "/9223372036854775808", "/-1", "/%00", "/1%20OR%201=1"])
def test_an_id_that_nobody_has_is_404(client: FlaskClient, path: str) -> None:
    for prefix in ("/api/v1/workers", "/admin/workers"):
        answers = [client.get(prefix + path), client.post(f"{prefix}{path}/pause")]
        assert [(a.status_code, a.json["code"]) for a in answers] == [(404, "worker_not_found")] * 2


def test_the_highest_id_there_can_be_is_found(client: FlaskClient, connection: Connection) -> None:
    connection.execute(
        "INSERT INTO taskflow.workers (id, hostname, pid, types, concurrency, version) OVERRIDING SYSTEM VALUE"
        " VALUES (9223372036854775807, 'h', 1, '{}', 1, '1')"
    )

    assert client.get("/api/v1/workers/9223372036854775807").status_code == 200
    assert client.get("/api/v1/workers").json["count"] == 1


def test_a_key_that_is_limited_to_queues_sees_their_workers_alone(
    limited: FlaskClient, connection: Connection, engine: Engine
) -> None:
    both, other, every = register(connection, ["mail", "x"]), register(connection, ["x"]), register(connection)
    engine.worker_id = both
    enqueue(connection, queue="x")
    enqueue(connection, queue="mail")
    engine.claim(queue="x")
    mail = engine.claim(queue="mail")

    found = {worker["id"]: worker for worker in limited.get("/api/v1/workers").json["workers"]}

    assert set(found) == {str(both), str(every)}
    assert (found[str(both)]["queues"], found[str(every)]["queues"]) == (["mail"], None)
    assert [task["id"] for task in found[str(both)]["running"]] == [str(mail)]
    assert found[str(both)]["active_tasks"] == 1
    assert limited.get(f"/api/v1/workers/{other}").status_code == 404


def test_such_a_key_stops_only_workers_that_serve_nothing_else(limited: FlaskClient, connection: Connection) -> None:
    own, both, other, every = (register(connection, queues) for queues in (["mail"], ["mail", "x"], ["x"], None))

    answers = {id: limited.post(f"/api/v1/workers/{id}/pause") for id in (own, both, other, every)}

    assert [answer.status_code for answer in answers.values()] == [200, 403, 404, 403]
    assert answers[both].json["code"] == "queue_not_allowed"
    assert connection.execute("SELECT id FROM taskflow.workers WHERE state = 'paused'").fetchall() == [(own,)]


def test_the_tasks_of_a_worker_are_found_without_reading_what_waits(connection: Connection, engine: Engine) -> None:
    from taskflow.web.resources import workers

    engine.worker_id = register(connection)
    enqueue(connection, 5000)
    connection.execute("ANALYZE taskflow.tasks_live")
    statement = str(workers.READ).replace(":queues", "NULL::text[]").replace(":after", "0")
    statement = statement.replace(":last", "999").replace(":limit", "50")

    plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {statement}".encode()))

    assert "claims_pkey" in plan
    assert "tasks_live_pkey" in plan
    assert "Seq Scan on tasks_live" not in plan
