"""Requests that wait: bounded, cheap for the database, and not in the way of a shutdown."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from taskflow.errors import DatabaseUnavailable
from taskflow.stop_flag import StopFlag
from taskflow.web.http.problems import Problem
from taskflow.web.services import EXTENSION
from taskflow.web.tasks.waiting import WaitingRoom
from tests.web.conftest import Engine

Hold = Callable[..., threading.Thread]


@pytest.fixture
def room(app: Flask) -> WaitingRoom:
    found: WaitingRoom = app.extensions[EXTENSION].waiting
    return found


@pytest.fixture
def hold(room: WaitingRoom) -> Hold:
    """Wait for a task in a thread of its own, and return once it waits."""

    def start(task_id: int) -> threading.Thread:
        before = len(room._guests)
        thread = threading.Thread(target=room.wait, args=[task_id, 60], daemon=True)
        thread.start()
        deadline = time.monotonic() + 10
        while len(room._guests) <= before and time.monotonic() < deadline:
            time.sleep(0.001)
        return thread

    return start


def create(app: Flask) -> int:
    return int(app.test_client().post("/api/v1/tasks", json={"type": "echo"}).json["id"])


def test_each_is_woken_by_its_own_task(app: Flask, engine: Engine, hold: Hold) -> None:
    first, second = create(app), create(app)
    waiting = {task_id: hold(task_id) for task_id in (first, second)}

    ended = engine.run()

    waiting.pop(ended).join(20)
    [still] = waiting.values()
    assert still.is_alive()
    engine.run()
    still.join(20)
    assert not still.is_alive()


def test_many_who_wait_cost_one_statement_at_a_time(app: Flask, engine: Engine, hold: Hold) -> None:
    statements: list[Any] = []
    event.listen(
        app.extensions[EXTENSION].database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, _statement, parameters, *_: statements.append(parameters),
    )
    ids = sorted(create(app) for _ in range(8))
    waiting = [hold(task_id) for task_id in ids]
    for _ in ids:
        engine.run()
    for thread in waiting:
        thread.join(20)

    assert not any(thread.is_alive() for thread in waiting)
    assert any(len(parameters.get("ids", ())) > 1 for parameters in statements)


def test_beyond_the_capacity_a_request_is_refused_at_once(app: Flask, hold: Hold) -> None:
    services = app.extensions[EXTENSION]
    services.waiting._capacity = 1
    task_id = create(app)
    hold(task_id)

    response = app.test_client().get(f"/api/v1/tasks/{task_id}?wait=25")

    assert (response.status_code, response.json["code"], response.headers["Retry-After"]) == (
        503,
        "too_many_waiting",
        "1",
    )
    assert app.test_client().get(f"/api/v1/tasks/{task_id}").status_code == 200


def test_a_shutdown_keeps_nobody_waiting(app: Flask, hold: Hold) -> None:
    waiting = hold(create(app))

    app.extensions[EXTENSION].closing.set()

    waiting.join(10)
    assert not waiting.is_alive()


def test_when_the_database_goes_away_the_waiting_ends(
    app: Flask, hold: Hold, room: WaitingRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = hold(create(app))

    def away(*_: object) -> Any:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(room._database, "fetch", away)

    waiting.join(10)
    assert not waiting.is_alive()


def test_the_watching_thread_ends_with_the_last_guest_and_starts_anew(app: Flask, engine: Engine, hold: Hold) -> None:
    for _ in range(2):
        waiting = hold(create(app))
        engine.run()
        waiting.join(20)
        deadline = time.monotonic() + 10
        while any(thread.name == "taskflow-waiting-room" for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_no_capacity_refuses_all() -> None:
    with pytest.raises(Problem):
        WaitingRoom(None, 0, StopFlag()).wait(1, 1)  # type: ignore[arg-type]
