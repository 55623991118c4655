"""/api/v1/schedules."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.web.limited import limited_to

SCHEDULES = "/api/v1/schedules"
FIELDS = {
    "id", "name", "type", "queue", "payload", "priority", "cron", "interval", "timezone", "missed", "overlap", "jitter",
    "max_runs", "starts_at", "ends_at", "enabled", "next_run_at", "last_run_at", "run_count", "next_runs",
}  # fmt: skip
Connection = psycopg.Connection[Any]


def create(client: FlaskClient, name: str = "nightly", **body: Any) -> dict[str, Any]:
    given = {"name": name, "type": "echo", **body}
    if given.get("cron") is None:
        given.setdefault("interval", 3600)
    response = client.post(SCHEDULES, json=given)
    assert response.status_code == 201, response.json
    found: dict[str, Any] = response.json
    return found


def time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def audited(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute("SELECT action, target, details FROM taskflow.audit_log ORDER BY id").fetchall()


class TestCreate:
    def test_all_fields_are_taken_and_answered(self, client: FlaskClient) -> None:
        given = {
            "name": "Täglicher Bericht", "type": "report", "queue": "mail", "payload": {"to": "a"}, "priority": "high",
            "cron": "0 7 * * 1-5", "timezone": "Europe/Berlin", "missed": "all", "overlap": "skip", "jitter": 30.5,
            "max_runs": 10, "starts_at": "2030-01-01T00:00:00Z", "ends_at": "2031-01-01T00:00:00+01:00", "enabled":
            True,
        }  # fmt: skip
        response = client.post(SCHEDULES, json=given)
        assert response.status_code == 201
        answer = response.json
        assert answer.keys() >= FIELDS
        same = given.keys() - {"ends_at"}
        assert {name: answer[name] for name in same} == {name: given[name] for name in same}
        assert answer["ends_at"] == "2030-12-31T23:00:00Z"
        assert answer["next_run_at"] == "2030-01-01T06:00:00Z", "seven o'clock in Berlin, on a Tuesday"
        assert answer["next_runs"] == [
            "2030-01-01T06:00:00Z", "2030-01-02T06:00:00Z", "2030-01-03T06:00:00Z", "2030-01-04T06:00:00Z",
            "2030-01-07T06:00:00Z",
        ]  # fmt: skip
        assert (answer["last_run_at"], answer["run_count"]) == (None, 0)
        assert client.get(response.headers["Location"]).json == answer

    def test_what_is_left_out_has_its_default(self, client: FlaskClient) -> None:
        before = datetime.now(UTC)
        answer = create(client, interval=90)
        assert (answer["queue"], answer["payload"], answer["priority"], answer["timezone"]) == (
            "default",
            {},
            "normal",
            "UTC",
        )
        assert (answer["missed"], answer["overlap"], answer["jitter"]) == ("once", "allow", 0)
        assert (answer["max_runs"], answer["starts_at"], answer["ends_at"], answer["enabled"]) == (
            None,
            None,
            None,
            True,
        )
        assert timedelta(seconds=85) < time(answer["next_run_at"]) - before < timedelta(seconds=95)
        steps = [time(later) - time(earlier) for earlier, later in pairwise(answer["next_runs"])]
        assert steps == [timedelta(seconds=90)] * 4

    @pytest.mark.parametrize("word", ["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@minutely"])
    def test_words_are_taken(self, client: FlaskClient, word: str) -> None:
        assert create(client, cron=word)["cron"] == word

    def test_older_names_of_fields_are_taken(self, client: FlaskClient) -> None:
        response = client.post(SCHEDULES, json={"name": "old", "job_type": "echo", "cron_expr": "0 0 * * *"})
        assert (response.status_code, response.json["type"], response.json["cron"]) == (201, "echo", "0 0 * * *")
        contradiction = {"name": "x", "type": "echo", "cron": "0 0 * * *", "cron_expr": "1 1 * * *"}
        assert client.post(SCHEDULES, json=contradiction).status_code == 422

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"cron": "0 0 30 2 *"}, "/cron"),
            ({"cron": "5-5 * * * *"}, "/cron"),
            ({"cron": "* * * * * *"}, "/cron"),
            ({"cron": "x"}, "/cron"),
            ({"cron": "* * * * *", "interval": 60}, "/cron"),
            ({}, "/cron"),
            ({"interval": 0}, "/interval"),
            ({"interval": -1}, "/interval"),
            ({"interval": "60"}, "/interval"),
            ({"interval": 60, "timezone": "Europe/Bonn"}, "/timezone"),
            ({"interval": 60, "timezone": "../../etc/passwd"}, "/timezone"),
            ({"interval": 60, "missed": "never"}, "/missed"),
            ({"interval": 60, "overlap": "kill"}, "/overlap"),
            ({"interval": 60, "jitter": -1}, "/jitter"),
            ({"interval": 60, "max_runs": 0}, "/max_runs"),
            ({"interval": 60, "priority": 9}, "/priority"),
            ({"interval": 60, "payload": []}, "/payload"),
            ({"interval": 60, "payload": {"x": "a" * 300_000}}, "/payload"),
            ({"interval": 60, "name": "a/b"}, "/name"),
            ({"interval": 60, "name": ""}, "/name"),
            ({"interval": 60, "name": ".."}, "/name"),
            ({"interval": 60, "name": "a" * 201}, "/name"),
            ({"interval": 60, "name": "27"}, "/name"),
            ({"interval": 60, "name": "0" * 30}, "/name"),
            ({"interval": 60, "starts_at": "0001-01-01T00:00:00Z"}, "/starts_at"),
            ({"cron": "@daily", "starts_at": "0001-01-01T00:00:00Z", "enabled": False}, "/starts_at"),
            ({"cron": "@daily", "starts_at": "1899-12-31T23:59:59Z"}, "/starts_at"),
            ({"cron": "@daily", "ends_at": "0001-01-01T00:00:00Z", "enabled": False}, "/ends_at"),
            ({"cron": "@daily", "ends_at": "9999-12-31T23:59:59Z"}, "/ends_at"),
            ({"interval": 60, "queue": "a b"}, "/queue"),
            ({"interval": 60, "starts_at": "tomorrow"}, "/starts_at"),
            ({"interval": 60, "starts_at": "2031-01-01T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"}, "/ends_at"),
            ({"interval": 60, "ends_at": "2020-01-01T00:00:00Z"}, "/ends_at"),
            ({"cron": "0 0 29 2 *", "starts_at": "2029-01-01T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"},
            "/ends_at"), ({"interval": 60, "colour": "red"}, "/colour"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_refused_with_its_place(
        self, client: FlaskClient, body: dict[str, Any], pointer: str
    ) -> None:
        response = client.post(SCHEDULES, json={"name": "n", "type": "echo", **body})
        assert response.status_code == 422
        assert response.json["errors"][0]["pointer"] == pointer
        assert client.get(SCHEDULES).json["total"] == 0

    def test_a_name_is_there_once(self, client: FlaskClient) -> None:
        create(client)
        response = client.post(SCHEDULES, json={"name": "nightly", "type": "echo", "interval": 5})
        assert (response.status_code, response.json["code"]) == (409, "schedule_exists")

    def test_a_payload_that_does_not_fit_its_type_is_refused(self, client: FlaskClient, connection: Connection) -> None:
        schema = {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]}
        connection.execute("INSERT INTO taskflow.task_types (type, schema) VALUES ('mail', %s)", [json.dumps(schema)])
        body = {"name": "n", "type": "mail", "interval": 60}
        response = client.post(SCHEDULES, json={**body, "payload": {"to": 1}})
        assert (response.status_code, response.json["errors"][0]["pointer"]) == (422, "/payload/to")
        assert client.post(SCHEDULES, json={**body, "payload": {"to": "a"}}).status_code == 201
        address = f"{SCHEDULES}/n"
        assert client.patch(address, json={"payload": {}}).status_code == 422

    def test_a_type_that_nobody_handles_is_taken_with_a_warning(
        self, client: FlaskClient, connection: Connection
    ) -> None:
        assert "ever registered" in create(client, "never", type="unheard")["warnings"][0]
        connection.execute("INSERT INTO taskflow.task_types (type) VALUES ('echo')")
        assert "at the moment" in create(client, "gone")["warnings"][0]
        connection.execute("SELECT taskflow.register_worker('host', 1, NULL, '{echo}', 10, 'test')")
        assert create(client, "served")["warnings"] == []

    @pytest.mark.parametrize(
        ("columns", "said"),
        [
            ({"cron": "nonsense"}, "It cannot fire: cron: has 1 fields"),
            ({"cron": "0 0 31 2 *"}, "It cannot fire: cron: never fires"),
            ({"interval": 60, "timezone": "Mars/X"}, "It cannot fire: timezone: "),
        ],
    )
    def test_a_schedule_that_sql_has_written_wrongly_says_so(
        self, client: FlaskClient, connection: Connection, columns: dict[str, Any], said: str
    ) -> None:
        names = ", ".join(columns)
        connection.execute(
            f"INSERT INTO taskflow.schedules (name, type, {names}) VALUES ('odd', 'unheard'{', %s' * len(columns)})",
            list(columns.values()),
        )
        warnings = client.get(f"{SCHEDULES}/odd").json["warnings"]
        assert warnings[0].startswith(said)
        assert "ever registered" in warnings[1]

    def test_unless_the_server_refuses_unknown_types(self, make_app: Callable[..., Flask]) -> None:
        client = make_app(reject_unknown_types=True).test_client()
        response = client.post(SCHEDULES, json={"name": "n", "type": "unheard", "interval": 60})
        assert (response.status_code, response.json["code"]) == (422, "unknown_type")

    def test_its_queue_is_created(self, client: FlaskClient, connection: Connection) -> None:
        create(client, queue="fresh")
        assert connection.execute("SELECT FROM taskflow.queues WHERE name = 'fresh'").fetchone() is not None

    def test_secrets_in_the_payload_are_hidden(self, client: FlaskClient, admin: FlaskClient) -> None:
        create(client, payload={"password": "p", "to": "a"})
        assert client.get(f"{SCHEDULES}/nightly").json["payload"] == {"password": "[redacted]", "to": "a"}
        assert admin.get(f"{SCHEDULES}/nightly").json["payload"]["password"] == "p"


class TestRead:
    def test_by_id_and_by_name(self, client: FlaskClient) -> None:
        made = create(client, "by name & more")
        by_name = client.get(f"{SCHEDULES}/by%20name%20%26%20more")
        assert client.get(f"{SCHEDULES}/{made['id']}").json == by_name.json == made

    def test_an_older_name_that_is_a_number_is_found_unless_it_is_an_id(
        self, client: FlaskClient, connection: Connection
    ) -> None:
        first = create(client, "first")
        rename = "UPDATE taskflow.schedules SET name = %s WHERE name = %s"
        for name, number in (("second", "777"), ("third", first["id"])):
            create(client, name)
            connection.execute(rename, [number, name])
        assert client.get(f"{SCHEDULES}/777").json["name"] == "777"
        assert client.get(f"{SCHEDULES}/{first['id']}").json["name"] == "first"
        changed = client.patch(f"{SCHEDULES}/777", json={"name": "777", "priority": 3})
        assert (changed.status_code, changed.json["priority"]) == (200, "critical")

    @pytest.mark.parametrize("key", ["0", "-1", "9" * 40, "no", "%00", "%F0%9F%92%A9", "%FF", "1'--", "a" * 3000])
    @pytest.mark.parametrize("verb", ["", "/pause", "/resume", "/run"])
    def test_what_is_not_there_is_not_found(self, client: FlaskClient, key: str, verb: str) -> None:
        create(client)
        response = (client.post if verb else client.get)(f"{SCHEDULES}/{key}{verb}")
        assert (response.status_code, response.json["code"]) == (404, "schedule_not_found")

    def test_the_list_has_pages_and_filters(self, client: FlaskClient) -> None:
        for number in range(7):
            create(client, f"s{number}", queue="odd" if number % 2 else "even", enabled=number < 5)
        first = client.get(f"{SCHEDULES}?limit=3").json
        assert ([s["name"] for s in first["schedules"]], first["count"], first["total"]) == (["s0", "s1", "s2"], 3, 7)
        second = client.get(f"{SCHEDULES}?limit=3&cursor={first['next_cursor']}").json
        third = client.get(f"{SCHEDULES}?limit=3&cursor={second['next_cursor']}").json
        assert [s["name"] for s in second["schedules"] + third["schedules"]] == ["s3", "s4", "s5", "s6"]
        assert third["next_cursor"] is None
        odd = client.get(f"{SCHEDULES}?queue=odd&enabled=true&type=echo").json
        assert ([s["name"] for s in odd["schedules"]], odd["total"]) == (["s1", "s3"], 2)
        assert [s["name"] for s in client.get(f"{SCHEDULES}?offset=5").json["schedules"]] == ["s5", "s6"]
        assert client.get(f"{SCHEDULES}?cursor=x").status_code == 422

    def test_one_that_sql_has_written_wrongly_is_shown_all_the_same(
        self, client: FlaskClient, connection: Connection
    ) -> None:
        connection.execute(
            "INSERT INTO taskflow.schedules (name, type, cron, next_run_at) "
            "VALUES ('wrong', 'x', 'every day', '2030-01-01Z')"
        )
        assert client.get(f"{SCHEDULES}/wrong").json["next_runs"] == ["2030-01-01T00:00:00Z"]


class TestChange:
    def test_what_is_left_out_stays_and_the_version_rises(self, client: FlaskClient) -> None:
        made = create(client, payload={"a": 1, "b": 2}, max_runs=5)
        changed = client.patch(f"{SCHEDULES}/nightly", json={"payload": {"a": 3}, "max_runs": None}).json
        ours = {"payload", "max_runs", "version", "updated_at"}
        assert {name: changed[name] for name in ours - {"updated_at"}} == {
            "payload": {"a": 3},
            "max_runs": None,
            "version": 2,
        }
        assert {name: changed[name] for name in changed if name not in ours} == {
            name: made[name] for name in made if name not in ours
        }

    def test_another_rule_asks_anew_when_it_fires(self, client: FlaskClient) -> None:
        create(client, interval=60)
        changed = client.patch(f"{SCHEDULES}/nightly", json={"cron": "@yearly"}).json
        assert (changed["cron"], changed["interval"]) == ("@yearly", None)
        assert (time(changed["next_run_at"]).month, time(changed["next_run_at"]).day) == (1, 1)
        back = client.patch(f"{SCHEDULES}/nightly", json={"interval": 30}).json
        assert (back["cron"], back["interval"]) == (None, 30)
        assert time(back["next_run_at"]) - datetime.now(UTC) < timedelta(seconds=31)

    def test_what_has_nothing_to_do_with_time_leaves_the_next_fire_time(self, client: FlaskClient) -> None:
        made = create(client, interval=600)
        changed = client.patch(f"{SCHEDULES}/nightly", json={"name": "renamed", "priority": 3, "missed": "skip"}).json
        assert changed["next_runs"] == made["next_runs"]

    @pytest.mark.parametrize(
        "patch", [{"cron": None, "interval": None}, {"cron": "* * * * *", "interval": 5}, {"cron": "60 * * * *"},
        {"name": None}, {"name": "27"}, {"starts_at": "0001-01-01T00:00:00Z"}, {"ends_at": "2000-01-01T00:00:00Z"},
                  {"timezone": "x"}, {"id": "7"}, {"run_count": 7}, {"next_run_at": None}],
    )  # fmt: skip
    def test_what_would_not_be_a_schedule_is_refused(self, client: FlaskClient, patch: dict[str, Any]) -> None:
        made = create(client)
        assert client.patch(f"{SCHEDULES}/nightly", json=patch).status_code == 422
        assert client.get(f"{SCHEDULES}/nightly").json == made

    def test_a_name_that_is_taken_is_refused(self, client: FlaskClient) -> None:
        create(client, "one")
        create(client, "two")
        response = client.patch(f"{SCHEDULES}/two", json={"name": "one"})
        assert (response.status_code, response.json["code"]) == (409, "schedule_exists")

    def test_who_was_slower_is_told_so(self, client: FlaskClient) -> None:
        create(client)
        address = f"{SCHEDULES}/nightly"
        tag = {"If-Match": client.get(address).headers["ETag"]}
        assert client.patch(address, json={"priority": 3}, headers=tag).status_code == 200
        for request in (
            lambda: client.patch(address, json={"priority": 2}, headers=tag),
            lambda: client.delete(address, headers=tag),
            lambda: client.post(f"{address}/pause", headers=tag),
        ):
            assert (request().status_code, request().json["code"]) == (412, "precondition_failed")
        assert client.get(address).json["priority"] == "critical"

    def test_firing_does_not_disturb_who_changes_it(self, client: FlaskClient, connection: Connection) -> None:
        create(client)
        address = f"{SCHEDULES}/nightly"
        tag = {"If-Match": client.get(address).headers["ETag"]}
        connection.execute("SELECT taskflow.run_schedule(id) FROM taskflow.schedules")
        assert client.patch(address, json={"priority": 3}, headers=tag).status_code == 200

    def test_changes_at_once_are_all_kept(self, app: Flask, client: FlaskClient) -> None:
        create(client)
        patches = [
            {"priority": 3},
            {"missed": "skip"},
            {"overlap": "skip"},
            {"jitter": 5},
            {"max_runs": 7},
            {"timezone": "Asia/Tokyo"},
        ]
        threads = [
            threading.Thread(target=lambda patch=patch: app.test_client().patch(f"{SCHEDULES}/nightly", json=patch))
            for patch in patches
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = client.get(f"{SCHEDULES}/nightly").json
        assert [found[name] for name in ("priority_value", "missed", "overlap", "jitter", "max_runs", "timezone")] == [
            3, "skip", "skip", 5, 7, "Asia/Tokyo",
        ]  # fmt: skip
        assert found["version"] == 7

    def test_deleted_it_is_gone_and_its_tasks_stay(self, client: FlaskClient) -> None:
        create(client)
        task = client.post(f"{SCHEDULES}/nightly/run").json
        response = client.delete(f"{SCHEDULES}/nightly")
        assert (response.status_code, response.json["message"]) == (200, "schedule deleted")
        assert client.get(f"{SCHEDULES}/nightly").status_code == 404
        assert client.delete(f"{SCHEDULES}/nightly").status_code == 404
        assert client.get(f"/api/v1/tasks/{task['id']}").json["schedule_id"] == task["schedule_id"]


class TestPause:
    def test_paused_it_has_no_next_run_and_resumed_it_has(self, client: FlaskClient) -> None:
        made = create(client)
        paused = client.post(f"{SCHEDULES}/nightly/pause").json
        assert (paused["message"], paused["enabled"], paused["next_run_at"], paused["next_runs"]) == (
            "schedule paused", False, None, [],
        )  # fmt: skip
        again = client.post(f"{SCHEDULES}/nightly/pause")
        assert (again.status_code, again.json["version"]) == (200, 2)
        resumed = client.post(f"{SCHEDULES}/nightly/resume").json
        assert (resumed["message"], resumed["enabled"]) == ("schedule resumed", True)
        assert resumed["next_runs"] == made["next_runs"]

    def test_what_goes_by_while_it_is_paused_is_not_made_up_for(
        self, client: FlaskClient, connection: Connection
    ) -> None:
        create(client, missed="all", enabled=False)
        connection.execute("UPDATE taskflow.schedules SET created_at = now() - interval '10 h'")
        resumed = client.post(f"{SCHEDULES}/nightly/resume").json
        assert time(resumed["next_run_at"]) > datetime.now(UTC)

    def test_one_at_its_end_has_no_next_run(self, client: FlaskClient) -> None:
        create(client, max_runs=1)
        client.post(f"{SCHEDULES}/nightly/run")
        for verb in ("pause", "resume"):
            found = client.post(f"{SCHEDULES}/nightly/{verb}").json
        assert (found["enabled"], found["next_run_at"]) == (True, None)
        more = client.patch(f"{SCHEDULES}/nightly", json={"max_runs": 2}).json
        assert len(more["next_runs"]) == 1


class TestRun:
    def test_a_task_is_created_at_once(self, client: FlaskClient) -> None:
        made = create(client, payload={"a": 1}, queue="q", priority="critical", enabled=False)
        response = client.post(f"{SCHEDULES}/nightly/run")
        task = response.json
        assert (response.status_code, response.headers["Location"]) == (201, f"/api/v1/tasks/{task['id']}")
        assert (task["type"], task["payload"], task["queue"], task["priority"]) == ("echo", {"a": 1}, "q", "critical")
        assert (task["state"], task["schedule_id"], task["created"]) == ("pending", made["id"], True)
        after = client.get(f"{SCHEDULES}/nightly").json
        assert (after["run_count"], after["version"], after["next_run_at"]) == (1, 1, None)
        assert abs(time(after["last_run_at"]) - datetime.now(UTC)) < timedelta(seconds=30)

    def test_the_next_fire_time_stays(self, client: FlaskClient) -> None:
        made = create(client)
        client.post(f"{SCHEDULES}/nightly/run")
        assert client.get(f"{SCHEDULES}/nightly").json["next_runs"] == made["next_runs"]


class TestPreview:
    def preview(self, client: FlaskClient, **body: Any) -> Any:
        return client.post(f"{SCHEDULES}/preview", json=body)

    def test_the_next_fire_times(self, client: FlaskClient) -> None:
        answer = self.preview(
            client, cron="30 2 * * *", timezone="Europe/Berlin", after="2026-03-28T00:00:00Z", count=3
        )
        assert answer.json == {
            "next_runs": ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
            "count": 3,
        }
        bounds = {"starts_at": "2030-01-01T00:00:00Z", "ends_at": "2030-01-01T00:00:20Z"}
        assert self.preview(client, interval=10, **bounds).json["count"] == 3
        assert self.preview(client, cron_expr="@daily").json["count"] == 5

    @pytest.mark.parametrize(
        "body", [{}, {"cron": "0 0 31 2 *"}, {"cron": "@daily", "count": 0}, {"cron": "@daily", "count": 101}]
    )
    def test_what_is_wrong_is_refused(self, client: FlaskClient, body: dict[str, Any]) -> None:
        assert self.preview(client, **body).status_code == 422

    def test_nothing_is_stored(self, client: FlaskClient) -> None:
        self.preview(client, cron="@daily")
        assert client.get(SCHEDULES).json["total"] == 0


def test_who_changed_what_is_recorded(client: FlaskClient, connection: Connection) -> None:
    create(client)
    client.patch(f"{SCHEDULES}/nightly", json={"payload": {"password": "p"}, "cron": "@daily"})
    for verb in ("pause", "resume", "run"):
        client.post(f"{SCHEDULES}/nightly/{verb}")
    client.delete(f"{SCHEDULES}/nightly")
    client.delete(f"{SCHEDULES}/nightly")
    assert audited(connection) == [
        ("schedule.create", "nightly", {}),
        ("schedule.change", "nightly", {"fields": ["cron", "interval", "payload"]}),
        ("schedule.pause", "nightly", {}),
        ("schedule.resume", "nightly", {}),
        ("schedule.run", "nightly", {}),
        ("schedule.delete", "nightly", {}),
    ]


class TestLimitedKeys:
    """A key that is limited to the queue `mine`."""

    @pytest.fixture
    def limited(self, make_app: Callable[..., Flask], connection: Connection) -> FlaskClient:
        return limited_to(make_app, connection, "mine")

    def test_what_lies_in_other_queues_is_not_there(self, client: FlaskClient, limited: FlaskClient) -> None:
        create(client, "theirs", queue="theirs")
        create(client, "ours", queue="mine")
        listed = limited.get(SCHEDULES).json
        assert ([found["name"] for found in listed["schedules"]], listed["total"]) == (["ours"], 1)
        for ask, address in (
            (limited.get, f"{SCHEDULES}/theirs"),
            (limited.delete, f"{SCHEDULES}/theirs"),
            (limited.post, f"{SCHEDULES}/theirs/run"),
            (limited.post, f"{SCHEDULES}/theirs/pause"),
        ):
            assert ask(address).status_code == 404
        assert limited.patch(f"{SCHEDULES}/theirs", json={"queue": "mine"}).status_code == 404

    def test_it_can_neither_create_nor_move_one_elsewhere(self, limited: FlaskClient) -> None:
        body = {"name": "n", "type": "echo", "interval": 60}
        assert limited.post(SCHEDULES, json=body).json["code"] == "queue_not_allowed"
        assert limited.post(SCHEDULES, json={**body, "queue": "mine"}).status_code == 201
        assert limited.patch(f"{SCHEDULES}/n", json={"queue": "default"}).json["code"] == "queue_not_allowed"
        assert limited.post(f"{SCHEDULES}/n/run").json["queue"] == "mine"

    def test_one_that_may_only_read_changes_nothing(
        self, make_app: Callable[..., Flask], connection: Connection, client: FlaskClient
    ) -> None:
        create(client)
        reader = limited_to(make_app, connection, scopes=("read",))
        assert reader.get(f"{SCHEDULES}/nightly").status_code == 200
        assert reader.post(f"{SCHEDULES}/preview", json={"cron": "@daily"}).status_code == 200
        assert reader.post(f"{SCHEDULES}/nightly/run").status_code == 403
        assert reader.delete(f"{SCHEDULES}/nightly").status_code == 403
