"""POST /api/v1/tasks: every field, its default, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from taskflow.web.services import EXTENSION, Services

FIELDS = {
    "id", "type", "queue", "payload", "priority", "priority_value", "state", "attempt", "failures", "max_attempts",
    "max_retries", "timeout", "progress", "progress_message", "result", "error", "metadata", "tags", "unique_key",
    "concurrency_key", "worker_id", "created_at", "created_by", "updated_at", "scheduled_at", "started_at",
    "completed_at", "next_retry_at", "cancel_requested", "schedule_id", "version",
}  # fmt: skip
ALIASES = {"task_id": "id", "job_id": "id", "status": "state", "attempts": "attempt"}


def create(client: FlaskClient, **body: Any) -> Any:
    return client.post("/api/v1/tasks", json={"type": "echo", **body})


def services_of(client: FlaskClient) -> Services:
    found = client.application.extensions[EXTENSION]
    assert isinstance(found, Services)
    return found


def pointers(response: Any) -> dict[str, str]:
    return {problem["pointer"]: problem["code"] for problem in response.json["errors"]}


def stored(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone()
    assert row is not None
    return int(row[0])


def test_a_task_of_a_type_alone_gets_every_default(client: FlaskClient) -> None:
    response = create(client)

    assert response.status_code == 201
    task = response.json
    assert set(task) == FIELDS | set(ALIASES) | {"created"}
    assert task["created"] is True
    assert (task["queue"], task["payload"], task["priority"], task["priority_value"]) == ("default", {}, "normal", 1)
    assert (task["state"], task["attempt"], task["failures"], task["version"]) == ("pending", 0, 0, 1)
    assert (task["max_attempts"], task["max_retries"], task["timeout"]) == (5, 4, 300)
    assert (task["metadata"], task["tags"], task["cancel_requested"]) == ({}, [], False)
    absent = {"progress", "progress_message", "result", "error", "unique_key", "concurrency_key", "worker_id"}
    assert {name for name in FIELDS if task[name] is None} == absent | {
        "started_at",
        "completed_at",
        "next_retry_at",
        "schedule_id",
    }


def test_the_location_leads_to_the_task_and_ids_are_strings(client: FlaskClient) -> None:
    response = create(client)

    assert isinstance(response.json["id"], str)
    assert response.headers["Location"] == f"/api/v1/tasks/{response.json['id']}"
    assert client.get(response.headers["Location"]).json["id"] == response.json["id"]


def test_older_names_are_answered_beside_the_canonical_ones(client: FlaskClient) -> None:
    task = create(client).json

    assert {alias: task[alias] for alias in ALIASES} == {alias: task[name] for alias, name in ALIASES.items()}


def test_jobs_are_tasks_under_an_older_name(client: FlaskClient) -> None:
    response = client.post("/api/v1/jobs", json={"job_type": "echo"})

    assert (response.status_code, response.json["type"]) == (201, "echo")
    assert response.headers["Location"] == f"/api/v1/jobs/{response.json['id']}"
    assert client.get(f"/api/v1/tasks/{response.json['id']}").status_code == 200


def test_every_field_reaches_the_database(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    task = create(
        client,
        payload={"to": "ä", "n": [1, 2.5, None, True]},
        queue="mail",
        priority="critical",
        max_retries=0,
        retry_strategy="LINEAR",
        retry_delay=2,
        max_retry_delay=3.5,
        timeout=0.5,
        unique_key="welcome-42",
        concurrency_key="tenant-1",
        metadata={"user": 7, "deep": {"er": [None]}},
        tags=["a", "b"],
    ).json

    assert task["payload"] == {"to": "ä", "n": [1, 2.5, None, True]}
    assert (task["queue"], task["priority"], task["priority_value"]) == ("mail", "critical", 3)
    assert (task["max_attempts"], task["max_retries"], task["timeout"]) == (1, 0, 0.5)
    assert (task["unique_key"], task["concurrency_key"]) == ("welcome-42", "tenant-1")
    assert (task["metadata"], task["tags"]) == ({"user": 7, "deep": {"er": [None]}}, ["a", "b"])
    row = connection.execute(
        "SELECT retry_strategy::text, retry_delay, max_retry_delay FROM taskflow.tasks WHERE id = %s", [task["id"]]
    ).fetchone()
    assert row == ("linear", 2, 3.5)


@pytest.mark.parametrize(
    ("given", "name"), [(0, "low"), (1, "normal"), (1.0, "normal"), ("high", "high"), ("Critical", "critical")]
)
def test_a_priority_is_a_number_or_a_name(client: FlaskClient, given: object, name: str) -> None:
    assert create(client, priority=given).json["priority"] == name


def test_another_priority_is_refused(client: FlaskClient) -> None:
    for priority in (-1, 4, 10**30, 1.5, 4.0, True, "2", "urgent", [1]):
        response = create(client, priority=priority)

        assert (response.status_code, pointers(response)) == (422, {"/priority": "priority"}), priority


def test_a_count_may_be_written_with_a_fraction_of_zero_and_no_other(client: FlaskClient) -> None:
    assert create(client, max_retries=2.0, max_attempts=3.0).json["max_attempts"] == 3
    for wrong in (2.5, -1.0, 1000.0, 1e300):
        assert pointers(create(client, max_retries=wrong)).keys() == {"/max_retries"}, wrong


def test_null_means_the_default_where_there_is_one(client: FlaskClient) -> None:
    optional = [
        "queue",
        "priority",
        "scheduled_at",
        "delay",
        "max_retries",
        "max_attempts",
        "retry_strategy",
        "timeout",
    ]
    optional += ["retry_delay", "max_retry_delay", "unique_key", "on_conflict", "unique_for", "concurrency_key"]

    assert create(client, **dict.fromkeys(optional)).status_code == 201


def test_a_time_to_come_is_shown_as_scheduled(client: FlaskClient) -> None:
    task = create(client, scheduled_at="2100-01-31T09:30:00+02:00").json

    assert (task["state"], task["scheduled_at"]) == ("scheduled", "2100-01-31T07:30:00Z")


@pytest.mark.parametrize("past", ["2020-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_a_time_that_is_past_is_due_at_once(client: FlaskClient, past: str) -> None:
    assert create(client, scheduled_at=past).json["state"] == "pending"


NO_TIMES = [
    "2100-01-01T00:00:00", "2100-01-01", "tomorrow", "", 4102444800, "2100-02-30T00:00:00Z", "2100-01-01T24:61:00Z",
    "9999-12-31T23:59:59-23:59", "2200-01-01T00:00:00Z", "2100-W01-1T00:00:00Z", "\uff12100-01-01T00:00:00Z",
]  # fmt: skip


def test_a_time_without_a_zone_or_that_does_not_exist_is_refused(client: FlaskClient) -> None:
    for time in NO_TIMES:
        response = create(client, scheduled_at=time)

        assert (response.status_code, pointers(response)) == (422, {"/scheduled_at": "time"}), time


def test_a_delay_counts_from_now(client: FlaskClient) -> None:
    task = create(client, delay=3600.5).json

    assert task["state"] == "scheduled"
    ahead = datetime.fromisoformat(task["scheduled_at"]) - datetime.fromisoformat(task["created_at"])
    assert ahead == timedelta(seconds=3600.5)


def test_a_delay_of_nothing_is_due_at_once(client: FlaskClient) -> None:
    assert create(client, delay=0).json["state"] == "pending"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"delay": 5, "scheduled_at": "2100-01-01T00:00:00Z"}, "/delay"),
        ({"max_retries": 3, "max_attempts": 3}, "/max_attempts"),
        ({"job_type": "other"}, ""),
    ],
)
def test_fields_that_contradict_each_other_are_refused(client: FlaskClient, body: dict[str, Any], pointer: str) -> None:
    response = create(client, **body)

    assert (response.status_code, pointers(response)) == (422, {pointer: "contradiction"})


def test_attempts_are_retries_plus_one(client: FlaskClient) -> None:
    assert create(client, max_retries=2).json["max_attempts"] == 3
    assert create(client, max_attempts=2).json["max_retries"] == 1
    assert create(client, max_attempts=3, max_retries=2).json["max_attempts"] == 3


WRONG_FIELDS: list[tuple[str, object]] = [
    ("type", ""), ("type", "x" * 201), ("type", 7), ("type", None),
    ("payload", []), ("payload", "text"), ("payload", None), ("payload", 1),
    ("queue", ""), ("queue", "a b"), ("queue", "ü"), ("queue", "x" * 101), ("queue", "mail\n"), ("queue", 5),
    ("delay", -1), ("delay", "5"), ("delay", True), ("delay", 10**30), ("delay", 3_155_760_001),
    ("max_retries", -1), ("max_retries", 1000), ("max_retries", 1.5), ("max_retries", "1"), ("max_retries", True),
    ("max_attempts", 0), ("max_attempts", 1001), ("max_attempts", 10**30),
    ("retry_strategy", "random"), ("retry_strategy", 1), ("retry_delay", -0.1), ("max_retry_delay", 2_592_001),
    ("timeout", 0), ("timeout", -1), ("timeout", 2_592_001), ("timeout", "5"),
    ("unique_key", ""), ("unique_key", "x" * 501), ("unique_key", 1), ("on_conflict", "ignore"),
    ("unique_for", 60), ("unique_for", "60"), ("concurrency_key", ""), ("metadata", []), ("metadata", None),
    ("tags", "a"), ("tags", None), ("tags/3", ["a", "b", "c", 1]), ("tags/0", [""]), ("tags", ["t"] * 21),
    ("state", "running"), ("id", 5), ("worker_id", 1), ("Type", "echo"),
]  # fmt: skip


def test_a_wrong_field_is_refused_with_its_pointer(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    for field, value in WRONG_FIELDS:
        response = create(client, **{field.split("/")[0]: value})

        assert (response.status_code, list(pointers(response))) == (422, [f"/{field}"]), (field, value)
    assert stored(connection) == 0


def test_all_problems_of_a_body_are_listed_at_once(client: FlaskClient) -> None:
    response = client.post("/api/v1/tasks", json={"priority": 9, "delay": -1, "colour": "red"})

    assert pointers(response) == {
        "/type": "required",
        "/priority": "priority",
        "/delay": "greater_than_equal",
        "/colour": "unknown_field",
    }


def test_a_payload_beyond_the_setting_is_refused_and_one_up_to_it_accepted(client: FlaskClient) -> None:
    fits = {"text": "x" * (256 * 1024 - len('{"text":""}'))}

    assert create(client, payload=fits).status_code == 201
    response = create(client, payload={"text": fits["text"] + "x"})
    assert (response.status_code, pointers(response)) == (422, {"/payload": "payload_too_large"})


def test_numbers_beyond_64_bits_come_back_as_they_went_in(client: FlaskClient) -> None:
    payload = {"large": 10**30, "small": -(2**64), "fraction": 0.1}

    task = create(client, payload=payload).json

    assert task["payload"] == payload
    assert client.get(f"/api/v1/tasks/{task['id']}").json["payload"] == payload


def test_an_unknown_queue_is_created_with_defaults(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    create(client, queue="new:queue")

    row = connection.execute("SELECT max_retries, paused FROM taskflow.queues WHERE name = 'new:queue'").fetchone()
    assert row == (4, False)


def test_queues_without_number_do_not_fill_the_memory(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskflow.web.queues.queue_registry.MAX_NAMES", 2)
    for name in ("a", "b", "c", "a", "a"):
        assert create(client, queue=name).status_code == 201

    assert set(services_of(client).queues._seen) == {"c", "a"}


def test_what_a_task_leaves_open_is_its_queues(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    connection.execute("INSERT INTO taskflow.queues (name, max_retries, timeout) VALUES ('slow', 0, 3600)")

    task = create(client, queue="slow").json

    assert (task["max_attempts"], task["timeout"]) == (1, 3600)


class TestUniqueKeys:
    def test_the_second_task_of_a_live_key_is_the_first(self, client: FlaskClient) -> None:
        first = create(client, unique_key="k", payload={"n": 1})
        second = create(client, unique_key="k", payload={"n": 2})

        assert (first.status_code, second.status_code) == (201, 200)
        assert (second.json["created"], second.json["id"]) == (False, first.json["id"])
        assert second.json["payload"] == {"n": 1}
        assert "Location" not in second.headers

    def test_on_conflict_error_names_the_rival(self, client: FlaskClient) -> None:
        first = create(client, unique_key="k").json

        response = create(client, unique_key="k", on_conflict="error")

        assert (response.status_code, response.json["code"]) == (409, "unique_conflict")
        assert response.json["conflicting_task_id"] == first["id"]

    def test_on_conflict_replace_changes_the_waiting_one(self, client: FlaskClient) -> None:
        first = create(client, unique_key="k", payload={"n": 1}).json

        second = create(
            client, unique_key="k", payload={"n": 2}, on_conflict="replace", scheduled_at="2100-01-01T00:00:00Z"
        )

        assert (second.status_code, second.json["id"], second.json["created"]) == (200, first["id"], False)
        assert (second.json["payload"], second.json["state"]) == ({"n": 2}, "scheduled")

    def test_a_key_stays_taken_for_as_long_as_it_says(self, client: FlaskClient) -> None:
        first = create(client, unique_key="k", unique_for=60).json
        client.post(f"/api/v1/tasks/{first['id']}/cancel")

        second = create(client, unique_key="k")

        assert (second.status_code, second.json["id"], second.json["state"]) == (200, first["id"], "cancelled")
        assert create(client, unique_key="k", on_conflict="error").json["conflicting_task_id"] == first["id"]

    def test_a_key_is_unique_in_its_type_only(self, client: FlaskClient) -> None:
        create(client, unique_key="k")

        assert create(client, type="other", unique_key="k").status_code == 201

    def test_a_key_is_free_again_when_its_task_has_ended(self, client: FlaskClient) -> None:
        first = create(client, unique_key="k").json
        client.post(f"/api/v1/tasks/{first['id']}/cancel")

        assert create(client, unique_key="k").status_code == 201


def test_times_are_utc_with_a_z(client: FlaskClient) -> None:
    task = create(client).json

    assert task["created_at"].endswith("Z")
    assert abs(datetime.fromisoformat(task["created_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
