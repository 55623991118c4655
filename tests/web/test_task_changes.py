"""PATCH, DELETE and why of one task; what an operator changes is in the audit log."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg.types.json import Jsonb

from tests.web.conftest import Engine
from tests.web.limited import limited_to


def create(client: FlaskClient, **body: Any) -> str:
    return str(client.post("/api/v1/tasks", json={"type": "echo", **body}).json["id"])


def audit(connection: psycopg.Connection[Any]) -> list[Any]:
    return connection.execute("SELECT action, target, actor FROM taskflow.audit_log ORDER BY id").fetchall()


def test_a_waiting_task_is_changed_in_what_the_body_names(client: FlaskClient) -> None:
    task = create(client, payload={"a": 1}, tags=["x"], metadata={"m": 1}, delay=60)
    before = client.get(f"/api/v1/tasks/{task}").json
    body = {"payload": {"b": 2}, "priority": "critical", "queue": "other", "tags": ["y", "z"], "metadata": {}}

    after = client.patch(f"/api/v1/tasks/{task}", json=body)

    assert after.status_code == 200
    changed = {name for name in before if before[name] != after.json[name]}
    assert changed == {"payload", "priority", "priority_value", "queue", "tags", "metadata", "updated_at", "version"}
    assert after.json["payload"] == {"b": 2}
    assert (after.json["metadata"], after.json["tags"]) == ({}, ["y", "z"])
    assert after.json["version"] == before["version"] + 1
    assert client.get("/api/v1/queues/other").status_code == 200

    now = client.patch(f"/api/v1/tasks/{task}", json={"scheduled_at": "2000-01-01T00:00:00Z"}).json
    assert now["state"] == "pending"
    later = client.patch(f"/api/v1/tasks/{task}", json={"scheduled_at": "2190-01-01T00:00:00+01:00"}).json
    assert (later["state"], later["scheduled_at"]) == ("scheduled", "2189-12-31T23:00:00Z")


DEFAULTS = {"payload": {}, "metadata": {}, "tags": [], "priority": "normal", "queue": "default"}
GIVEN = {"payload": {"a": 1}, "metadata": {"m": 1}, "tags": ["x"], "priority": "high", "queue": "other"}


@pytest.mark.parametrize("names", [*([name] for name in DEFAULTS), list(DEFAULTS)])
def test_null_gives_back_the_default_of_a_new_task(client: FlaskClient, names: list[str]) -> None:
    task = create(client, **GIVEN)
    after = client.patch(
        f"/api/v1/tasks/{task}",
        data=json.dumps(dict.fromkeys(names)),
        content_type="application/merge-patch+json",
    )
    assert (after.status_code, after.json["version"]) == (200, 2)
    assert {name: after.json[name] for name in DEFAULTS} == GIVEN | {name: DEFAULTS[name] for name in names}


def test_a_time_of_null_is_now(client: FlaskClient, connection: psycopg.Connection[Any], engine: Engine) -> None:
    task = create(client, delay=3600)
    since = connection.execute("SELECT now()").fetchone()
    after = client.patch(f"/api/v1/tasks/{task}", json={"scheduled_at": None, "tags": ["x"]}).json
    assert (after["state"], after["scheduled_at"]) == ("pending", after["updated_at"])
    assert since is not None
    assert since[0] <= datetime.fromisoformat(after["scheduled_at"])
    assert engine.claim() == int(task)


def test_null_is_held_to_what_a_value_is(make_app: Callable[..., Flask], connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "INSERT INTO taskflow.task_types (type, schema) VALUES ('echo', %s)", [Jsonb({"required": ["to"]})]
    )
    client = limited_to(make_app, connection, "mine")
    task = create(client, queue="mine", payload={"to": 1})
    payload = client.patch(f"/api/v1/tasks/{task}", json={"payload": None})
    queue = client.patch(f"/api/v1/tasks/{task}", json={"queue": None})
    assert (payload.status_code, payload.json["code"]) == (422, "invalid_payload")
    assert (queue.status_code, queue.json["code"]) == (403, "queue_not_allowed")
    assert client.get(f"/api/v1/tasks/{task}").json["version"] == 1


def test_a_change_of_nothing_changes_nothing(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    task = create(client)
    assert client.patch(f"/api/v1/tasks/{task}", json={}).json["version"] == 1
    assert audit(connection) == []


def test_who_was_slower_is_told_so(client: FlaskClient) -> None:
    task = create(client)
    url = f"/api/v1/tasks/{task}"
    etag = client.get(url).headers["ETag"]

    first = client.patch(url, json={"priority": 3}, headers={"If-Match": etag})
    second = client.patch(url, json={"priority": 0}, headers={"If-Match": etag})

    assert (first.status_code, second.status_code) == (200, 412)
    assert client.get(url).json["priority"] == "critical"
    again = client.patch(url, json={"priority": 0}, headers={"If-Match": first.headers["ETag"]})
    assert again.status_code == 200


def test_one_of_many_changes_at_once_wins(app: Flask) -> None:
    task = create(app.test_client())
    etag = app.test_client().get(f"/api/v1/tasks/{task}").headers["ETag"]
    codes: list[int] = []

    def change(priority: int) -> None:
        response = app.test_client().patch(
            f"/api/v1/tasks/{task}", json={"priority": priority}, headers={"If-Match": etag}
        )
        codes.append(response.status_code)

    threads = [threading.Thread(target=change, args=[number % 4]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] + [412] * 7


def test_what_runs_or_has_ended_is_not_changed(client: FlaskClient, engine: Engine) -> None:
    task = create(client)
    engine.claim()
    running = client.patch(f"/api/v1/tasks/{task}", json={"priority": 3})
    engine.finish(task)
    ended = client.patch(f"/api/v1/tasks/{task}", json={"priority": 3})
    assert [(r.status_code, r.json["code"], r.json["state"]) for r in (running, ended)] == [
        (409, "wrong_state", "running"),
        (409, "wrong_state", "completed"),
    ]
    assert client.patch("/api/v1/tasks/999", json={"priority": 3}).status_code == 404


def test_a_new_payload_must_fit_the_type(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "INSERT INTO taskflow.task_types (type, schema) VALUES ('echo', %s)", [Jsonb({"required": ["to"]})]
    )
    task = create(client, payload={"to": 1})
    response = client.patch(f"/api/v1/tasks/{task}", json={"payload": {}})
    assert (response.status_code, response.json["code"]) == (422, "invalid_payload")
    for body in ({"payload": []}, {"state": "pending"}, {"tags": ["x"] * 21}, {"queue": "a b"}, {"priority": 4}):
        assert client.patch(f"/api/v1/tasks/{task}", json=body).status_code == 422, body


def test_delete_cancels(client: FlaskClient, engine: Engine) -> None:
    waiting, running, ended = (create(client) for _ in range(3))
    assert client.delete(f"/api/v1/tasks/{waiting}").json["state"] == "cancelled"
    assert engine.claim() == int(running)
    response = client.delete(f"/api/v1/tasks/{running}")
    assert (response.status_code, response.json["cancel_requested"]) == (202, True)
    engine.claim()
    engine.finish(ended)
    assert client.delete(f"/api/v1/tasks/{ended}").status_code == 409
    assert client.delete(f"/api/v1/tasks/{waiting}").status_code == 200


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_purge_removes_an_ended_task_and_its_executions(
    client: FlaskClient, engine: Engine, connection: psycopg.Connection[Any], outcome: str
) -> None:
    task, other = create(client), create(client)
    assert client.delete(f"/api/v1/tasks/{task}?purge=true").status_code == 409
    for _ in range(2):
        engine.run(outcome, final=True)

    assert client.delete(f"/api/v1/tasks/{task}?purge=true").json == {"message": "task removed", "task_id": task}

    assert client.get(f"/api/v1/tasks/{task}").status_code == 404
    assert client.get(f"/api/v1/tasks/{task}/executions").status_code == 404
    assert connection.execute("SELECT task_id FROM taskflow.executions").fetchall() == [(int(other),)]
    assert client.delete(f"/api/v1/tasks/{task}?purge=true").status_code == 404


def test_the_older_name_removes_what_waits_and_what_has_ended(client: FlaskClient, engine: Engine) -> None:
    ended = create(client)
    engine.run()
    running = create(client)
    engine.claim()
    waiting = create(client, delay=60)

    for task in (ended, waiting):
        response = client.delete(f"/api/v1/jobs/{task}")
        assert (response.status_code, response.json) == (200, {"message": "job deleted"})
        assert client.delete(f"/api/v1/jobs/{task}").status_code == 404
    refused = client.delete(f"/api/v1/jobs/{running}")
    assert (refused.status_code, refused.json["code"]) == (409, "wrong_state")
    assert client.get(f"/api/v1/jobs/{running}").json["cancel_requested"] is False


def test_every_change_is_in_the_audit_log_and_no_refusal(
    admin: FlaskClient, engine: Engine, connection: psycopg.Connection[Any]
) -> None:
    task = create(admin)
    admin.patch(f"/api/v1/tasks/{task}", json={"priority": 2, "payload": {"password": "x"}})
    admin.post(f"/api/v1/tasks/{task}/cancel")
    admin.patch(f"/api/v1/tasks/{task}", json={"priority": 2})
    admin.post(f"/api/v1/tasks/{task}/retry")
    admin.post(f"/api/v1/tasks/{task}/retry")
    engine.run()
    admin.post(f"/api/v1/tasks/{task}/cancel")
    admin.delete(f"/api/v1/tasks/{task}?purge=true")
    admin.delete(f"/api/v1/tasks/{task}?purge=true")

    actor = audit(connection)[0][2]
    assert audit(connection) == [
        (action, task, actor) for action in ("task.change", "task.cancel", "task.retry", "task.delete")
    ]
    assert "password" not in str(connection.execute("SELECT details FROM taskflow.audit_log").fetchall())


def why(client: FlaskClient, task: str) -> Any:
    response = client.get(f"/api/v1/tasks/{task}/why")
    assert response.status_code == 200
    return response.json


def add_worker(connection: psycopg.Connection[Any], **columns: Any) -> None:
    values = {
        "hostname": "h", "pid": 1, "types": ["echo"], "concurrency": 1, "version": "1", "queues": None,
        "state": "running", "active_tasks": 0, **columns,
    }  # fmt: skip
    connection.execute("DELETE FROM taskflow.workers")
    connection.execute(
        f"INSERT INTO taskflow.workers ({', '.join(values)}) VALUES ({', '.join(['%s'] * len(values))})",
        list(values.values()),
    )


def test_why_names_what_is_between_a_task_and_a_worker(
    client: FlaskClient, connection: psycopg.Connection[Any], engine: Engine
) -> None:
    task = create(client, queue="q")

    def code() -> str:
        found = why(client, task)
        assert found["reason"].endswith(".")
        return str(found["code"])

    assert code() == "no_worker"
    add_worker(connection, queues=["other"])
    assert code() == "no_worker_for_queue"
    add_worker(connection, types=["mail"])
    assert code() == "no_worker_for_type"
    assert "cancel the task and create it anew" in why(client, task)["fix"], "PATCH takes no type"
    add_worker(connection, state="paused")
    assert code() == "workers_paused"
    add_worker(connection, active_tasks=1)
    assert code() == "workers_busy"
    first = create(client, queue="q", priority="high")
    assert code() == "waiting_its_turn"
    client.post(f"/api/v1/tasks/{first}/cancel")
    add_worker(connection)
    assert code() == "next"
    client.post("/api/v1/queues/q/pause")
    assert code() == "queue_paused"
    assert "/api/v1/queues/q/resume" in why(client, task)["fix"]
    client.post("/api/v1/queues/q/resume")
    client.patch(f"/api/v1/tasks/{task}", json={"scheduled_at": "2190-01-01T00:00:00Z"})
    assert code() == "scheduled"
    assert "2190-01-01 00:00:00 UTC" in why(client, task)["reason"]
    client.patch(f"/api/v1/tasks/{task}", json={"scheduled_at": "2000-01-01T00:00:00Z"})
    engine.claim(queue="q")
    assert code() == "running"
    client.post(f"/api/v1/tasks/{task}/cancel")
    assert code() == "cancel_requested"
    engine.finish(task, "cancelled")
    assert code() == "cancelled"


def test_why_names_a_limit_that_is_reached(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    limits = {
        "type_paused": {"type_limits": {"echo": {"paused": True}}},
        "max_workers": {"max_workers": 1},
        "rate_limit": {"rate_limit": 1, "rate_period": 3600},
        "type_rate_limit": {"type_limits": {"echo": {"rate_limit": 1, "rate_period": 3600}}},
    }
    for code, settings in limits.items():
        assert client.put(f"/api/v1/queues/{code}", json=settings).status_code == 201
        create(client, queue=code)
    add_worker(connection)
    tasks = {code: create(client, queue=code) for code in limits}
    for code in limits:
        connection.execute(
            "SELECT * FROM taskflow.claim_limited(1, %s, '{echo}', 1, 1,"
            " array_fill('-infinity'::timestamptz, ARRAY[4]), array_fill(0::bigint, ARRAY[4]), 0)",
            [code],
        )

    found = {code: why(client, task) for code, task in tasks.items()}

    assert {code: answer["code"] for code, answer in found.items()} == {code: code for code in limits}
    assert all(f"PATCH /api/v1/queues/{code}" in answer["fix"] for code, answer in found.items())
    assert "; the next may at " in found["rate_limit"]["reason"]


def test_why_names_the_key_that_a_task_waits_for(
    client: FlaskClient, engine: Engine, connection: psycopg.Connection[Any]
) -> None:
    create(client, concurrency_key="ada")
    task = create(client, concurrency_key="ada")
    add_worker(connection)
    engine.claim()
    assert why(client, task)["code"] == "key_limit"  # not looked at yet
    connection.execute(
        "SELECT * FROM taskflow.claim_tasks(1, '{default}', '{echo}', 5,"
        " array_fill('-infinity'::timestamptz, ARRAY[4]), array_fill(0::bigint, ARRAY[4]))"
    )
    assert client.get(f"/api/v1/tasks/{task}").json["state"] == "blocked"
    assert why(client, task) == {
        "code": "key_limit",
        "reason": "As many tasks of the queue 'default' with the concurrency key 'ada' run as may at once, 1.",
        "fix": "Wait for one to end, or raise the limit: PATCH /api/v1/queues/default with key_limit.",
    }


@pytest.mark.parametrize(
    ("outcome", "details", "code"),
    [("succeeded", {}, "completed"), ("failed", {"error": "boom"}, "retrying"),
     ("failed", {"error": "boom", "final": True}, "dead_letter")],
)  # fmt: skip
def test_why_of_a_task_that_ran(
    client: FlaskClient, engine: Engine, outcome: str, details: dict[str, Any], code: str
) -> None:
    task = create(client)
    engine.run(outcome, **details)
    found = why(client, task)
    assert found["code"] == code
    if code == "dead_letter":
        assert "boom" in found["reason"]
        assert f"/api/v1/tasks/{task}/retry" in found["fix"]


def test_why_of_no_task_is_404(client: FlaskClient) -> None:
    assert client.get("/api/v1/tasks/77/why").status_code == 404
