"""GET, executions, cancel and retry of one task."""

from __future__ import annotations

import threading
import time
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.web.conftest import Engine

NO_IDS = [
    "0", "999999", "-1", "1.0", "abc", "01", "9" * 19, "9" * 31, "1" + "0" * 5000, "%00", "1%00", "..", "\u0663", "1e3",
    "1;drop table", "%FF", " 1",
]  # fmt: skip

BIG = {"n": 10**30, "f": 0.1}


def create(client: FlaskClient, **body: Any) -> str:
    response = client.post("/api/v1/tasks", json={"type": "echo", **body})
    assert response.status_code == 201
    return str(response.json["id"])


def get(client: FlaskClient, task_id: str) -> Any:
    return client.get(f"/api/v1/tasks/{task_id}").json


class TestShow:
    def test_a_completed_task_has_its_result_and_times(self, client: FlaskClient, engine: Engine) -> None:
        task_id = create(client)
        engine.run(result={"n": 1})

        task = get(client, task_id)

        assert (task["state"], task["result"], task["attempt"]) == ("completed", {"n": 1}, 1)
        assert task["worker_id"] == "7"
        assert task["created_at"] <= task["started_at"] <= task["completed_at"]

    def test_a_retrying_task_says_when(self, client: FlaskClient, engine: Engine) -> None:
        task_id = create(client, retry_delay=100)
        engine.run("failed", error="boom")

        task = get(client, task_id)

        assert (task["state"], task["error"], task["failures"]) == ("retrying", "boom", 1)
        assert task["next_retry_at"] == task["scheduled_at"] > task["created_at"]

    def test_a_task_whose_attempts_are_used_up_is_a_dead_letter(self, client: FlaskClient, engine: Engine) -> None:
        task_id = create(client, max_retries=0)
        engine.run("failed", error="boom")

        assert (get(client, task_id)["state"], get(client, task_id)["next_retry_at"]) == ("dead_letter", None)

    @pytest.mark.parametrize("path", ["", "/executions", "/cancel", "/retry"])
    def test_whatever_is_no_id_of_a_task_is_not_found(self, client: FlaskClient, path: str) -> None:
        create(client)
        ask = client.post if path in ("/cancel", "/retry") else client.get

        for task_id in NO_IDS:
            response = ask(f"/api/v1/tasks/{task_id}{path}")

            assert (response.status_code, response.json["code"]) == (404, "task_not_found"), task_id
            assert len(response.data) < 20_000

    def test_an_unknown_parameter_is_refused(self, client: FlaskClient) -> None:
        response = client.get(f"/api/v1/tasks/{create(client)}?verbose=1")

        assert (response.status_code, response.json["errors"][0]["code"]) == (422, "unknown_field")

    def test_what_a_sql_producer_stored_and_json_readers_cannot_hold_is_no_error(
        self, client: FlaskClient, connection: psycopg.Connection[Any]
    ) -> None:
        payloads = ['{"a":' * 3000 + "1" + "}" * 3000, f'{{"n": 1{"0" * 5000}}}', '{"a":' * 300 + "1" + "}" * 300]
        for payload in payloads:
            row = connection.execute("SELECT id FROM taskflow.enqueue('echo', %s)", [payload]).fetchone()
            assert row is not None
            response = client.get(f"/api/v1/tasks/{row[0]}")
            assert (response.status_code, response.json["id"]) == (200, str(row[0]))


class TestEtag:
    def test_the_same_task_has_the_same_etag_and_is_not_sent_again(self, client: FlaskClient) -> None:
        address = f"/api/v1/tasks/{create(client)}"
        etag = client.get(address).headers["ETag"]

        again = client.get(address, headers={"If-None-Match": etag})

        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)

    @pytest.mark.parametrize(
        "body",
        [{}, {"delay": 60, "timeout": 1.5, "tags": ["ä"], "metadata": {"b": 1, "a": [None, 1e-9]}}, {"payload": BIG}],
    )
    def test_who_has_created_a_task_has_it_too(self, client: FlaskClient, body: dict[str, Any]) -> None:
        made = client.post("/api/v1/tasks", json={"type": "echo", "unique_key": "k", **body})
        there = client.post("/api/v1/jobs", json={"type": "echo", "unique_key": "k"})
        assert (made.status_code, there.status_code) == (201, 200)

        shown = client.get(made.headers["Location"])

        assert made.headers["ETag"] == there.headers["ETag"] == shown.headers["ETag"]
        assert made.json == shown.json | {"created": True}
        assert there.json == shown.json | {"created": False}

    def test_who_is_told_again_of_a_created_task_has_it_too(self, client: FlaskClient) -> None:
        first, second = (
            client.post("/api/v1/tasks", json={"type": "echo"}, headers={"Idempotency-Key": "k"}) for _ in range(2)
        )
        assert second.headers["Idempotency-Replayed"] == "true"
        tag = {"If-Match": second.headers["ETag"]}
        assert second.headers["ETag"] == first.headers["ETag"]
        assert client.patch(first.headers["Location"], json={"priority": 3}, headers=tag).status_code == 200
        assert client.patch(first.headers["Location"], json={"priority": 3}, headers=tag).status_code == 412

    def test_who_sees_secrets_has_the_one_with_them(self, admin: FlaskClient) -> None:
        made = admin.post("/api/v1/tasks", json={"type": "echo", "payload": {"password": "x"}})
        assert made.headers["ETag"] == admin.get(made.headers["Location"]).headers["ETag"]

    def test_a_changed_task_has_another(self, client: FlaskClient, engine: Engine) -> None:
        address = f"/api/v1/tasks/{create(client)}"
        etag = client.get(address).headers["ETag"]
        engine.claim()

        again = client.get(address, headers={"If-None-Match": etag})

        assert (again.status_code, again.json["state"]) == (200, "running")
        assert again.headers["ETag"] != etag

    def test_a_scheduled_task_whose_time_has_come_has_another(
        self, client: FlaskClient, connection: psycopg.Connection[Any]
    ) -> None:
        task_id = create(client, delay=1000)
        etag = client.get(f"/api/v1/tasks/{task_id}").headers["ETag"]
        connection.execute("UPDATE taskflow.tasks SET run_at = now() WHERE id = %s", [task_id])

        assert client.get(f"/api/v1/tasks/{task_id}").headers["ETag"] != etag


class TestWait:
    def test_a_task_that_has_ended_is_answered_at_once(self, client: FlaskClient, engine: Engine) -> None:
        task_id = create(client)
        engine.run()
        started = time.monotonic()

        response = client.get(f"/api/v1/tasks/{task_id}?wait=25")

        assert response.json["state"] == "completed"
        assert time.monotonic() - started < 10

    def test_the_answer_comes_when_the_task_ends(self, app: Flask, engine: Engine) -> None:
        task_id = create(app.test_client())
        answers: list[Any] = []
        waiting = threading.Thread(
            target=lambda: answers.append(app.test_client().get(f"/api/v1/tasks/{task_id}?wait=25"))
        )
        started = time.monotonic()
        waiting.start()
        engine.run(result={"done": True})
        waiting.join(20)

        assert [(a.status_code, a.json["state"], a.json["result"]) for a in answers] == [
            (200, "completed", {"done": True})
        ]
        assert time.monotonic() - started < 20

    def test_when_the_time_is_up_the_task_is_answered_as_it_is(self, client: FlaskClient) -> None:
        task_id = create(client)
        started = time.monotonic()

        response = client.get(f"/api/v1/tasks/{task_id}?wait=1")

        assert (response.status_code, response.json["state"]) == (200, "pending")
        assert time.monotonic() - started >= 1

    @pytest.mark.parametrize("wait", ["0", "26", "-1", "1.5", "x", "", "1e1", "9" * 5000, "\u0663"])
    def test_another_time_is_refused(self, client: FlaskClient, wait: str) -> None:
        response = client.get(f"/api/v1/tasks/{create(client)}?wait={wait}")

        assert (response.status_code, response.json["errors"][0]["pointer"]) == (422, "?wait")

    def test_a_time_given_twice_is_refused(self, client: FlaskClient) -> None:
        assert client.get(f"/api/v1/tasks/{create(client)}?wait=1&wait=2").status_code == 422


class TestExecutions:
    def test_every_attempt_is_there_in_order_also_the_one_under_way(self, client: FlaskClient, engine: Engine) -> None:
        task_id = create(client, retry_delay=0)
        engine.run("failed", error="boom", traceback="Traceback …", logs=[{"message": "hello"}])
        engine.run("snoozed", seconds=0)
        engine.claim()

        body = client.get(f"/api/v1/tasks/{task_id}/executions").json

        assert body["count"] == 3
        assert [(e["attempt"], e["status"]) for e in body["executions"]] == [
            (1, "failed"),
            (2, "snoozed"),
            (3, "started"),
        ]
        first, _, last = body["executions"]
        assert set(first) == {
            "attempt", "status", "worker_id", "started_at", "finished_at", "duration_ms", "error", "traceback", "logs",
        }  # fmt: skip
        assert (first["error"], first["traceback"], first["logs"]) == ("boom", "Traceback …", [{"message": "hello"}])
        assert (first["worker_id"], first["duration_ms"] >= 0) == ("7", True)
        assert (last["finished_at"], last["duration_ms"], last["logs"]) == (None, None, [])

    def test_a_task_that_never_ran_has_none(self, client: FlaskClient) -> None:
        assert client.get(f"/api/v1/tasks/{create(client)}/executions").json == {"executions": [], "count": 0}


class TestCancel:
    def test_what_waits_is_cancelled_at_once_and_again_without_harm(self, client: FlaskClient) -> None:
        task_id = create(client)
        for _ in range(2):
            response = client.post(f"/api/v1/tasks/{task_id}/cancel")
            assert (response.status_code, response.json["state"]) == (200, "cancelled")

    def test_what_runs_is_asked_to_stop(self, client: FlaskClient, engine: Engine) -> None:
        task_id = create(client)
        engine.claim()

        response = client.post(f"/api/v1/tasks/{task_id}/cancel", json={})

        assert (response.status_code, response.json["state"], response.json["cancel_requested"]) == (
            202,
            "running",
            True,
        )

    def test_what_has_ended_otherwise_cannot_be_cancelled(self, client: FlaskClient, engine: Engine) -> None:
        task_id = create(client)
        engine.run()

        response = client.post(f"/api/v1/tasks/{task_id}/cancel")

        assert (response.status_code, response.json["code"], response.json["state"]) == (
            409,
            "wrong_state",
            "completed",
        )

    def test_it_takes_no_fields(self, client: FlaskClient) -> None:
        task_id = create(client)

        assert client.post(f"/api/v1/tasks/{task_id}/cancel", json={"force": True}).status_code == 422
        assert get(client, task_id)["state"] == "pending"


class TestRetry:
    def test_an_ended_task_runs_again_with_failures_at_0_and_attempts_going_on(
        self, client: FlaskClient, engine: Engine
    ) -> None:
        task_id = create(client, max_retries=0)
        engine.run("failed", error="boom")

        response = client.post(f"/api/v1/tasks/{task_id}/retry")

        assert response.status_code == 200
        task = response.json
        assert (task["state"], task["attempt"], task["failures"], task["completed_at"]) == ("pending", 1, 0, None)
        engine.run(result=1)
        assert (get(client, task_id)["state"], get(client, task_id)["attempt"]) == ("completed", 2)

    def test_it_may_change_payload_queue_priority_and_time(
        self, client: FlaskClient, engine: Engine, connection: psycopg.Connection[Any]
    ) -> None:
        task_id = create(client, payload={"n": 1})
        engine.run()
        change = {"payload": {"n": 2}, "queue": "other", "priority": "high", "scheduled_at": "2100-01-01T00:00:00Z"}

        task = client.post(f"/api/v1/tasks/{task_id}/retry", json=change).json

        assert {name: task[name] for name in change} == change
        assert task["state"] == "scheduled"
        assert connection.execute("SELECT 1 FROM taskflow.queues WHERE name = 'other'").fetchone()

    def test_an_empty_payload_is_a_payload(self, client: FlaskClient, engine: Engine) -> None:
        task_id = create(client, payload={"n": 1})
        engine.run()

        assert client.post(f"/api/v1/tasks/{task_id}/retry", json={"payload": {}}).json["payload"] == {}

    @pytest.mark.parametrize(
        "body", [{"payload": []}, {"queue": "a b"}, {"priority": 4}, {"delay": 1}, {"max_retries": 1}]
    )
    def test_a_wrong_field_is_refused(self, client: FlaskClient, engine: Engine, body: dict[str, Any]) -> None:
        task_id = create(client)
        engine.run()

        assert client.post(f"/api/v1/tasks/{task_id}/retry", json=body).status_code == 422
        assert get(client, task_id)["state"] == "completed"

    def test_what_has_not_ended_cannot_be_retried(self, client: FlaskClient, engine: Engine) -> None:
        task_id = create(client)
        for _ in range(2):
            response = client.post(f"/api/v1/tasks/{task_id}/retry")
            assert (response.status_code, response.json["code"]) == (409, "wrong_state")
            engine.claim() if get(client, task_id)["state"] == "pending" else None

    def test_a_key_that_another_task_has_taken_is_a_conflict(self, client: FlaskClient, engine: Engine) -> None:
        task_id = create(client, unique_key="k")
        engine.run()
        rival = create(client, unique_key="k")

        response = client.post(f"/api/v1/tasks/{task_id}/retry")

        assert (response.status_code, response.json["code"]) == (409, "unique_conflict")
        assert response.json["conflicting_task_id"] == rival
