"""Dead letters over HTTP: found, grouped, tried again, removed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from taskflow.web.http.lists import cursor_after
from tests.web.conftest import Engine
from tests.web.limited import limited_to

Connection = psycopg.Connection[Any]
PATHS = ["/api/v1/dlq", "/admin/dlq"]


def die(
    connection: Connection,
    engine: Engine,
    error: str = "boom",
    *,
    type_: str = "echo",
    queue: str = "default",
    **more: Any,
) -> str:
    """A task that becomes a dead letter in the way that all do; returns its id."""
    columns = {"type": type_, "queue": queue, "max_attempts": 1, **more}
    row = connection.execute(
        f"INSERT INTO taskflow.tasks ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) RETURNING id",
        tuple(columns.values()),
    ).fetchone()
    assert row is not None
    assert engine.claim(type_, queue) == row[0]
    engine.finish(row[0], "failed", error=error)
    return str(row[0])


def ids(client: FlaskClient, query: str = "") -> list[str]:
    return [entry["task_id"] for entry in client.get(f"/api/v1/dlq{query}").json["entries"]]


def states(connection: Connection) -> dict[str, str]:
    return {str(id): state for id, state in connection.execute("SELECT id, state::text FROM taskflow.tasks").fetchall()}


def audit(connection: Connection) -> list[Any]:
    return connection.execute("SELECT action, target, details FROM taskflow.audit_log ORDER BY id").fetchall()


class TestList:
    @pytest.mark.parametrize("path", PATHS)
    def test_an_entry_says_what_died_of_what(
        self, client: FlaskClient, connection: Connection, engine: Engine, path: str
    ) -> None:
        task = die(connection, engine, "ValueError: bad", payload='{"to": 1, "password": "x"}')

        found = client.get(path).json

        (entry,) = found["entries"]
        assert (found["size"], found["count"], found["next_cursor"]) == (1, 1, None)
        assert {name: entry[name] for name in ("task_id", "task_type", "reason", "original_error", "attempts")} == {
            "task_id": task,
            "task_type": "echo",
            "reason": "attempts_used_up",
            "original_error": "ValueError: bad",
            "attempts": 1,
        }
        assert entry["task"]["payload"] == {"to": 1, "password": "[redacted]"}
        assert entry["added_at"] == entry["task"]["completed_at"]

    def test_an_error_that_no_attempt_could_mend_is_final(
        self, client: FlaskClient, connection: Connection, engine: Engine
    ) -> None:
        client.post("/api/v1/tasks", json={"type": "echo", "max_attempts": 9})
        engine.run("failed", error="never", final=True)

        assert client.get("/api/v1/dlq").json["entries"][0]["reason"] == "final"

    def test_the_latest_come_first_in_pages(self, client: FlaskClient, connection: Connection, engine: Engine) -> None:
        tasks = [die(connection, engine) for _ in range(5)]
        # Two that died in the same moment, and one long ago.
        connection.execute("UPDATE taskflow.tasks SET finished_at = '2020-01-01Z' WHERE id = %s", [tasks[4]])
        connection.execute(
            "UPDATE taskflow.tasks SET finished_at = '2021-01-01Z' WHERE id = ANY (%s)",
            [[int(tasks[1]), int(tasks[2])]],
        )

        seen: list[str] = []
        address = "/api/v1/dlq?limit=1"
        while address:
            found = client.get(address)
            seen += [entry["task_id"] for entry in found.json["entries"]]
            assert found.json["size"] == 5
            link = found.headers.get("Link", "")
            address = link[1 : link.index(">")] if link else ""

        assert seen == [tasks[3], tasks[0], tasks[2], tasks[1], tasks[4]]

    def test_filters_narrow_it(self, client: FlaskClient, connection: Connection, engine: Engine) -> None:
        connection.execute("INSERT INTO taskflow.queues (name, dead_letter_queue) VALUES ('mail', 'morgue')")
        mail = die(connection, engine, "timeout of 5 s", type_="mail", queue="mail", priority=3, metadata='{"user": 7}')
        other = die(connection, engine, "boom")
        client.post("/api/v1/tasks", json={"type": "mail"})

        for query in (
            "type=mail",
            "queue=mail",
            "priority=critical",
            "metadata[user]=7",
            "dead_letter_queue=morgue",
            "q=error:timeout",
            "q=state:dead_letter type:mail",
            "q=created:<1h metadata.user:7",
        ):
            assert ids(client, f"?{query}") == [mail], query
        assert ids(client, "?q=state:failed") == []
        assert ids(client, "?dead_letter_queue=other") == []
        assert sorted(ids(client)) == sorted([mail, other])

    @pytest.mark.parametrize(
        "query",
        [
            "q=colour:red",
            "limit=0",
            "cursor=nonsense",
            "cursor=WzksOV0x",
            "colour=1",
            "dead_letter_queue=a b",
            "offset=1",
        ],
    )
    def test_nonsense_is_refused(self, client: FlaskClient, query: str) -> None:
        assert client.get(f"/api/v1/dlq?{query}").status_code == 422

    def test_a_cursor_beyond_all_times_is_refused(self, client: FlaskClient) -> None:
        for moment in (2**62, -(2**62)):
            assert client.get(f"/api/v1/dlq?cursor={cursor_after(moment, 1)}").status_code == 422


class TestGroups:
    def test_the_same_error_of_the_same_type_is_one_group(
        self, client: FlaskClient, connection: Connection, engine: Engine
    ) -> None:
        alike = [
            "KeyError: 'a' at 0x7fab12 in order 17",
            "KeyError: 'bcd' at 0xdeadbeef in order 4711",
            'KeyError: "x" at 0x1 in order 6f1c2a9e-1b2c-4d3e-8f90-123456789abc',
        ]
        tasks = [die(connection, engine, error) for error in alike]
        die(connection, engine, alike[0], type_="mail")
        die(connection, engine, "ValueError: no")

        found = client.get("/api/v1/dlq/groups").json

        assert found["count"] == 3
        largest = found["groups"][0]
        assert (largest["type"], largest["count"], largest["sample_id"]) == ("echo", 3, tasks[-1])
        assert largest["error"] == alike[-1]
        assert datetime.fromisoformat(largest["first_seen"]) < datetime.fromisoformat(largest["last_seen"])
        assert len({group["fingerprint"] for group in found["groups"]}) == 3
        assert sorted(ids(client, f"?group={largest['fingerprint']}")) == sorted(tasks)

    def test_groups_are_narrowed_by_filters(self, client: FlaskClient, connection: Connection, engine: Engine) -> None:
        die(connection, engine, type_="mail")
        die(connection, engine)

        assert [group["type"] for group in client.get("/api/v1/dlq/groups?type=mail").json["groups"]] == ["mail"]
        assert client.get("/api/v1/dlq/groups?limit=1").json["count"] == 1

    def test_dead_letters_from_before_there_were_groups_are_one(
        self, client: FlaskClient, connection: Connection, engine: Engine
    ) -> None:
        task = die(connection, engine)
        connection.execute("UPDATE taskflow.tasks SET fingerprint = NULL")

        (group,) = client.get("/api/v1/dlq/groups").json["groups"]

        assert ids(client, f"?group={group['fingerprint']}") == [task]


class TestRetry:
    @pytest.mark.parametrize("path", PATHS)
    def test_one_by_its_id(self, client: FlaskClient, connection: Connection, engine: Engine, path: str) -> None:
        task, other = die(connection, engine), die(connection, engine)

        response = client.post(f"{path}/retry", json={"task_id": task, "payload": {"n": 2}})

        assert response.json == {"message": "task re-queued", "retried_count": 1}
        assert states(connection) == {task: "pending", other: "dead_letter"}
        found = client.get(f"/api/v1/tasks/{task}").json
        assert (found["payload"], found["failures"], found["attempt"]) == ({"n": 2}, 0, 1)
        assert audit(connection) == [("dlq.retry", task, {})]

    def test_what_is_no_dead_letter_is_told(self, client: FlaskClient, connection: Connection, engine: Engine) -> None:
        task = client.post("/api/v1/tasks", json={"type": "echo"}).json["id"]

        refused = client.post("/api/v1/dlq/retry", json={"task_id": task})
        assert (refused.status_code, refused.json["code"]) == (409, "wrong_state")
        for nobody in ("999", "x", "0", "9" * 40):
            missing = client.post("/api/v1/dlq/retry", json={"task_id": nobody})
            assert (missing.status_code, missing.json["code"]) == (404, "task_not_found")

    @pytest.mark.parametrize("choice", ["ids", "filter", "group", "retry_all"])
    def test_many(self, client: FlaskClient, connection: Connection, engine: Engine, choice: str) -> None:
        wanted = [die(connection, engine, f"KeyError: {n}", type_="mail") for n in range(3)]
        other = die(connection, engine, "other")
        fingerprint = client.get("/api/v1/dlq/groups?type=mail").json["groups"][0]["fingerprint"]
        body: dict[str, Any] = {
            "ids": {"ids": [*wanted, "999", "nonsense"]},
            "filter": {"filter": "error:KeyError type:mail"},
            "group": {"group": fingerprint},
            "retry_all": {"retry_all": True},
        }[choice]
        count = 4 if choice == "retry_all" else 3

        dry = client.post("/api/v1/dlq/retry", json={**body, "dry_run": True}).json
        assert dry["retried_count"] == count
        assert set(states(connection).values()) == {"dead_letter"}
        assert audit(connection) == []

        done = client.post("/api/v1/dlq/retry", json=body).json
        assert done == {"message": "tasks re-queued", "retried_count": count}
        assert {states(connection)[task] for task in wanted} == {"pending"}
        assert states(connection)[other] == ("pending" if choice == "retry_all" else "dead_letter")
        assert audit(connection)[-1][2] == {"retried_count": count}

    def test_more_than_a_batch(self, client: FlaskClient, connection: Connection) -> None:
        connection.execute(
            "INSERT INTO taskflow.tasks (type, state, finished_at)"
            " SELECT 'echo', 'dead_letter', now() FROM generate_series(1, 2500)"
        )

        assert client.post("/api/v1/dlq/retry", json={"retry_all": True}).json["retried_count"] == 2500
        assert [row[2]["retried_count"] for row in audit(connection)] == [1000, 1000, 500]
        assert client.get("/api/v1/dlq").json["size"] == 0

    def test_per_second_spreads_the_times(self, client: FlaskClient, connection: Connection, engine: Engine) -> None:
        for _ in range(4):
            die(connection, engine)

        client.post("/api/v1/dlq/retry", json={"retry_all": True, "per_second": 2})

        rows = connection.execute("SELECT run_at FROM taskflow.tasks ORDER BY id").fetchall()
        gaps = [(later[0] - earlier[0]).total_seconds() for earlier, later in pairwise(rows)]
        assert gaps == pytest.approx([0.5] * 3, abs=0.05)

    def test_however_slow_the_pace_the_times_can_be_stored(
        self, client: FlaskClient, connection: Connection, engine: Engine
    ) -> None:
        for _ in range(3):
            die(connection, engine)

        answer = client.post("/api/v1/dlq/retry", json={"retry_all": True, "per_second": 1e-300})

        assert answer.json["retried_count"] == 3
        rows = connection.execute(
            "SELECT run_at > now() + interval '99 years' FROM taskflow.tasks ORDER BY id"
        ).fetchall()
        assert rows == [(False,), (True,), (True,)]

    def test_one_whose_unique_key_is_taken_is_passed_over(
        self, client: FlaskClient, connection: Connection, engine: Engine
    ) -> None:
        task = die(connection, engine, unique_key="u")
        free = die(connection, engine)
        client.post("/api/v1/tasks", json={"type": "echo", "unique_key": "u"})

        assert client.post("/api/v1/dlq/retry", json={"retry_all": True}).json["retried_count"] == 1
        assert (states(connection)[task], states(connection)[free]) == ("dead_letter", "pending")
        alone = client.post("/api/v1/dlq/retry", json={"task_id": task})
        assert (alone.status_code, alone.json["code"]) == (409, "unique_conflict")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"retry_all": False},
            {"retry_all": True, "group": "x"},
            {"task_id": "1", "ids": ["1"]},
            {"ids": []},
            {"ids": ["1"] * 10_001},
            {"filter": "colour:red"},
            {"filter": ""},
            {"filter": " "},
            {"filter": "\t\n", "dry_run": True},
            {"retry_all": True, "per_second": 0},
            {"retry_all": True, "payload": []},
            {"everything": True},
        ],
    )
    def test_it_must_be_said_which(self, client: FlaskClient, body: dict[str, Any]) -> None:
        assert client.post("/api/v1/dlq/retry", json=body).status_code == 422

    @pytest.mark.parametrize("choice", [{"retry_all": True}, {"task_id": ""}])
    def test_a_payload_that_does_not_fit_is_refused(
        self, client: FlaskClient, connection: Connection, engine: Engine, choice: dict[str, Any]
    ) -> None:
        task = die(connection, engine)
        connection.execute("INSERT INTO taskflow.task_types (type, schema) VALUES ('echo', '{\"required\": [\"to\"]}')")
        choice = {**choice, "task_id": task} if "task_id" in choice else choice

        response = client.post("/api/v1/dlq/retry", json={**choice, "payload": {"n": 1}})

        assert (response.status_code, response.json["code"]) == (422, "invalid_payload")
        assert states(connection) == {task: "dead_letter"}


class TestClear:
    def test_a_filter_or_all_is_needed(self, client: FlaskClient, connection: Connection, engine: Engine) -> None:
        die(connection, engine)
        for query in ("", "?all=false", "?all=true&type=echo", "?q=", "?q=%20", "?q=%09%0A", "?q=%C2%A0"):
            assert client.delete(f"/api/v1/dlq{query}").status_code == 422, query
        assert client.get("/api/v1/dlq").json["size"] == 1

    @pytest.mark.parametrize("query", ["?type=mail", "?q=type:mail", "?group={}", "?dead_letter_queue=morgue"])
    def test_what_fits_goes_with_its_executions(
        self, client: FlaskClient, connection: Connection, engine: Engine, query: str
    ) -> None:
        connection.execute("INSERT INTO taskflow.queues (name, dead_letter_queue) VALUES ('mail', 'morgue')")
        gone = die(connection, engine, type_="mail", queue="mail")
        kept = die(connection, engine)
        fingerprint = client.get("/api/v1/dlq/groups?type=mail").json["groups"][0]["fingerprint"]

        response = client.delete(f"/api/v1/dlq{query.format(fingerprint)}")

        assert response.json == {"message": "DLQ cleared", "deleted_count": 1}
        assert states(connection) == {kept: "dead_letter"}
        assert connection.execute("SELECT task_id::text FROM taskflow.executions").fetchall() == [(kept,)]
        assert client.get(f"/api/v1/tasks/{gone}").status_code == 404
        assert [(row[0], row[2]) for row in audit(connection)] == [("dlq.clear", {"deleted_count": 1})]

    @pytest.mark.parametrize("address", ["/api/v1/dlq?all=true", "/admin/dlq"])
    def test_all(self, client: FlaskClient, connection: Connection, engine: Engine, address: str) -> None:
        for _ in range(3):
            die(connection, engine)
        live = client.post("/api/v1/tasks", json={"type": "echo"}).json["id"]

        assert client.delete(address).json["deleted_count"] == 3
        assert states(connection) == {live: "pending"}


class TestLimitedKeys:
    @pytest.fixture
    def limited(self, make_app: Callable[..., Flask], connection: Connection, engine: Engine) -> FlaskClient:
        self.mine = die(connection, engine, queue="mine")
        self.other = die(connection, engine, queue="other")
        return limited_to(make_app, connection, "mine")

    def test_other_queues_are_neither_shown_nor_counted(self, limited: FlaskClient) -> None:
        found = limited.get("/api/v1/dlq").json
        assert ([entry["task_id"] for entry in found["entries"]], found["size"]) == ([self.mine], 1)
        assert [group["count"] for group in limited.get("/api/v1/dlq/groups").json["groups"]] == [1]
        assert ids(limited, "?queue=other") == []

    @pytest.mark.parametrize("body", [{"retry_all": True}, {"filter": "queue:other,mine"}, {"ids": True}])
    def test_only_its_own_are_retried(self, limited: FlaskClient, connection: Connection, body: dict[str, Any]) -> None:
        body = {"ids": [self.mine, self.other]} if "ids" in body else body

        assert limited.post("/api/v1/dlq/retry", json=body).json["retried_count"] == 1
        assert states(connection) == {self.mine: "pending", self.other: "dead_letter"}
        assert limited.post("/api/v1/dlq/retry", json={"task_id": self.other}).status_code == 404

    @pytest.mark.parametrize("address", ["/api/v1/dlq?all=true", "/admin/dlq"])
    def test_only_its_own_are_removed(self, limited: FlaskClient, connection: Connection, address: str) -> None:
        assert limited.delete(address).json["deleted_count"] == 1
        assert states(connection) == {self.other: "dead_letter"}


def test_reading_needs_read_and_changing_needs_operate(make_app: Callable[..., Flask], connection: Connection) -> None:
    reader = limited_to(make_app, connection, None, scopes=["read"])

    assert reader.get("/api/v1/dlq").status_code == 200
    assert reader.post("/api/v1/dlq/retry", json={"retry_all": True}).status_code == 403
    assert reader.delete("/api/v1/dlq?all=true").status_code == 403
    assert reader.delete("/admin/dlq").status_code == 403
