"""/admin: the whole by priority, and what is done to all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.web.conftest import Engine
from tests.web.limited import limited_to
from tests.web.test_dead_letters import audit, die, states
from tests.web.test_statistics import lead, one_of_each, task

Connection = psycopg.Connection[Any]


class TestQueues:
    def test_by_priority_and_by_queue(self, client: FlaskClient, connection: Connection, engine: Engine) -> None:
        one_of_each(connection, engine)
        task(connection, priority=3)
        task(connection, priority=0, run_at="2100-01-01T00:00:00Z")
        lead(connection)

        found = client.get("/admin/queues").json

        assert found["queues"] == {
            "critical": {"queued": 1, "pending_unacked": 0},
            "high": {"queued": 0, "pending_unacked": 0},
            "normal": {"queued": 2, "pending_unacked": 1},
            "low": {"queued": 0, "pending_unacked": 0},
        }
        assert list(found["queues"]) == ["critical", "high", "normal", "low"]
        assert (found["scheduled_count"], found["dlq_size"]) == (2, 1)
        assert (found["totals"]["total"], found["totals"]["completed"]) == (12, 1)
        assert {queue["queue_name"]: queue["pending_count"] for queue in found["by_queue"]} == {
            "default": 3,
            "failing": 0,
        }

    def test_a_limited_key_is_told_of_its_queues_alone(
        self, make_app: Callable[..., Flask], connection: Connection
    ) -> None:
        for queue in ("mine", "other", "other"):
            task(connection, queue=queue)

        found = limited_to(make_app, connection, "mine").get("/admin/queues").json

        assert found["queues"]["normal"]["queued"] == found["totals"]["total"] == 1
        assert [queue["queue_name"] for queue in found["by_queue"]] == ["mine"]


class TestPriority:
    def test_what_waits_at_a_priority_is_cancelled_in_every_queue(
        self, client: FlaskClient, connection: Connection, engine: Engine
    ) -> None:
        wanted = [task(connection, priority=2, queue=queue) for queue in ("a", "b")]
        wanted.append(task(connection, priority=2, run_at="2100-01-01T00:00:00Z"))
        running = task(connection, priority=2, type="runs")
        engine.claim("runs")
        other = task(connection, priority=1)

        response = client.delete("/admin/queues/high")

        assert response.json == {"message": "queue purged", "priority": "high", "deleted_count": 3}
        found = states(connection)
        assert {found[str(number)] for number in wanted} == {"cancelled"}
        assert (found[str(running)], found[str(other)]) == ("running", "pending")
        assert audit(connection) == [("priority.purge", "high", {"deleted_count": 3})]

    @pytest.mark.parametrize("word", ["urgent", "2", "%00", "high;", "x" * 3000])
    def test_another_word_is_a_bad_request(self, client: FlaskClient, connection: Connection, word: str) -> None:
        number = task(connection, priority=2)

        response = client.delete(f"/admin/queues/{word}")

        assert (response.status_code, response.json["code"]) == (400, "bad_request")
        assert states(connection) == {str(number): "pending"}

    def test_a_limited_key_reaches_only_its_queues(
        self, make_app: Callable[..., Flask], connection: Connection
    ) -> None:
        mine, other = task(connection, queue="mine"), task(connection, queue="other")

        response = limited_to(make_app, connection, "mine").delete("/admin/queues/normal")

        assert response.json["deleted_count"] == 1
        assert states(connection) == {str(mine): "cancelled", str(other): "pending"}


class TestRetry:
    def test_a_dead_letter_and_a_failed_task_are_requeued(
        self, client: FlaskClient, connection: Connection, engine: Engine
    ) -> None:
        connection.execute("INSERT INTO taskflow.queues (name, dead_letter) VALUES ('failing', false)")
        for number in (die(connection, engine), die(connection, engine, queue="failing")):
            response = client.post(f"/admin/tasks/{number}/retry")

            assert response.json == {"message": "task re-queued", "task_id": number}
            assert states(connection)[number] == "pending"
            assert audit(connection)[-1][:2] == ("task.retry", number)

    @pytest.mark.parametrize("state", ["pending", "running", "completed", "cancelled"])
    def test_nothing_else_is(self, client: FlaskClient, connection: Connection, engine: Engine, state: str) -> None:
        number = task(connection)
        if state == "cancelled":
            connection.execute("SELECT taskflow.cancel(%s)", [number])
        elif state != "pending":
            engine.claim()
        if state == "completed":
            engine.finish(number)

        response = client.post(f"/admin/tasks/{number}/retry")

        assert (response.status_code, response.json["code"], response.json["state"]) == (409, "wrong_state", state)
        assert states(connection) == {str(number): state}

    def test_one_whose_unique_key_is_taken_is_a_conflict(
        self, client: FlaskClient, connection: Connection, engine: Engine
    ) -> None:
        number = die(connection, engine, unique_key="u")
        rival = client.post("/api/v1/tasks", json={"type": "echo", "unique_key": "u"}).json["id"]

        response = client.post(f"/admin/tasks/{number}/retry")

        assert (response.status_code, response.json["conflicting_task_id"]) == (409, rival)

    @pytest.mark.parametrize("number", ["1", "x", "%00", "9" * 40])
    def test_what_is_not_there_or_not_to_be_seen_is_not_found(
        self, make_app: Callable[..., Flask], connection: Connection, engine: Engine, number: str
    ) -> None:
        assert die(connection, engine, queue="other") == "1"

        response = limited_to(make_app, connection, "mine").post(f"/admin/tasks/{number}/retry")

        assert (response.status_code, response.json["code"]) == (404, "task_not_found")
