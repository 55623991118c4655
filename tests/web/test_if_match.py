"""If-Match: whatever changes or removes something does it only to what the client has read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.web.conftest import Engine
from tests.web.test_backpressure import until
from tests.web.test_dead_letters import die

Connection = psycopg.Connection[Any]

TASKS, QUEUE, SCHEDULE = "/api/v1/tasks", "/api/v1/queues/mail", "/api/v1/schedules/nightly"
OF_WAITING = [("DELETE", "/api/v1/tasks/{}"), ("DELETE", "/api/v1/jobs/{}"), ("POST", "/api/v1/tasks/{}/cancel")]
OF_ENDED = [
    ("DELETE", "/api/v1/tasks/{}?purge=true"),
    ("DELETE", "/api/v1/jobs/{}"),
    ("POST", "/api/v1/tasks/{}/retry"),
    ("POST", "/admin/tasks/{}/retry"),
]
# Tags that are none of it, or only weakly.
NO_MATCH = [
    '"stale"', "stale", '"999-000000000000"', '"9999999999-000000000000"', "W/{}", 'W/{}, "stale"', "w/{}",
    '"x{}', '"stale" {}', "", ",",
]  # fmt: skip
MATCH = ["*", "{}", '"stale", {}', '{},"stale"', 'W/"x","a,b" ,\t{} , "y"', ", {}", 'W/{}, "999-000000000000", {}']


def create(client: FlaskClient, **body: Any) -> str:
    return str(client.post(TASKS, json={"type": "echo", **body}).json["id"])


def tag_of(client: FlaskClient, path: str) -> str:
    return client.get(path).headers["ETag"]


def made(client: FlaskClient, path: str) -> str:
    """Make what `path` is the address of."""
    if path == QUEUE:
        client.post("/api/v1/queues", json={"name": "mail"})
    elif path == SCHEDULE:
        client.post("/api/v1/schedules", json={"name": "nightly", "type": "echo", "cron": "@daily"})
    else:
        path = f"{TASKS}/{create(client)}"
    return path


@pytest.mark.parametrize("path", [TASKS, QUEUE, SCHEDULE])
class TestLists:
    @pytest.mark.parametrize("given", MATCH)
    def test_one_of_the_tags_is_enough(self, client: FlaskClient, path: str, given: str) -> None:
        path = made(client, path)
        header = {"If-Match": given.replace("{}", tag_of(client, path))}
        assert client.patch(path, json={"priority": 2}, headers=header).status_code == 200

    @pytest.mark.parametrize("given", NO_MATCH)
    def test_a_weak_tag_is_none_and_what_is_no_tag_neither(self, client: FlaskClient, path: str, given: str) -> None:
        path = made(client, path)
        tag = tag_of(client, path)
        refused = client.patch(path, json={"priority": 2}, headers={"If-Match": given.replace("{}", tag)})
        assert (refused.status_code, refused.json["code"]) == (412, "precondition_failed")
        assert tag_of(client, path) == tag


class TestTasks:
    @pytest.mark.parametrize(("method", "path"), OF_WAITING)
    def test_one_that_waits(self, client: FlaskClient, connection: Connection, method: str, path: str) -> None:
        task = create(client, delay=60)
        _only_as_it_is(client, connection, task, method, path)

    @pytest.mark.parametrize(("method", "path"), OF_ENDED)
    def test_one_that_has_ended(
        self, client: FlaskClient, connection: Connection, engine: Engine, method: str, path: str
    ) -> None:
        task = die(connection, engine)
        _only_as_it_is(client, connection, task, method, path)

    def test_one_that_runs(self, client: FlaskClient, connection: Connection, engine: Engine) -> None:
        task = create(client)
        stale = tag_of(client, f"{TASKS}/{task}")
        engine.claim()
        path = f"{TASKS}/{task}/cancel"
        assert client.post(path, headers={"If-Match": stale}).status_code == 412
        assert client.get(f"{TASKS}/{task}").json["cancel_requested"] is False
        assert client.post(path, headers={"If-Match": tag_of(client, f"{TASKS}/{task}")}).status_code == 202

    @pytest.mark.parametrize(("method", "path"), [*OF_WAITING, *OF_ENDED])
    def test_what_is_not_there_is_not_found(self, client: FlaskClient, method: str, path: str) -> None:
        for tag in ("*", '"1-000000000000"'):
            response = client.open(path.format(77), method=method, headers={"If-Match": tag})
            assert (response.status_code, response.json["code"]) == (404, "task_not_found")

    @pytest.mark.parametrize(("method", "path"), OF_WAITING)
    def test_one_that_somebody_is_just_changing(
        self, app: Flask, connection: Connection, dsn: str, method: str, path: str
    ) -> None:
        task = create(app.test_client(), delay=60)
        change = """SELECT taskflow.change_task(%s, '{"priority": 3}')"""
        response = _meanwhile(app, connection, dsn, (change, task), method, path.format(task), f"{TASKS}/{task}")
        assert response.status_code == 412
        assert app.test_client().get(f"{TASKS}/{task}").json["state"] == "scheduled"

    @pytest.mark.parametrize(("method", "path"), OF_ENDED)
    def test_one_that_somebody_is_just_retrying(
        self, app: Flask, connection: Connection, engine: Engine, dsn: str, method: str, path: str
    ) -> None:
        task = die(connection, engine)
        retry = ("SELECT taskflow.retry_task(%s)", task)
        response = _meanwhile(app, connection, dsn, retry, method, path.format(task), f"{TASKS}/{task}")
        assert response.status_code == 412
        assert app.test_client().get(f"{TASKS}/{task}").json["state"] == "pending"

    def test_one_that_somebody_is_just_removing_is_not_found(
        self, app: Flask, connection: Connection, engine: Engine, dsn: str
    ) -> None:
        task = die(connection, engine)
        remove = ("SELECT taskflow.remove_task(%s)", task)
        response = _meanwhile(app, connection, dsn, remove, "POST", f"{TASKS}/{task}/retry", f"{TASKS}/{task}")
        assert (response.status_code, response.json["code"]) == (404, "task_not_found")

    def test_without_it_nothing_more_is_asked(
        self, client: FlaskClient, connection: Connection, engine: Engine
    ) -> None:
        connection.execute("DROP FUNCTION taskflow.lock_task(bigint)")
        ended, waiting = die(connection, engine), create(client)
        assert client.post(f"{TASKS}/{waiting}/cancel").status_code == 200
        assert client.post(f"{TASKS}/{ended}/retry").status_code == 200
        assert client.patch(f"{TASKS}/{ended}", json={"priority": 3}).status_code == 200
        assert client.delete(f"{TASKS}/{waiting}?purge=true").status_code == 200


class TestPurgeOfAQueue:
    def test_only_as_it_is(self, client: FlaskClient) -> None:
        made(client, QUEUE)
        task, stale = create(client, queue="mail"), tag_of(client, QUEUE)
        client.patch(QUEUE, json={"weight": 2})
        for tag in (stale, '"stale"'):
            refused = client.post(f"{QUEUE}/purge", headers={"If-Match": tag})
            assert (refused.status_code, refused.json["code"]) == (412, "precondition_failed")
        assert client.get(f"{TASKS}/{task}").json["state"] == "pending"
        done = client.post(f"{QUEUE}/purge", headers={"If-Match": tag_of(client, QUEUE)})
        assert (done.status_code, done.json["deleted_count"]) == (200, 1)

    def test_one_that_somebody_is_just_changing(self, app: Flask, connection: Connection, dsn: str) -> None:
        made(app.test_client(), QUEUE)
        task = create(app.test_client(), queue="mail")
        change = ("UPDATE taskflow.queues SET weight = 2, version = version + 1 WHERE name = %s", "mail")
        response = _meanwhile(app, connection, dsn, change, "POST", f"{QUEUE}/purge", QUEUE)
        assert response.status_code == 412
        assert app.test_client().get(f"{TASKS}/{task}").json["state"] == "pending"


def _only_as_it_is(client: FlaskClient, connection: Connection, task: str, method: str, path: str) -> None:
    before = tag_of(client, f"{TASKS}/{task}")
    connection.execute("UPDATE taskflow.tasks SET version = version + 1 WHERE id = %s", [task])
    recorded = "SELECT count(*) FROM taskflow.audit_log"
    for tag in (before, '"stale"', f"W/{tag_of(client, f'{TASKS}/{task}')}"):
        refused = client.open(path.format(task), method=method, headers={"If-Match": tag})
        assert (refused.status_code, refused.json["code"]) == (412, "precondition_failed")
    assert connection.execute(recorded).fetchone() == (0,)
    given = {"If-Match": f"{before}, {tag_of(client, f'{TASKS}/{task}')}"}
    assert client.open(path.format(task), method=method, headers=given).status_code == 200
    assert connection.execute(recorded).fetchone() == (1,)


def _meanwhile(
    app: Flask, connection: Connection, dsn: str, change: tuple[str, str], method: str, path: str, read: str
) -> Any:
    """The answer to a request that knows what `read` was, and waits for a change of it that is then committed."""
    tag = tag_of(app.test_client(), read)
    with psycopg.connect(dsn) as other, ThreadPoolExecutor(1) as pool:
        other.execute(change[0].encode(), [change[1]])
        asked = pool.submit(lambda: app.test_client().open(path, method=method, headers={"If-Match": tag}))
        waits = "SELECT FROM pg_stat_activity a WHERE %s = ANY (pg_blocking_pids(a.pid))"
        until(lambda: connection.execute(waits, [other.info.backend_pid]).fetchone() is not None, 20)
        other.commit()
        return asked.result(timeout=20)
