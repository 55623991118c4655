"""POST /tasks/batch/{cancel,retry,delete}: many tasks by their ids or by a filter."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from taskflow.web.tasks import batches
from tests.store.test_filters import Fill
from tests.web.conftest import Engine

ACTIONS = ["cancel", "retry", "delete"]


@pytest.fixture
def fill(connection: psycopg.Connection[Any]) -> Fill:
    return Fill(connection)


def batch(client: FlaskClient, action: str, **body: Any) -> Any:
    response = client.post(f"/api/v1/tasks/batch/{action}", json=body)
    assert response.status_code == 200, response.json
    return response.json


def states(connection: psycopg.Connection[Any]) -> dict[int, str]:
    return dict(connection.execute("SELECT id, state FROM taskflow.task_list").fetchall())


@pytest.fixture
def one_of_each(fill: Fill) -> dict[str, int]:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    made = {
        state: fill(state)
        for state in ("pending", "running", "blocked", "completed", "cancelled", "failed", "dead_letter")
    }
    return {**made, "retrying": fill("retrying", run_at=ahead), "scheduled": fill(run_at=ahead)}


LIVING = {"pending", "running", "blocked", "retrying", "scheduled"}


@pytest.mark.parametrize("how", ["ids", "filter"])
def test_cancel_reaches_what_lives(
    client: FlaskClient, connection: psycopg.Connection[Any], one_of_each: dict[str, int], how: str
) -> None:
    chosen = {"ids": [str(task) for task in one_of_each.values()]} if how == "ids" else {"filter": "type:echo"}
    answer = batch(client, "cancel", **chosen)
    assert answer == {"matched": 9 if how == "ids" else 5, "affected": 5, "dry_run": False}
    after = states(connection)
    assert {after[one_of_each[state]] for state in LIVING - {"running"}} == {"cancelled"}
    assert client.get(f"/api/v1/tasks/{one_of_each['running']}").json["cancel_requested"] is True
    assert after[one_of_each["completed"]] == "completed"
    assert batch(client, "cancel", **chosen)["affected"] == 0


@pytest.mark.parametrize("how", ["ids", "filter"])
def test_retry_reaches_what_has_ended(
    client: FlaskClient, connection: psycopg.Connection[Any], one_of_each: dict[str, int], how: str
) -> None:
    chosen = {"ids": [str(task) for task in one_of_each.values()]} if how == "ids" else {"filter": "type:echo"}
    answer = batch(client, "retry", **chosen, payload={"new": 1}, queue="again", priority="high")
    assert answer == {"matched": 9 if how == "ids" else 4, "affected": 4, "dry_run": False}
    for state in ("completed", "cancelled", "failed", "dead_letter"):
        task = client.get(f"/api/v1/tasks/{one_of_each[state]}").json
        assert (task["state"], task["payload"], task["queue"], task["priority"]) == (
            "pending",
            {"new": 1},
            "again",
            "high",
        )
    assert states(connection)[one_of_each["running"]] == "running"


@pytest.mark.parametrize("how", ["ids", "filter"])
def test_delete_removes_what_has_ended(
    client: FlaskClient, connection: psycopg.Connection[Any], one_of_each: dict[str, int], how: str
) -> None:
    chosen = {"ids": [str(task) for task in one_of_each.values()]} if how == "ids" else {"filter": "type:echo"}
    assert batch(client, "delete", **chosen)["affected"] == 4
    assert set(states(connection)) == {one_of_each[state] for state in LIVING}


def test_sent_again_until_nothing_is_affected_a_batch_comes_to_an_end(
    client: FlaskClient, connection: psycopg.Connection[Any], fill: Fill
) -> None:
    """What stays as it is goes on being matched."""
    ended, taken = fill("failed"), fill("failed", unique_key="k")
    client.post("/api/v1/tasks", json={"type": "echo", "unique_key": "k"})
    chosen = {"ids": [str(ended), str(taken)]}
    assert [batch(client, "retry", **chosen) for _ in range(2)] == [
        {"matched": 2, "affected": affected, "dry_run": False} for affected in (1, 0)
    ]
    done = client.application.test_client().get("/openapi.json").json["components"]["schemas"]["BatchDone"]
    assert "until this is 0" in done["properties"]["affected"]["description"]


@pytest.mark.parametrize("action", ACTIONS)
def test_a_dry_run_counts_and_changes_nothing(
    client: FlaskClient, connection: psycopg.Connection[Any], one_of_each: dict[str, int], action: str
) -> None:
    before = states(connection)
    real = {"cancel": 5, "retry": 4, "delete": 4}[action]
    assert batch(client, action, filter="type:echo", dry_run=True) == {"matched": real, "affected": 0, "dry_run": True}
    assert states(connection) == before
    assert connection.execute("SELECT count(*) FROM taskflow.audit_log").fetchone() == (0,)


def test_many_are_done_in_chunks_and_each_chunk_is_in_the_audit_log(
    admin: FlaskClient, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "CHUNK", 10)
    connection.execute("INSERT INTO taskflow.tasks (type) SELECT 'a' FROM generate_series(1, 35)")
    assert batch(admin, "cancel", filter="type:a") == {"matched": 35, "affected": 35, "dry_run": False}
    records = connection.execute("SELECT action, details FROM taskflow.audit_log ORDER BY id").fetchall()
    assert {action for action, _ in records} == {"task.cancel_many"}
    assert [details["affected"] for _, details in records] == [10, 10, 10, 5]
    assert records[0][1]["filter"] == "type:a"


def test_a_retry_at_a_pace_makes_them_due_one_after_the_other(
    client: FlaskClient, connection: psycopg.Connection[Any], fill: Fill
) -> None:
    tasks = [fill("dead_letter") for _ in range(5)]
    start = datetime.now(UTC)
    assert batch(client, "retry", filter="state:dead_letter", per_second=0.5)["affected"] == 5
    due = connection.execute("SELECT id, run_at FROM taskflow.tasks_live ORDER BY run_at").fetchall()
    assert [task for task, _ in due] == tasks
    gaps = [(later - earlier).total_seconds() for (_, earlier), (_, later) in itertools.pairwise(due)]
    assert gaps == pytest.approx([2.0] * 4, abs=0.001)
    assert abs((due[0][1] - start).total_seconds()) < 5


def test_a_retry_may_begin_later(client: FlaskClient, connection: psycopg.Connection[Any], fill: Fill) -> None:
    for _ in range(2):
        fill("failed")
    batch(client, "retry", filter="state:failed", scheduled_at="2190-01-01T00:00:00Z", per_second=1)
    due = connection.execute("SELECT run_at FROM taskflow.tasks_live ORDER BY id").fetchall()
    first = datetime(2190, 1, 1, tzinfo=UTC)
    assert [at for (at,) in due] == [first, first + timedelta(seconds=1)]


def test_however_slow_the_pace_the_times_can_be_stored(
    client: FlaskClient, connection: psycopg.Connection[Any], fill: Fill
) -> None:
    for _ in range(3):
        fill("failed")
    more = {"scheduled_at": "2190-01-01T00:00:00Z", "per_second": 1e-300}
    assert batch(client, "retry", filter="state:failed", **more)["affected"] == 3
    due = connection.execute("SELECT run_at FROM taskflow.tasks_live ORDER BY id").fetchall()
    assert [at.year for (at,) in due] == [2190, 2200, 2200]


@pytest.mark.parametrize("action", ["cancel", "delete"])
def test_a_pace_that_has_no_place_in_a_request_ends_it_after_the_first_portion(
    client: FlaskClient, fill: Fill, action: str
) -> None:
    for _ in range(3):
        fill("pending" if action == "cancel" else "failed")
    began = time.monotonic()
    answer = batch(client, action, filter="type:echo", per_second=1e-300)
    assert (answer["matched"], answer["affected"]) == (3, 1)
    assert time.monotonic() - began < 10


def test_cancelling_at_a_pace_takes_its_time(client: FlaskClient, fill: Fill) -> None:
    for _ in range(4):
        fill()
    began = time.monotonic()
    assert batch(client, "cancel", filter="type:echo", per_second=2)["affected"] == 4
    assert time.monotonic() - began >= 1.4


def test_what_a_request_has_no_time_for_is_counted_and_left(
    client: FlaskClient, connection: psycopg.Connection[Any], fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LONGEST_REQUEST_SECONDS", 0.3)
    for _ in range(6):
        fill()
    answer = batch(client, "cancel", filter="type:echo", per_second=2)
    assert answer["matched"] == 6
    assert 0 < answer["affected"] < 6
    monkeypatch.undo()
    assert batch(client, "cancel", filter="type:echo")["affected"] == 6 - answer["affected"]


def test_a_task_whose_key_is_taken_again_is_left(client: FlaskClient, engine: Engine) -> None:
    first = client.post("/api/v1/tasks", json={"type": "echo", "unique_key": "u"}).json["id"]
    engine.run("failed", final=True)
    client.post("/api/v1/tasks", json={"type": "echo", "unique_key": "u"})
    other = client.post("/api/v1/tasks", json={"type": "other"}).json["id"]
    engine.run("failed", final=True, type_="other")
    assert batch(client, "retry", ids=[first, other]) == {"matched": 2, "affected": 1, "dry_run": False}


def test_ids_that_are_not_there_are_not_counted(client: FlaskClient, fill: Fill) -> None:
    task = str(fill())
    assert batch(client, "cancel", ids=[task, "999", task, "9" * 19]) == {"matched": 1, "affected": 1, "dry_run": False}
    assert batch(client, "cancel", ids=[]) == {"matched": 0, "affected": 0, "dry_run": False}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"), ({"filter": ""}, "invalid_request"), ({"filter": "  "}, "invalid_request"),
        ({"ids": ["1"], "filter": "type:a"}, "invalid_request"), ({"ids": [1]}, "invalid_request"),
        ({"ids": ["x"]}, "invalid_request"), ({"filter": "typ:a"}, "invalid_filter"),
        ({"filter": "type:a", "per_second": 0}, "invalid_request"), ({"ids": ["1"], "all": True}, "invalid_request"),
        ({"ids": ["1"] * 10_001}, "invalid_request"),
    ],
)  # fmt: skip
def test_which_tasks_must_be_said(client: FlaskClient, action: str, body: dict[str, Any], code: str) -> None:
    response = client.post(f"/api/v1/tasks/batch/{action}", json=body)
    assert (response.status_code, response.json["code"]) == (422, code)


def test_the_content_of_all_history_is_not_looked_through(client: FlaskClient) -> None:
    for action in ("retry", "delete"):
        response = client.post(f"/api/v1/tasks/batch/{action}", json={"filter": "payload.a:1"})
        assert (response.status_code, response.json["code"]) == (422, "filter_too_broad")
    assert batch(client, "cancel", filter="payload.a:1")["matched"] == 0


def test_the_older_name_has_batches_too(client: FlaskClient, fill: Fill) -> None:
    fill()
    assert client.post("/api/v1/jobs/batch/cancel", json={"filter": "type:echo"}).json["affected"] == 1
