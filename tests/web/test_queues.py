"""Queues over HTTP: their settings, and what is done to all that lies in one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.web.conftest import Engine
from tests.web.limited import limited_to

PATH = "/api/v1/queues"
DEFAULTS = {
    "priority": 0,
    "weight": 1,
    "max_workers": None,
    "key_limit": 1,
    "rate_limit": None,
    "rate_period": 1,
    "type_limits": {},
    "max_retries": 4,
    "retry_strategy": "exponential",
    "retry_delay": 1,
    "max_retry_delay": 600,
    "retry_jitter": 0.1,
    "timeout": 300,
    "max_depth": 1_000_000,
    "dead_letter": True,
    "dead_letter_queue": None,
    "aging_seconds": None,
    "retention": {},
    "paused": False,
}
OTHERS = {
    "priority": -3,
    "weight": 7,
    "max_workers": 10,
    "key_limit": 2,
    "rate_limit": 100,
    "rate_period": 60,
    "type_limits": {"email": {"rate_limit": 10, "rate_period": 60, "paused": False}},
    "max_retries": 0,
    "retry_strategy": "linear",
    "retry_delay": 5,
    "max_retry_delay": 50.5,
    "retry_jitter": 0,
    "timeout": 0.5,
    "max_depth": 5,
    "dead_letter": False,
    "dead_letter_queue": "morgue",
    "aging_seconds": 90,
    "retention": {"completed": 3600, "failed": 60},
    "paused": True,
}
Connection = psycopg.Connection[Any]


def settings(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name in DEFAULTS}


def audit(connection: Connection) -> list[Any]:
    return connection.execute("SELECT actor, action, target FROM taskflow.audit_log ORDER BY id").fetchall()


def enqueue(connection: Connection, queue: str, count: int = 1, **columns: Any) -> list[int]:
    columns = {"type": "echo", "queue": queue, **columns}
    rows = connection.execute(
        f"INSERT INTO taskflow.tasks ({', '.join(columns)}) SELECT {', '.join(['%s'] * len(columns))}"
        " FROM generate_series(1, %s) RETURNING id",
        (*columns.values(), count),
    )
    return [row[0] for row in rows]


class TestCreate:
    def test_a_queue_has_the_documented_defaults(self, client: FlaskClient, connection: Connection) -> None:
        response = client.post(PATH, json={"name": "mail"})

        assert response.status_code == 201
        assert response.headers["Location"] == f"{PATH}/mail"
        assert settings(response.json) == DEFAULTS
        assert (response.json["name"], response.json["version"]) == ("mail", 1)
        assert client.get(f"{PATH}/mail").json == response.json
        assert audit(connection) == [("anybody", "queue.create", "mail")]

    def test_every_setting_is_stored(self, client: FlaskClient) -> None:
        response = client.post(PATH, json={"name": "a.B_1-2:3", **OTHERS})

        assert settings(response.json) == OTHERS
        assert settings(client.get(f"{PATH}/a.B_1-2:3").json) == OTHERS

    def test_one_that_exists_is_a_conflict_and_stays(self, client: FlaskClient, connection: Connection) -> None:
        client.post(PATH, json={"name": "mail", "priority": 5})

        response = client.post(PATH, json={"name": "mail"})

        assert (response.status_code, response.json["code"]) == (409, "queue_exists")
        assert client.get(f"{PATH}/mail").json["priority"] == 5
        assert len(audit(connection)) == 1

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "/name"),
            ({"name": ""}, "/name"),
            ({"name": "a b"}, "/name"),
            ({"name": "a/b"}, "/name"),
            ({"name": "a\n"}, "/name"),
            ({"name": "ü"}, "/name"),
            ({"name": "a" * 101}, "/name"),
            ({"name": "a", "weight": 0}, "/weight"),
            ({"name": "a", "priority": 2**40}, "/priority"),
            ({"name": "a", "priority": "1"}, "/priority"),
            ({"name": "a", "max_workers": 0}, "/max_workers"),
            ({"name": "a", "key_limit": 0}, "/key_limit"),
            ({"name": "a", "key_limit": None}, "/key_limit"),
            ({"name": "a", "rate_limit": -1}, "/rate_limit"),
            ({"name": "a", "rate_period": 0}, "/rate_period"),
            ({"name": "a", "max_retries": 1000}, "/max_retries"),
            ({"name": "a", "retry_strategy": "random"}, "/retry_strategy"),
            ({"name": "a", "retry_delay": -1}, "/retry_delay"),
            ({"name": "a", "retry_jitter": 1.1}, "/retry_jitter"),
            ({"name": "a", "timeout": 0}, "/timeout"),
            ({"name": "a", "max_depth": 0}, "/max_depth"),
            ({"name": "a", "max_depth": 2**31}, "/max_depth"),
            ({"name": "a", "dead_letter": "yes"}, "/dead_letter"),
            ({"name": "a", "dead_letter_queue": "a b"}, "/dead_letter_queue"),
            ({"name": "a", "aging_seconds": 0}, "/aging_seconds"),
            ({"name": "a", "retention": {"pending": 5}}, "/retention/pending"),
            ({"name": "a", "retention": {"completed": 0}}, "/retention/completed"),
            ({"name": "a", "type_limits": {"email": {"limit": 1}}}, "/type_limits/email/limit"),
            ({"name": "a", "type_limits": {"email": 1}}, "/type_limits/email"),
            ({"name": "a", "type_limits": {f"t{n}": {} for n in range(1001)}}, "/type_limits"),
            ({"name": "a", "type_limits": {"": {}}}, "/type_limits/"),
            ({"name": "a", "type_limits": {"a/b" * 100: {}}}, "/type_limits/" + "a~1b" * 100),
            ({"name": "a", "type_limits": {"a": {"[key]": 1}}}, "/type_limits/a/[key]"),
            ({"name": "a", "type_limits": {"[key]": 1}}, "/type_limits/[key]"),
            ({"name": "a", "weight": 1.5}, "/weight"),
            ({"name": "a", "weight": 0.0}, "/weight"),
            ({"name": "a", "colour": "red"}, "/colour"),
        ],
    )
    def test_nonsense_is_refused_with_its_place(self, client: FlaskClient, body: dict[str, Any], pointer: str) -> None:
        response = client.post(PATH, json=body)

        assert response.status_code == 422
        assert response.json["errors"][0]["pointer"] == pointer
        assert [queue["name"] for queue in client.get(PATH).json["queues"]] == ["default"]


class TestList:
    def test_queues_come_by_name_in_pages_and_default_is_always_there(self, client: FlaskClient) -> None:
        for name in ("zebra", "ant", "mail"):
            client.post(PATH, json={"name": name})

        names, address = [], f"{PATH}?limit=3"
        while address:
            found = client.get(address)
            names.append([queue["name"] for queue in found.json["queues"]])
            assert (found.json["total"], found.json["count"]) == (4, len(names[-1]))
            link = found.headers.get("Link", "")
            address = link[1 : link.index(">")] if link else ""

        assert names == [["ant", "default", "mail"], ["zebra"]]
        assert [queue["name"] for queue in client.get(f"{PATH}?offset=2&limit=1").json["queues"]] == ["mail"]

    def test_a_queue_that_a_producer_named_in_sql_is_there(self, client: FlaskClient, connection: Connection) -> None:
        enqueue(connection, "fresh")
        enqueue(connection, "later", run_at="2100-01-01T00:00:00Z")

        assert client.get(f"{PATH}/fresh").status_code == 200
        assert [queue["name"] for queue in client.get(PATH).json["queues"]] == ["default", "fresh", "later"]
        assert client.post(f"{PATH}/fresh/pause").status_code == 200

    @pytest.mark.parametrize("name", ["nothing", "%00", "a%00b", "..", "a%20b", "%FF", "default%00", "x" * 5000])
    def test_what_is_no_queue_is_not_found(self, client: FlaskClient, name: str) -> None:
        for method, suffix in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/stats"), ("POST", "/purge")]:
            response = client.open(f"{PATH}/{name}{suffix}", method=method)

            assert response.status_code == 404, (method, suffix)
            assert len(response.data) < 20_000


class TestReplace:
    def test_put_creates_what_is_absent(self, client: FlaskClient) -> None:
        response = client.put(f"{PATH}/mail", json={"priority": 2})

        assert response.status_code == 201
        assert response.headers["Location"] == f"{PATH}/mail"
        assert settings(response.json) == {**DEFAULTS, "priority": 2}

    def test_put_replaces_all(self, client: FlaskClient, connection: Connection) -> None:
        client.post(PATH, json={"name": "mail", **OTHERS})

        response = client.put(f"{PATH}/mail", json={"name": "mail", "weight": 3})

        assert response.status_code == 200
        assert settings(response.json) == {**DEFAULTS, "weight": 3}
        assert response.json["version"] == 2
        assert audit(connection)[-1] == ("anybody", "queue.replace", "mail")

    def test_a_queue_keeps_its_name(self, client: FlaskClient) -> None:
        response = client.put(f"{PATH}/mail", json={"name": "post"})

        assert (response.status_code, response.json["errors"][0]["pointer"]) == (422, "/name")

    def test_an_address_that_is_no_name_creates_nothing(self, client: FlaskClient) -> None:
        for name in ("a%20b", "%00", "ü", "x" * 101):
            assert client.put(f"{PATH}/{name}", json={}).status_code == 422, name


class TestChange:
    def test_patch_merges(self, client: FlaskClient, connection: Connection) -> None:
        client.post(PATH, json={"name": "mail", **OTHERS})

        response = client.patch(
            f"{PATH}/mail",
            json={
                "weight": 9,
                "rate_limit": None,
                "key_limit": None,
                "type_limits": {"email": {"paused": True, "rate_limit": None}, "sms": {"rate_limit": 1}},
                "retention": {"failed": None, "cancelled": 5},
            },
        )

        assert response.status_code == 200
        assert settings(response.json) == {
            **OTHERS,
            "weight": 9,
            "rate_limit": None,
            "key_limit": 1,
            "type_limits": {
                "email": {"rate_limit": None, "rate_period": 60, "paused": True},
                "sms": {"rate_limit": 1, "rate_period": 1, "paused": False},
            },
            "retention": {"completed": 3600, "cancelled": 5},
        }
        assert audit(connection)[-1] == ("anybody", "queue.change", "mail")

    def test_a_limit_of_a_type_can_be_taken_away(self, client: FlaskClient) -> None:
        client.post(PATH, json={"name": "mail", **OTHERS})

        assert client.patch(f"{PATH}/mail", json={"type_limits": {"email": None}}).json["type_limits"] == {}
        assert client.patch(f"{PATH}/mail", json={"retention": None}).json["retention"] == {}

    def test_nothing_changed_is_no_new_version(self, client: FlaskClient) -> None:
        before = client.post(PATH, json={"name": "mail", "weight": 3}).json

        assert client.patch(f"{PATH}/mail", json={"weight": 3}).json == before
        assert client.patch(f"{PATH}/mail", json={}).json == before

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"weight": 0}, "/weight"),
            ({"colour": 1}, "/colour"),
            ({"name": "x"}, "/name"),
            ({"type_limits": {"a": {"b": 1}}}, "/type_limits/a/b"),
            ({"type_limits": {"": {}}}, "/type_limits/"),
            ({"retention": {"running": 1}}, "/retention/running"),
        ],
    )
    def test_nonsense_is_refused_and_nothing_changed(
        self, client: FlaskClient, body: dict[str, Any], pointer: str
    ) -> None:
        before = client.get(f"{PATH}/default").json

        response = client.patch(f"{PATH}/default", json=body)

        assert (response.status_code, response.json["errors"][0]["pointer"]) == (422, pointer)
        assert client.get(f"{PATH}/default").json == before

    def test_of_changes_at_once_none_is_lost(self, app: Flask, client: FlaskClient) -> None:
        types = ("a", "b", "c", "d")
        ready = threading.Barrier(len(types))

        def change(type_: str) -> None:
            other = app.test_client()
            ready.wait(10)
            for value in range(1, 8):
                response = other.patch(f"{PATH}/default", json={"type_limits": {type_: {"rate_limit": value}}})
                assert response.status_code == 200

        threads = [threading.Thread(target=change, args=[type_]) for type_ in types]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

        limits = client.get(f"{PATH}/default").json["type_limits"]
        assert {type_: limit["rate_limit"] for type_, limit in limits.items()} == dict.fromkeys(types, 7)


class TestEtag:
    @pytest.mark.parametrize(
        ("method", "suffix", "body"),
        [
            ("PUT", "", {"weight": 2}),
            ("PATCH", "", {"weight": 2}),
            ("DELETE", "", None),
            ("DELETE", "?force=true", None),
            ("POST", "/pause", None),
            ("POST", "/resume", None),
        ],
    )
    def test_a_change_of_what_somebody_else_has_changed_is_refused(
        self, client: FlaskClient, method: str, suffix: str, body: Any
    ) -> None:
        stale = client.post(PATH, json={"name": "mail"}).headers["ETag"]
        fresh = client.patch(f"{PATH}/mail", json={"priority": 1}).headers["ETag"]

        for tag in (stale, '"nonsense"', "1"):
            refused = client.open(f"{PATH}/mail{suffix}", method=method, json=body, headers={"If-Match": tag})
            assert (refused.status_code, refused.json["code"]) == (412, "precondition_failed")
        assert client.get(f"{PATH}/mail").headers["ETag"] == fresh

        done = client.open(f"{PATH}/mail{suffix}", method=method, json=body, headers={"If-Match": fresh})
        assert done.status_code == 200

    def test_what_is_absent_matches_nothing(self, client: FlaskClient) -> None:
        response = client.put(f"{PATH}/mail", json={}, headers={"If-Match": "*"})

        assert response.status_code == 412
        assert client.get(f"{PATH}/mail").status_code == 404

    def test_an_unchanged_queue_is_not_sent_again(self, client: FlaskClient) -> None:
        etag = client.get(f"{PATH}/default").headers["ETag"]

        assert client.get(f"{PATH}/default", headers={"If-None-Match": etag}).status_code == 304


class TestDelete:
    def test_an_empty_queue_goes(self, client: FlaskClient, connection: Connection) -> None:
        client.post(PATH, json={"name": "mail"})

        response = client.delete(f"{PATH}/mail")

        assert response.json == {"message": "queue deleted", "name": "mail", "deleted_count": 0}
        assert client.get(f"{PATH}/mail").status_code == 404
        assert audit(connection)[-1] == ("anybody", "queue.delete", "mail")

    @pytest.mark.parametrize("state", ["pending", "scheduled", "retrying", "blocked", "running"])
    def test_one_with_tasks_stays_unless_forced(
        self, client: FlaskClient, connection: Connection, engine: Engine, state: str
    ) -> None:
        client.post(PATH, json={"name": "mail"})
        (task,) = enqueue(connection, "mail", **({"run_at": "2100-01-01T00:00:00Z"} if state == "scheduled" else {}))
        if state == "running":
            engine.claim(queue="mail")
        elif state in ("retrying", "blocked"):
            connection.execute("UPDATE taskflow.tasks SET state = %s WHERE id = %s", [state, task])

        refused = client.delete(f"{PATH}/mail")
        assert (refused.status_code, refused.json["code"]) == (409, "queue_not_empty")
        assert client.get(f"{PATH}/mail").status_code == 200

        forced = client.delete(f"{PATH}/mail?force=true")
        assert (forced.status_code, forced.json["deleted_count"]) == (200, 0 if state == "running" else 1)
        expected = "running" if state == "running" else "cancelled"
        assert client.get(f"/api/v1/tasks/{task}").json["state"] == expected

    def test_default_always_exists(self, client: FlaskClient) -> None:
        for suffix in ("", "?force=true"):
            response = client.delete(f"{PATH}/default{suffix}")
            assert (response.status_code, response.json["code"]) == (409, "wrong_state")
        assert client.get(f"{PATH}/default").status_code == 200

    def test_a_deleted_queue_is_created_by_its_next_task(self, client: FlaskClient) -> None:
        client.post("/api/v1/tasks", json={"type": "echo", "queue": "mail"})
        client.delete(f"{PATH}/mail?force=true")

        client.post("/api/v1/tasks", json={"type": "echo", "queue": "mail", "delay": 1000})

        assert client.get(f"{PATH}/mail").status_code == 200


class TestPause:
    def test_pause_and_resume(self, client: FlaskClient, connection: Connection) -> None:
        assert client.post(f"{PATH}/default/pause").json == {"message": "queue paused", "name": "default"}
        assert client.get(f"{PATH}/default").json["paused"] is True
        assert client.post(f"{PATH}/default/resume").json == {"message": "queue resumed", "name": "default"}
        assert client.get(f"{PATH}/default").json["paused"] is False
        assert [row[1] for row in audit(connection)] == ["queue.pause", "queue.resume"]

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ("UPDATE taskflow.queues SET paused = true WHERE name = 'default'", True),
            ("INSERT INTO taskflow.queues (name, paused) VALUES ('q', true)", True),
            ("INSERT INTO taskflow.queues (name, timeout) VALUES ('q', 5)", True),
            ("DELETE FROM taskflow.queues WHERE name = 'default'", True),
            ("INSERT INTO taskflow.queues (name) VALUES ('q')", False),
        ],
    )
    def test_workers_are_told_of_every_change_that_matters(
        self, connection: Connection, dsn: str, change: str, told: bool
    ) -> None:
        with psycopg.connect(dsn, autocommit=True) as listener:
            listener.execute("LISTEN taskflow_control")
            connection.execute(change)
            connection.execute("NOTIFY taskflow_control, 'the end'")

            heard = []
            for notify in listener.notifies(timeout=10):
                if notify.payload == "the end":
                    break
                heard.append(notify.payload)
            assert len(heard) == told


class TestPurge:
    def test_what_waits_is_cancelled_and_the_rest_stays(
        self, client: FlaskClient, connection: Connection, engine: Engine
    ) -> None:
        client.post(PATH, json={"name": "mail"})
        (running,) = enqueue(connection, "mail")
        engine.claim(queue="mail")
        waiting = enqueue(connection, "mail", 3)
        waiting += enqueue(connection, "mail", 2, run_at="2100-01-01T00:00:00Z", priority=3)
        connection.execute("UPDATE taskflow.tasks SET state = 'retrying' WHERE id = %s", [waiting[0]])
        connection.execute("UPDATE taskflow.tasks SET state = 'blocked' WHERE id = %s", [waiting[1]])
        (elsewhere,) = enqueue(connection, "default")

        response = client.post(f"{PATH}/mail/purge")

        assert response.json == {"message": "queue purged", "name": "mail", "deleted_count": 5}
        states = dict(connection.execute("SELECT id, state::text FROM taskflow.tasks").fetchall())
        assert {states[task] for task in waiting} == {"cancelled"}
        assert (states[running], states[elsewhere]) == ("running", "pending")
        details = connection.execute("SELECT action, target, details FROM taskflow.audit_log").fetchall()
        assert details[-1] == ("queue.purge", "mail", {"deleted_count": 5})

    def test_thousands_go_in_batches_and_what_is_locked_is_left(
        self, client: FlaskClient, connection: Connection, dsn: str
    ) -> None:
        tasks = enqueue(connection, "default", 4500)
        with psycopg.connect(dsn) as other:
            other.execute("SELECT FROM taskflow.tasks WHERE id = ANY (%s) FOR UPDATE", [tasks[1000:1010]])
            assert client.post(f"{PATH}/default/purge").json["deleted_count"] == 4490
        assert client.post(f"{PATH}/default/purge").json["deleted_count"] == 10
        audited = connection.execute("SELECT details->'deleted_count' FROM taskflow.audit_log ORDER BY id").fetchall()
        assert [row[0] for row in audited] == [2000, 2000, 490, 10]


class TestLimitedKeys:
    @pytest.fixture
    def limited(self, make_app: Callable[..., Flask], connection: Connection) -> FlaskClient:
        connection.execute("INSERT INTO taskflow.queues (name) VALUES ('mine'), ('other')")
        enqueue(connection, "mine", 2)
        enqueue(connection, "other", 3)
        return limited_to(make_app, connection, "mine")

    def test_other_queues_do_not_exist(self, limited: FlaskClient) -> None:
        found = limited.get(PATH).json
        assert ([queue["name"] for queue in found["queues"]], found["total"]) == (["mine"], 1)
        for method, suffix, body in [
            ("GET", "", None),
            ("PATCH", "", {"weight": 2}),
            ("DELETE", "", None),
            ("DELETE", "?force=true", None),
            ("GET", "/stats", None),
            ("POST", "/pause", None),
            ("POST", "/resume", None),
            ("POST", "/purge", None),
        ]:
            response = limited.open(f"{PATH}/other{suffix}", method=method, json=body)
            assert (response.status_code, response.json["code"]) == (404, "queue_not_found"), (method, suffix)

    def test_other_queues_cannot_be_created(self, limited: FlaskClient) -> None:
        for response in (limited.post(PATH, json={"name": "new"}), limited.put(f"{PATH}/other", json={})):
            assert (response.status_code, response.json["code"]) == (403, "queue_not_allowed")

    def test_its_own_can_be_changed_and_purged(self, limited: FlaskClient, connection: Connection) -> None:
        assert limited.patch(f"{PATH}/mine", json={"weight": 2}).status_code == 200
        assert limited.post(f"{PATH}/mine/purge").json["deleted_count"] == 2
        assert connection.execute("SELECT count(*) FROM taskflow.tasks_live").fetchone() == (3,)


def test_reading_needs_read_and_changing_needs_operate(make_app: Callable[..., Flask], connection: Connection) -> None:
    reader = limited_to(make_app, connection, None, scopes=["read"])

    assert reader.get(PATH).status_code == 200
    for method, suffix in [("POST", ""), ("PUT", "/x"), ("PATCH", "/default"), ("DELETE", "/x"), ("POST", "/x/purge")]:
        response = reader.open(f"{PATH}{suffix}", method=method, json={})
        assert (response.status_code, response.json["code"]) == (403, "forbidden"), suffix
