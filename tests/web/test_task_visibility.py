"""A key that is limited to some queues: what lies in others does not exist for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.store.test_filters import Fill
from tests.web.limited import limited_to


@pytest.fixture
def limited(make_app: Callable[..., Flask], connection: psycopg.Connection[Any]) -> FlaskClient:
    """A client with a key for the queue `mine` alone."""
    return limited_to(make_app, connection, "mine")


@pytest.fixture
def tasks(connection: psycopg.Connection[Any]) -> dict[str, int]:
    fill = Fill(connection)
    return {
        f"{queue} {state}": fill(state, queue=queue)
        for queue in ("mine", "other")
        for state in ("pending", "completed", "dead_letter")
    }


def mine(tasks: dict[str, int]) -> set[str]:
    return {str(task) for name, task in tasks.items() if name.startswith("mine")}


def test_a_list_and_its_figures_show_its_own_queues_alone(limited: FlaskClient, tasks: dict[str, int]) -> None:
    for sort in ("-id", "id", "-created_at", "scheduled_at", "-priority", "-completed_at"):
        page = limited.get("/api/v1/tasks", query_string={"sort": sort}).json
        assert {task["id"] for task in page["tasks"]} == mine(tasks)
        assert page["total"] == 3
    assert page["queue_depths"] == {"mine": 1}
    assert (page["total_pending"], page["dlq_size"]) == (1, 1)
    assert limited.get("/api/v1/tasks?queue=other").json["tasks"] == []


def test_one_task_of_another_queue_is_not_found(limited: FlaskClient, tasks: dict[str, int]) -> None:
    for name in ("other pending", "other completed"):
        url = f"/api/v1/tasks/{tasks[name]}"
        answers = [
            limited.get(f"{url}/why"), limited.patch(url, json={"priority": 3}), limited.delete(url),
            limited.delete(f"{url}?purge=true"), limited.delete(url.replace("tasks", "jobs")),
            limited.post(f"{url}/cancel"), limited.post(f"{url}/retry"),
        ]  # fmt: skip
        assert {answer.status_code for answer in answers} == {404}


def test_no_task_is_moved_to_another_queue(limited: FlaskClient, tasks: dict[str, int]) -> None:
    patched = limited.patch(f"/api/v1/tasks/{tasks['mine pending']}", json={"queue": "other"})
    retried = limited.post(f"/api/v1/tasks/{tasks['mine completed']}/retry", json={"queue": "other"})
    many = limited.post("/api/v1/tasks/batch/retry", json={"filter": "state:completed", "queue": "other"})
    bulk = limited.post("/api/v1/tasks/bulk", json={"tasks": [{"type": "a", "queue": "mine"}, {"type": "a"}]})
    assert {answer.status_code for answer in (patched, retried, many, bulk)} == {403}
    assert {answer.json["code"] for answer in (patched, retried, many, bulk)} == {"queue_not_allowed"}


def test_a_batch_reaches_its_own_queues_alone(
    limited: FlaskClient, tasks: dict[str, int], connection: psycopg.Connection[Any]
) -> None:
    everything = [str(task) for task in tasks.values()]
    for action in ("cancel", "retry", "delete"):
        answer = limited.post(f"/api/v1/tasks/batch/{action}", json={"ids": everything, "dry_run": True}).json
        assert answer["matched"] == 3
    limited.post("/api/v1/tasks/batch/cancel", json={"filter": "id:0.."})
    limited.post("/api/v1/tasks/batch/delete", json={"ids": everything})
    left = connection.execute("SELECT DISTINCT queue FROM taskflow.tasks").fetchall()
    assert left == [("other",)]
    states = connection.execute("SELECT state::text FROM taskflow.tasks ORDER BY id").fetchall()
    assert states == [("pending",), ("completed",), ("dead_letter",)]


@pytest.mark.parametrize("on_conflict", ["skip", "replace", "error"])
def test_a_unique_key_of_another_queue_neither_shows_nor_changes_its_task(
    limited: FlaskClient, connection: psycopg.Connection[Any], on_conflict: str
) -> None:
    connection.execute(
        "INSERT INTO taskflow.tasks (type, queue, payload, unique_key) VALUES ('t', 'other', '{\"a\": 1}', 'u')"
    )
    task = {"type": "t", "queue": "mine", "unique_key": "u", "on_conflict": on_conflict, "payload": {"a": 2}}
    free = {"type": "t", "queue": "mine"}
    one = limited.post("/api/v1/tasks", json=task)
    again = limited.post("/api/v1/tasks", json=task, headers={"Idempotency-Key": "k"})
    many = limited.post("/api/v1/tasks/bulk", json={"tasks": [free, task]})
    assert {(answer.status_code, answer.json["code"]) for answer in (one, again, many)} == {(409, "unique_conflict")}
    assert not any("conflicting_task_id" in answer.json for answer in (one, again, many))
    partly = limited.post("/api/v1/tasks/bulk?partial=true", json={"tasks": [free, task]}).json
    assert (partly["created"], partly["results"][1]["error"]["code"]) == (1, "unique_conflict")
    assert "conflicting_task_id" not in partly["results"][1]["error"]
    rows = connection.execute("SELECT queue, payload FROM taskflow.tasks ORDER BY queue").fetchall()
    assert rows == [("mine", {}), ("other", {"a": 1})]


def test_a_task_of_another_queue_that_has_taken_the_key_of_an_ended_one_is_not_told_of(
    limited: FlaskClient, connection: psycopg.Connection[Any]
) -> None:
    ended = Fill(connection)("dead_letter", queue="mine", unique_key="u")
    rival = Fill(connection)("pending", queue="other", unique_key="u")
    for path, body in [
        (f"/api/v1/tasks/{ended}/retry", None),
        (f"/admin/tasks/{ended}/retry", None),
        ("/api/v1/dlq/retry", {"task_id": str(ended)}),
    ]:
        answer = limited.post(path, json=body)
        assert (answer.status_code, answer.json["code"]) == (409, "unique_conflict")
        assert "conflicting_task_id" not in answer.json
        assert answer.json["detail"] == f'task {ended} cannot run again: a live task has its unique key "u"'
    connection.execute("UPDATE taskflow.tasks SET queue = 'mine' WHERE id = %s", [rival])
    assert limited.post(f"/api/v1/tasks/{ended}/retry").json["conflicting_task_id"] == str(rival)


@pytest.mark.parametrize("on_conflict", ["skip", "error"])
def test_an_ended_task_of_another_queue_that_has_its_key_still_is_not_told_of(
    limited: FlaskClient, connection: psycopg.Connection[Any], on_conflict: str
) -> None:
    connection.execute(
        "SELECT taskflow.cancel(id) FROM taskflow.enqueue('t', queue => 'other', unique_key => 'u',"
        " options => '{\"unique_for\": 60}')"
    )
    task = {"type": "t", "queue": "mine", "unique_key": "u", "on_conflict": on_conflict}
    one = limited.post("/api/v1/tasks", json=task)
    many = limited.post("/api/v1/tasks/bulk", json={"tasks": [task]})
    assert {(answer.status_code, answer.json["code"]) for answer in (one, many)} == {(409, "unique_conflict")}
    assert not any("conflicting_task_id" in answer.json for answer in (one, many))


def test_its_own_unique_key_answers_as_for_everybody(limited: FlaskClient) -> None:
    task = {"type": "t", "queue": "mine", "unique_key": "u", "payload": {"a": 1}}
    first = limited.post("/api/v1/tasks", json=task).json
    second = limited.post("/api/v1/tasks", json=task | {"on_conflict": "replace", "payload": {"a": 2}})
    assert (second.status_code, second.json["id"], second.json["payload"]) == (200, first["id"], {"a": 2})
    bulk = limited.post("/api/v1/tasks/bulk", json={"tasks": [task]}).json
    assert bulk["tasks"] == [{"id": first["id"], "created": False, "state": "pending"}]
    strict = task | {"on_conflict": "error"}
    assert limited.post("/api/v1/tasks", json=strict).json["conflicting_task_id"] == first["id"]
    many = limited.post("/api/v1/tasks/bulk", json={"tasks": [strict]})
    assert many.json["conflicting_task_id"] == first["id"]
