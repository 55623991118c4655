"""max_depth: a queue that is full takes no more, and knowing so costs no request a count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from taskflow.web.access import backpressure
from taskflow.web.access.backpressure import SELECT_DEPTHS, Backpressure
from taskflow.web.http.problems import Problem
from taskflow.web.tasks import bulk

A_SECOND = 1.0
SECONDS = 20


def limit(connection: psycopg.Connection[Any], queue: str, tasks: int) -> None:
    connection.execute(
        "INSERT INTO taskflow.queues (name, max_depth) VALUES (%(queue)s, %(tasks)s)"
        " ON CONFLICT (name) DO UPDATE SET max_depth = %(tasks)s",
        {"queue": queue, "tasks": tasks},
    )


def fill(connection: psycopg.Connection[Any], queue: str, tasks: int) -> None:
    """As a producer that is never refused."""
    with connection.transaction():
        connection.execute("SET LOCAL taskflow.max_depth = off")
        connection.execute(
            "INSERT INTO taskflow.tasks (type, queue) SELECT 'echo', %s FROM generate_series(1, %s)", [queue, tasks]
        )


def create(client: FlaskClient, queue: str = "mail") -> int:
    return client.post("/api/v1/tasks", json={"type": "echo", "queue": queue}).status_code


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_a_full_queue_is_503_and_the_others_are_open(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    limit(connection, "mail", 3)

    assert [create(client) for _ in range(5)] == [201, 201, 201, 503, 503]
    refused = client.post("/api/v1/tasks", json={"type": "echo", "queue": "mail"})
    assert (refused.json["code"], refused.headers["Retry-After"]) == ("queue_full", "1")
    assert create(client, "other") == 201
    assert connection.execute("SELECT count(*) FROM taskflow.tasks WHERE queue = 'mail'").fetchone() == (3,)


def test_a_depth_for_all_holds_for_every_queue_and_a_queues_own_where_it_is_less(
    make_app: Callable[..., Flask], connection: psycopg.Connection[Any]
) -> None:
    limit(connection, "mail", 1)
    limit(connection, "large", 1000)
    fill(connection, "full", 5)
    client = make_app(max_depth=2).test_client()

    assert [create(client) for _ in range(2)] == [201, 503]
    assert [create(client, "large") for _ in range(3)] == [201, 201, 503]
    assert [create(client, "nobody knew it") for _ in range(1)] == [422]
    assert [create(client, "new") for _ in range(3)] == [201, 201, 503]
    refused = client.post("/api/v1/tasks", json={"type": "echo", "queue": "full"})
    assert "at most 2 are allowed" in refused.json["detail"]
    assert "raise TASKFLOW_MAX_DEPTH of the server" in refused.json["detail"]
    connection.execute("SELECT taskflow.cancel(id) FROM taskflow.tasks WHERE queue = 'full'")
    until(lambda: create(client, "full") == 201, A_SECOND)


def test_what_others_put_in_counts_within_a_second(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    limit(connection, "mail", 1000)
    assert create(client) == 201
    fill(connection, "mail", 2000)

    until(lambda: create(client) == 503, A_SECOND)


def test_it_is_open_again_within_a_second_of_being_emptied_or_raised(
    client: FlaskClient, connection: psycopg.Connection[Any]
) -> None:
    limit(connection, "mail", 2)
    assert [create(client) for _ in range(3)] == [201, 201, 503]
    connection.execute("SELECT taskflow.cancel(min(id)) FROM taskflow.tasks WHERE state = 'pending'")
    until(lambda: create(client) == 201, A_SECOND)
    assert create(client) == 503
    limit(connection, "mail", 3)
    until(lambda: create(client) == 201, A_SECOND)


def test_a_queue_that_is_emptied_as_fast_as_it_fills_is_never_full(
    client: FlaskClient, connection: psycopg.Connection[Any]
) -> None:
    """What was let in counts until the next reading, and a reading is never far when that would refuse somebody."""
    limit(connection, "mail", 40)
    for _ in range(200):
        until(lambda: create(client) == 201, A_SECOND)
        connection.execute("SELECT taskflow.cancel(id) FROM taskflow.tasks WHERE queue = 'mail' AND state = 'pending'")
    counts = connection.execute(
        "SELECT count(*) FROM taskflow.tasks WHERE queue = 'mail' AND state = 'cancelled'"
    ).fetchone()
    assert counts == (200,)


def test_retrying_and_scheduled_tasks_wait_too(
    client: FlaskClient, connection: psycopg.Connection[Any], engine: Any
) -> None:
    limit(connection, "default", 2)
    assert create(client, "default") == 201
    engine.run("failed", error="x")
    assert connection.execute("SELECT state FROM taskflow.tasks").fetchone() == ("retrying",)
    later = {"type": "echo", "delay": 3600}
    assert client.post("/api/v1/tasks", json=later).status_code == 201
    assert client.post("/api/v1/tasks", json=later).status_code == 503


def test_many_requests_read_the_depths_twice_a_second_at_most(
    app: Flask, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(connection, "mail", 1_000_000)
    found: Backpressure = app.extensions["taskflow"].backpressure
    readings: list[float] = []
    fetch = found._database.fetch

    def counting(statement: Any, *parameters: Any) -> Any:
        readings.append(time.monotonic())
        return fetch(statement, *parameters)

    monkeypatch.setattr(found, "_database", type("Counting", (), {"fetch": staticmethod(counting)}))
    end = time.monotonic() + 1.2
    admitted = 0
    while time.monotonic() < end:
        found.admit("mail")
        admitted += 1

    assert admitted > 10_000
    assert len(readings) <= 3


def test_several_tasks_fit_in_together_or_not_at_all(app: Flask, connection: psycopg.Connection[Any]) -> None:
    limit(connection, "mail", 10)
    found: Backpressure = app.extensions["taskflow"].backpressure

    found.admit("mail", 6)
    with pytest.raises(Problem):
        found.admit("mail", 5)
    found.admit("mail", 4)


def post(client: FlaskClient, key: str, on_conflict: str = "skip", queue: str = "mail") -> Any:
    given = {"type": "echo", "queue": queue, "unique_key": key, "on_conflict": on_conflict, "payload": {"new": 1}}
    return client.post("/api/v1/tasks", json=given)


@pytest.fixture(params=["queue", "server"])
def most_three(request: pytest.FixtureRequest, make_app: Callable[..., Flask], connection: Any) -> FlaskClient:
    """Of an application whose queue `mail` takes three: by a limit that the database keeps too, or by the server's."""
    limit(connection, "mail", 1_000_000 if request.param == "server" else 3)
    return make_app(**({"max_depth": 3} if request.param == "server" else {})).test_client()


def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The depths are read once."""
    monkeypatch.setattr(backpressure, "MAX_AGE_SECONDS", 3600)
    monkeypatch.setattr(backpressure, "REFRESH_SECONDS", 3600)
    monkeypatch.setattr(backpressure, "AGAIN_SECONDS", 3600)


@pytest.mark.parametrize(("on_conflict", "status"), [("skip", 200), ("replace", 200), ("error", 409)])
def test_what_adds_no_task_is_not_counted(
    make_app: Callable[..., Flask],
    connection: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    on_conflict: str,
    status: int,
) -> None:
    still(monkeypatch)
    limit(connection, "mail", 3)
    limit(connection, "full", 1)
    client = make_app().test_client()
    task = {"type": "echo", "queue": "mail", "unique_key": "a", "on_conflict": on_conflict}

    assert [post(client, "a", on_conflict).status_code for _ in range(6)] == [201] + [status] * 5
    many = client.post("/api/v1/tasks/bulk", json={"tasks": [task] * 2})
    some = client.post("/api/v1/tasks/bulk?partial=true", json={"tasks": [task] * 2})
    assert (many.status_code, some.status_code) == (409 if status == 409 else 201, 200)
    elsewhere = [{"type": "echo", "queue": queue} for queue in ["mail"] + ["full"] * 2]
    assert create(client) == 201
    assert client.post("/api/v1/tasks/bulk", json={"tasks": elsewhere}).status_code == 503, "one queue of it is full"
    assert [create(client) for _ in range(2)] == [201, 503]


def test_a_full_queue_still_answers_for_a_key_that_is_taken(
    most_three: FlaskClient, connection: psycopg.Connection[Any]
) -> None:
    first = post(most_three, "a").json
    assert [create(most_three) for _ in range(3)] == [201, 201, 503]

    skipped, replaced, refused = (post(most_three, "a", how) for how in ("skip", "replace", "error"))

    assert [(found.status_code, found.json["id"]) for found in (skipped, replaced)] == [(200, first["id"])] * 2
    assert (skipped.json["created"], replaced.json["payload"]) == (False, {"new": 1})
    assert (refused.status_code, refused.json["conflicting_task_id"]) == (409, first["id"])
    full = post(most_three, "b")
    assert (full.status_code, full.json["code"]) == (503, "queue_full")
    assert "3 tasks wait, and at most 3 are allowed" in full.json["detail"]


def test_a_full_queue_answers_for_the_keys_of_a_bulk(
    most_three: FlaskClient, connection: psycopg.Connection[Any]
) -> None:
    tasks = [{"type": "echo", "queue": "mail", "unique_key": key} for key in "abc"]
    ids = [task["id"] for task in most_three.post("/api/v1/tasks/bulk", json={"tasks": tasks * 2}).json["tasks"][:3]]
    again = most_three.post("/api/v1/tasks/bulk", json={"tasks": tasks})
    assert (again.status_code, [task["id"] for task in again.json["tasks"]]) == (201, ids)

    others = [*tasks, {**tasks[0], "unique_key": "d"}]
    refused = most_three.post("/api/v1/tasks/bulk", json={"tasks": others})
    assert (refused.status_code, refused.json["code"]) == (503, "queue_full")
    found = most_three.post("/api/v1/tasks/bulk?partial=true", json={"tasks": others}).json
    assert [result.get("id") for result in found["results"]] == [*ids, None]
    assert found["results"][3]["error"]["code"] == "queue_full"


def test_a_key_that_an_ended_task_keeps_needs_no_room_either(
    most_three: FlaskClient, connection: psycopg.Connection[Any]
) -> None:
    given = {"type": "echo", "queue": "mail", "unique_key": "a", "unique_for": 3600}
    first = most_three.post("/api/v1/tasks", json=given).json["id"]
    most_three.post(f"/api/v1/tasks/{first}/cancel")
    until(lambda: create(most_three) == 503, SECONDS)

    assert most_three.post("/api/v1/tasks", json=given).json["id"] == first


def test_an_ordinary_task_is_created_by_one_statement(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    still(monkeypatch)
    client = make_app().test_client()
    create(client, "default")  # with which depths and types are read
    database = client.application.extensions["taskflow"].database
    calls: list[str] = []
    for name in ("fetch", "call", "call_direct"):
        ask = getattr(database, name)
        monkeypatch.setattr(database, name, lambda *given, ask=ask, name=name: calls.append(name) or ask(*given))

    assert post(client, "a", queue="default").status_code == 201
    assert calls == ["call_direct"]


def results(client: FlaskClient, *queues: str) -> list[str]:
    """What a partial bulk says of a task in each of these queues."""
    tasks = [{"type": "echo", "queue": queue} for queue in queues]
    answer = client.post("/api/v1/tasks/bulk?partial=true", json={"tasks": tasks})
    assert answer.status_code == 200
    found = [result["error"]["code"] if "error" in result else "stored" for result in answer.json["results"]]
    assert (answer.json["created"], answer.json["failed"]) == (found.count("stored"), found.count("queue_full"))
    return found


@pytest.mark.parametrize("setting", [{}, {"max_depth": 3}])
def test_a_partial_bulk_stores_the_first_that_a_queue_has_room_for(
    make_app: Callable[..., Flask], connection: psycopg.Connection[Any], setting: dict[str, int]
) -> None:
    client = make_app(**setting).test_client()
    limit(connection, "mail", 1_000_000 if setting else 3)

    assert results(client, *["mail", "other"] * 3, *["mail"] * 2) == ["stored"] * 6 + ["queue_full"] * 2
    assert results(client, "mail", "mail") == ["queue_full"] * 2
    refused = client.post("/api/v1/tasks/bulk", json={"tasks": [{"type": "a"}, {"type": "a", "queue": "mail"}]})
    assert (refused.status_code, refused.json["code"]) == (503, "queue_full")
    rows = connection.execute("SELECT queue, count(*) FROM taskflow.tasks GROUP BY 1 ORDER BY 1").fetchall()
    assert rows == [("mail", 3), ("other", 3)]


def test_a_partial_bulk_is_partial_where_the_database_finds_a_queue_full(
    client: FlaskClient, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have filled it since the depths were read."""
    monkeypatch.setattr(backpressure.Levels, "admit", lambda *_: True)
    limit(connection, "mail", 3)
    limit(connection, "full", 1)
    fill(connection, "full", 1)
    statements: list[int] = []
    insert = bulk._insert
    monkeypatch.setattr(bulk, "_insert", lambda *given: statements.append(len(given[2])) or insert(*given))

    found = results(client, *["mail", "other", "full"] * 300)

    assert found[0::3] == ["stored"] * 3 + ["queue_full"] * 297
    assert (set(found[1::3]), set(found[2::3])) == ({"stored"}, {"queue_full"})
    assert len(statements) < 50, "each task of a full queue was tried"


def test_only_queues_that_could_be_full_are_counted_and_up_to_their_limit(
    connection: psycopg.Connection[Any],
) -> None:
    for number in range(20):
        limit(connection, f"empty {number}".replace(" ", "-"), 1000)
    limit(connection, "mail", 500)
    fill(connection, "mail", 20_000)
    connection.execute("ANALYZE taskflow.tasks_live")
    scans = "SELECT seq_scan, pg_stat_force_next_flush() FROM pg_stat_user_tables WHERE relname = 'tasks_live'"
    connection.execute("SELECT pg_stat_force_next_flush()")
    before = connection.execute(scans.encode()).fetchone()

    read = {row[0]: row[1:] for row in connection.execute(str(SELECT_DEPTHS).encode())}

    connection.execute("SELECT pg_stat_force_next_flush()")
    after = connection.execute(scans.encode()).fetchone()
    assert before is not None
    assert after is not None
    assert after[0] == before[0], "the table was read from its beginning"
    assert read["mail"] == (500, 500)
    assert read["empty-7"] == (1000, 0)
    assert "default" not in read  # its limit is beyond what the table can hold


def test_the_bound_on_what_the_table_can_hold_is_one(connection: psycopg.Connection[Any]) -> None:
    """The smallest task there can be takes more than the hundred bytes that the statement reckons with."""
    connection.execute("ALTER TABLE taskflow.tasks ALTER created_by SET DEFAULT ''")
    connection.execute("INSERT INTO taskflow.tasks (type, queue) SELECT 'e', 'q' FROM generate_series(1, 20000)")
    row = connection.execute("SELECT pg_relation_size('taskflow.tasks_live') / 100").fetchone()
    assert row is not None
    assert row[0] > 20_000


def test_the_database_is_asked_no_more_than_it_is_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading that takes long is not repeated at once for a queue that looks full."""

    class Slow:
        readings = 0

        def fetch(self, _statement: Any) -> list[Any]:
            self.readings += 1
            clock.now += 0.04
            return [type("Row", (), {"queue": "mail", "max_depth": 1, "depth": 1})]

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock, database = Clock(), Slow()
    monkeypatch.setattr(backpressure, "time", clock)
    monkeypatch.setattr("taskflow.web.reporting.fresh.time", clock)
    found = Backpressure(database)  # type: ignore[arg-type]
    for _ in range(1000):
        with pytest.raises(Problem):
            found.admit("mail")
        clock.now += 0.002

    assert database.readings <= 6  # two seconds, two and a half readings each: 20 x 40 ms is longer than half a second
