"""Workers are paused, resumed and drained over HTTP, and do so within a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.acceptance.support import Gate, Process, Server

Connection = psycopg.Connection[Any]
WITHIN_SECONDS = 1.0
# No heartbeat comes by chance while a test looks.
RARE_HEARTBEAT = {"TASKFLOW_HEARTBEAT_INTERVAL": "60", "TASKFLOW_HEARTBEAT_TIMEOUT": "300"}


def enqueue(connection: Connection, type_: str, payload: dict[str, Any] | None = None, count: int = 1) -> None:
    connection.execute(
        "INSERT INTO taskflow.tasks (type, payload) SELECT %s, %s FROM generate_series(1, %s)",
        [type_, Jsonb(payload or {}), count],
    )


def count(connection: Connection, state: str) -> int:
    row = connection.execute("SELECT count(*) FROM taskflow.tasks WHERE state = %s", [state]).fetchone()
    assert row is not None
    return int(row[0])


def ready_ids(worker: Process) -> list[str]:
    return [str(event["worker_id"]) for event in worker.events() if event["event"] == "worker_ready"]


def states_heard(worker: Process) -> list[str]:
    return [event["state"] for event in worker.events() if event["event"] == "worker_state_wanted"]


@pytest.fixture
def api(start_server: Callable[..., Server], dsn: str) -> httpx.Client:
    return httpx.Client(base_url=f"{start_server(dsn).url}/api/v1", timeout=10)


@pytest.fixture
def operate(api: httpx.Client, wait_until: Callable[..., Any]) -> Callable[[Process, str, str], float]:
    """`operate(worker, "pause", "paused")`: seconds from the answer until the worker has heard it."""

    def change(worker: Process, verb: str, state: str) -> float:
        (worker_id,) = wait_until(lambda: ready_ids(worker))
        before = len(states_heard(worker))
        answer = api.post(f"/workers/{worker_id}/{verb}")
        assert answer.status_code == 200, answer.text
        began = time.monotonic()
        wait_until(lambda: states_heard(worker)[before:] == [state], what=f"the worker has heard {state}")
        return time.monotonic() - began

    return change


def test_an_idle_worker_is_paused_and_resumed_within_a_second(
    dsn: str,
    connection: Connection,
    start_worker: Callable[..., Process],
    operate: Callable[[Process, str, str], float],
    wait_until: Callable[..., Any],
) -> None:
    worker = start_worker(dsn, env=RARE_HEARTBEAT)

    assert operate(worker, "pause", "paused") < WITHIN_SECONDS
    enqueue(connection, "noop")
    assert operate(worker, "resume", "running") < WITHIN_SECONDS

    wait_until(lambda: count(connection, "completed") == 1)
    row = connection.execute("SELECT started_at - created_at > '1 ms' FROM taskflow.tasks").fetchone()
    assert row == (True,)


def test_a_busy_worker_stops_claiming_within_a_second_and_gives_back_what_it_held_ready(
    dsn: str,
    connection: Connection,
    start_worker: Callable[..., Process],
    operate: Callable[[Process, str, str], float],
    wait_until: Callable[..., Any],
) -> None:
    worker = start_worker(dsn, env=RARE_HEARTBEAT)
    enqueue(connection, "slow", {"seconds": 0.002}, count=60_000)
    wait_until(lambda: count(connection, "completed") > 500)

    assert operate(worker, "pause", "paused") < WITHIN_SECONDS

    wait_until(lambda: count(connection, "running") == 0)
    waiting = count(connection, "pending")
    assert waiting > 0, "the worker had done it all before it was paused"
    enqueue(connection, "noop")  # rings the bell of whoever sleeps: nobody may answer
    assert operate(worker, "resume", "running") < WITHIN_SECONDS
    wait_until(lambda: count(connection, "pending") < waiting)


def test_a_paused_worker_finishes_what_runs(
    dsn: str,
    connection: Connection,
    start_worker: Callable[..., Process],
    operate: Callable[[Process, str, str], float],
    api: httpx.Client,
    gate: Gate,
    wait_until: Callable[..., Any],
) -> None:
    worker = start_worker(dsn, env=RARE_HEARTBEAT)
    enqueue(connection, "blocking", gate.payload)
    wait_until(gate.arrivals)

    operate(worker, "pause", "paused")
    (shown,) = api.get("/workers").json()["workers"]
    assert (shown["state"], shown["active_tasks"], shown["running"][0]["type"]) == ("paused", 1, "blocking")
    gate.open()

    wait_until(lambda: count(connection, "completed") == 1)


def test_a_drained_worker_finishes_what_runs_gives_back_the_rest_and_ends(
    dsn: str,
    connection: Connection,
    start_worker: Callable[..., Process],
    api: httpx.Client,
    gate: Gate,
    wait_until: Callable[..., Any],
) -> None:
    worker = start_worker(dsn, "--concurrency", "1", env=RARE_HEARTBEAT)
    enqueue(connection, "blocking", gate.payload, count=2)
    wait_until(gate.arrivals)
    (worker_id,) = ready_ids(worker)

    assert api.post(f"/workers/{worker_id}/drain").json() == {"message": "worker draining", "worker_id": worker_id}
    wait_until(lambda: "worker_draining" in worker.logs(), timeout=WITHIN_SECONDS)
    assert api.get(f"/workers/{worker_id}").json()["state"] == "draining"
    assert api.post(f"/workers/{worker_id}/resume").status_code == 409
    gate.open()

    assert worker.wait() == 0
    assert (count(connection, "completed"), count(connection, "pending")) == (1, 1)
    assert api.get(f"/workers/{worker_id}").status_code == 404


def test_a_worker_that_ends_by_a_signal_is_shown_as_draining(
    dsn: str,
    connection: Connection,
    start_worker: Callable[..., Process],
    api: httpx.Client,
    gate: Gate,
    wait_until: Callable[..., Any],
) -> None:
    worker = start_worker(dsn, env=RARE_HEARTBEAT)
    enqueue(connection, "blocking", gate.payload)
    wait_until(gate.arrivals)
    (worker_id,) = ready_ids(worker)

    worker.signal(15)

    wait_until(lambda: api.get(f"/workers/{worker_id}").json()["state"] == "draining")
    gate.open()
    assert worker.wait() == 0


def test_a_supervisor_does_not_replace_what_was_drained_and_ends_with_the_last(
    dsn: str, start_worker: Callable[..., Process], api: httpx.Client, wait_until: Callable[..., Any]
) -> None:
    supervisor = start_worker(dsn, "--processes", "2", env=RARE_HEARTBEAT)
    first, second = wait_until(lambda: len(found := ready_ids(supervisor)) == 2 and found)

    api.post(f"/workers/{first}/drain")
    wait_until(lambda: "worker_process_drained" in supervisor.logs())
    assert [worker["id"] for worker in api.get("/workers").json()["workers"]] == [second]
    api.post(f"/workers/{second}/drain")

    assert supervisor.wait() == 0
    assert len(ready_ids(supervisor)) == 2, "a process was started anew"


def test_a_type_of_a_worker_that_starts_is_known_to_a_running_server_within_five_seconds(
    dsn: str, start_worker: Callable[..., Process], api: httpx.Client, wait_until: Callable[..., Any]
) -> None:
    wrong = {"type": "webhook", "payload": {"url": 5}}
    assert api.post("/tasks", json=wrong).status_code == 201  # nobody knows the type yet
    worker = start_worker(dsn, "--types", "webhook")
    wait_until(lambda: ready_ids(worker))

    wait_until(lambda: api.post("/tasks", json=wrong).status_code == 422, timeout=5)

    (known,) = api.get("/types").json()["types"]
    assert (known["type"], known["workers"]) == ("webhook", ready_ids(worker))
    assert known["schema"]["type"] == "object"


def test_a_paused_worker_gives_back_what_it_held_ready_while_something_runs(
    dsn: str,
    connection: Connection,
    start_worker: Callable[..., Process],
    operate: Callable[[Process, str, str], float],
    gate: Gate,
    wait_until: Callable[..., Any],
) -> None:
    # So much is held ready, and kept however long the one task takes.
    worker = start_worker(dsn, "--concurrency", "1", env={**RARE_HEARTBEAT, "TASKFLOW_PREFETCH_SECONDS": "10"})
    enqueue(connection, "noop", count=200)
    wait_until(lambda: count(connection, "completed") == 200)
    connection.execute(
        "INSERT INTO taskflow.tasks (type, payload, run_at)"
        " SELECT CASE n WHEN 1 THEN 'blocking' ELSE 'noop' END, %s, now() + n * interval '1 us'"
        " FROM generate_series(1, 50) n",
        [Jsonb(gate.payload)],
    )
    wait_until(lambda: gate.arrivals() and count(connection, "running") == 50)

    operate(worker, "pause", "paused")

    wait_until(lambda: (count(connection, "running"), count(connection, "pending")) == (1, 49))
    gate.open()
    wait_until(lambda: count(connection, "completed") == 201)
    assert count(connection, "pending") == 49
