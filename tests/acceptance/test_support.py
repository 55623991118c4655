"""The acceptance tests' own tools: what they promise must hold, or a red test shows nothing and a green one less."""

from __future__ import annotations

import fcntl
import signal
import threading
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.acceptance.support import Gate, Processes


def test_a_failed_wait_says_what_it_waited_for_and_shows_the_logs(processes: Processes) -> None:
    processes.start("version", dsn="").wait()
    with pytest.raises(AssertionError) as caught:
        processes.wait_until(lambda: "the impossible" == "", timeout=0.05)
    message = str(caught.value)
    assert "the impossible" in message
    assert "last answer was False" in message
    assert "version-1" in message
    assert "taskflow 0." in message


def test_a_wait_returns_the_first_true_answer_and_bears_a_database_that_is_away(processes: Processes) -> None:
    answers = iter([None, psycopg.OperationalError("starting up"), 0, "there"])

    def ask() -> object:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert processes.wait_until(ask) == "there"


def test_a_command_that_fails_tells_its_exit_code_and_its_reason(processes: Processes) -> None:
    failed = processes.start("no-such-command", dsn="")
    assert failed.wait() == 2
    assert "no-such-command" in failed.logs()


def test_a_gate_holds_until_it_is_opened(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    passed = threading.Event()

    def pass_through() -> None:
        with open(gate.payload["gate"]) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            passed.set()

    waiting = threading.Thread(target=pass_through)
    waiting.start()
    assert not passed.wait(0.05)
    gate.open()
    waiting.join(10)
    assert passed.is_set()


def test_a_worker_runs_what_the_tests_define(connection, dsn, start_worker, wait_until) -> None:
    worker = start_worker(dsn, "--concurrency", "2")
    connection.execute("INSERT INTO taskflow.tasks (type, payload) VALUES ('noop', '{}'), ('echo', '{\"a\": 1}')")
    wait_until(lambda: count(connection, "state = 'completed'") == 2)
    assert worker.stop() == 0, worker.logs()


def test_a_worker_can_be_held_killed_and_replaced(connection, dsn, gate, start_worker, wait_until, processes) -> None:
    payload = Jsonb(gate.payload)
    connection.execute(
        "INSERT INTO taskflow.tasks (type, payload) VALUES ('blocking', %s), ('async_wait', %s)", [payload] * 2
    )
    worker = start_worker(dsn, "--concurrency", "2")
    wait_until(lambda: len(gate.arrivals()) == 2)
    worker.signal(signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL
    wait_until(lambda: not processes.left_over())
    assert count(connection, "state = 'running'") == 2


def test_nothing_outlives_its_test(connection, dsn, start_worker, wait_until, processes) -> None:
    supervisor = start_worker(dsn, "--processes", "2")
    wait_until(lambda: connection.execute("SELECT count(*) FROM taskflow.workers").fetchone()[0] == 2)
    assert len(supervisor.children()) >= 2
    supervisor.signal(signal.SIGSTOP)
    processes.close()
    wait_until(lambda: not processes.left_over())


def count(connection: psycopg.Connection, condition: str) -> int:
    return connection.execute(f"SELECT count(*) FROM taskflow.tasks WHERE {condition}").fetchone()[0]


def test_a_server_listens_when_it_is_handed_out(dsn, start_server) -> None:
    server = start_server(dsn)
    assert httpx.get(server.url + "/health", timeout=10).status_code == 200
    assert server.stop() == 0, server.logs()
