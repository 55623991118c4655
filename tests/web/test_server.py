"""`taskflow server`: a real gunicorn on a loopback port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from taskflow.cli.main import main
from taskflow.store.migrate import migrate
from tests.forked import start_taskflow
from tests.web.conftest import ADMIN_KEY, Engine

SECONDS = 30


class RunningServer:
    """A `taskflow server` of its own; `url` is where it listens."""

    def __init__(self, dsn: str, log: Path, **environment: str) -> None:
        self.log = log
        variables = {
            **os.environ,
            "DATABASE_URL": dsn,
            "TASKFLOW_AUTH": "off",
            "TASKFLOW_LOG_FORMAT": "json",
            **environment,
        }
        self.process = start_taskflow(["server", "--port", "0"], variables, log)
        self.url = ""
        self.address = ("", 0)

    def wait_until_it_listens(self) -> None:
        self.url = self.wait_for_the_line("server_started")["url"]
        host, port = self.url.removeprefix("http://").split(":")
        self.address = (host, int(port))

    def wait_until_it_serves(self) -> None:
        self.wait_until_it_listens()
        with self.connect() as opened:  # the first request is answered when a process serves
            opened.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert opened.recv(12) == b"HTTP/1.1 200"

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=SECONDS)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait()
                raise

    def wait_for_the_line(self, event: str) -> dict[str, Any]:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            for line in self.lines():
                if line["event"] == event:
                    return line
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())


Start = Callable[..., RunningServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[RunningServer] = []

    def make(dsn: str, **environment: str) -> RunningServer:
        running.append(RunningServer(dsn, tmp_path / f"server-{len(running)}.log", **environment))
        running[-1].wait_until_it_serves()
        return running[-1]

    try:
        yield make
    finally:
        for server in running:
            server.close()


@pytest.fixture
def server(start: Start, dsn: str) -> RunningServer:
    return start(dsn, WEB_CONCURRENCY="1")


@pytest.mark.parametrize(
    ("dsn_of", "event", "reason"),
    [
        (lambda dsn: dsn, "database_refuses", "has no taskflow schema yet. Run `taskflow migrate`"),
        (lambda dsn: dsn.replace("/test_", "/missing_", 1), "database_refuses", "Make it by CREATE DATABASE"),
        (lambda dsn: "postgresql://x@/x?host=/nonexistent", "database_unavailable", "PostgreSQL cannot be reached"),
    ],
)
def test_a_server_says_once_at_its_start_why_the_database_is_of_no_use_and_starts_all_the_same(
    start: Start, empty_dsn: str, dsn_of: Callable[[str], str], event: str, reason: str
) -> None:
    server = start(dsn_of(empty_dsn), WEB_CONCURRENCY="2")
    line = server.wait_for_the_line(event)
    assert reason in line["error"]
    assert (line["level"], line["next"]) == ("warning", "answering 503 until it is back")
    assert server.stop() == 0
    assert len([line for line in server.lines() if line["event"].startswith("database_")]) == 1


def test_a_server_with_a_database_that_serves_says_nothing_of_it(server: RunningServer) -> None:
    assert server.stop() == 0
    assert [line["event"] for line in server.lines() if line["level"] != "info"] == []


@pytest.mark.parametrize(("auth", "key", "said"), [("on", "abc", 1), ("on", "k" * 16, 0), ("off", "abc", 0)])
def test_a_first_key_that_is_easily_guessed_is_said_once_before_the_first_request(
    start: Start, dsn: str, auth: str, key: str, said: int
) -> None:
    server = start(dsn, WEB_CONCURRENCY="2", TASKFLOW_AUTH=auth, TASKFLOW_ADMIN_KEY=key)
    found = [line for line in server.lines() if line["event"] == "admin_key_short"]
    assert [(line["level"], line["setting"]) for line in found] == said * [("warning", "TASKFLOW_ADMIN_KEY")]
    httpx.get(f"{server.url}/api/v1/queues", headers={"X-API-Key": key})
    assert len([line for line in server.lines() if line["event"] == "admin_key_short"]) == said


def test_requests_share_one_connection(server: RunningServer) -> None:
    connection = HTTPConnection(*server.address, timeout=SECONDS)
    connection.connect()
    own = connection.sock.getsockname()
    for _ in range(3):
        connection.request("POST", "/api/v1/tasks", b'{"type": "echo"}', {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert (response.status, json.load(response)["type"]) == (201, "echo")
        assert connection.sock.getsockname() == own
        assert response.headers["Connection"] == "keep-alive"


def test_sigterm_finishes_what_is_under_way_keeps_nobody_waiting_and_leaves_nothing(
    server: RunningServer, engine: Engine
) -> None:
    task_id = httpx.post(f"{server.url}/api/v1/tasks", json={"type": "echo"}).json()["id"]
    answers: list[httpx.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(httpx.get(f"{server.url}/api/v1/tasks/{task_id}?wait=25", timeout=SECONDS))
    )
    waiting.start()
    _until(lambda: b"tasks_live.id = ANY" in _statements(engine))

    assert server.stop() == 0

    waiting.join(SECONDS)
    assert [answer.json()["state"] for answer in answers] == ["pending"]
    with pytest.raises(ConnectionError):
        server.connect()


def test_sigterm_before_anything_is_served_is_an_orderly_end_too(dsn: str, tmp_path: Path) -> None:
    server = RunningServer(dsn, tmp_path / "server.log")
    try:
        server.wait_until_it_listens()  # what serves is imported then

        assert server.stop() == 0
    finally:
        server.close()


def test_metrics_are_the_sum_of_all_processes(start: Start, dsn: str) -> None:
    server = start(dsn, WEB_CONCURRENCY="2")
    for _ in range(20):
        assert httpx.get(f"{server.url}/api/v1/tasks/1").status_code == 404

    counts = {
        line.rpartition(" ")[2]
        for _ in range(5)
        for line in httpx.get(f"{server.url}/metrics").text.splitlines()
        if line.startswith('taskflow_http_requests_total{method="GET",status="404"}')
    }

    assert counts == {"20.0"}


def test_the_database_goes_away_and_comes_back_without_a_restart(
    start: Start, cluster_factory: Callable[..., Any]
) -> None:
    cluster = cluster_factory()
    migrate(cluster.dsn("postgres"))
    server = start(cluster.dsn("postgres"), WEB_CONCURRENCY="1")

    def create() -> httpx.Response:
        return httpx.post(f"{server.url}/api/v1/tasks", json={"type": "echo"}, timeout=SECONDS)

    first = create()
    assert first.status_code == 201
    cluster.stop("immediate")
    away = create()
    assert (away.status_code, away.headers["Retry-After"], away.json()["code"]) == (503, "1", "database_unavailable")
    cluster.start()
    assert create().status_code == 201
    assert httpx.get(f"{server.url}/api/v1/tasks/{first.json()['id']}").status_code == 200


NO_HTTP = [
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, "uri_too_long"),
    (b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
    (b"GET / HTTP/1.1\r\nX-A: " + b"b" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
    (b"nonsense\r\n\r\n", 400, "bad_request"),
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400, "bad_request"),
    (b"GET /live HTTP/1.1\r\nHost: localhost\r\nExpect: x\r\n\r\n", 417, "expectation_failed"),
    (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: x\r\n\r\n", 501, "not_implemented"),
]


def test_what_is_no_http_or_too_long_is_a_problem_document_too(server: RunningServer) -> None:
    for sent, status, code in NO_HTTP:
        with server.connect() as opened:
            opened.sendall(sent)
            answer = b"".join(iter(lambda opened=opened: opened.recv(65536), b""))  # type: ignore[misc]

        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"application/problem+json" in head
        assert json.loads(body)["code"] == code


def test_a_chunked_body_beyond_the_limit_is_413(server: RunningServer) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    response = httpx.post(
        f"{server.url}/api/v1/tasks", content=chunks(), headers={"Content-Type": "application/json"}, timeout=SECONDS
    )

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_at_level_debug_every_request_is_one_line_without_its_query(start: Start, dsn: str) -> None:
    server = start(dsn, WEB_CONCURRENCY="1", TASKFLOW_LOG_LEVEL="debug")
    httpx.get(f"{server.url}/api/v1/tasks/1?secret=x", headers={"X-Request-ID": "mine"})
    server.stop()

    [line] = [line for line in server.lines() if line.get("request_id") == "mine"]
    assert (line["event"], line["method"], line["path"], line["status"]) == ("request", "GET", "/api/v1/tasks/1", 422)
    assert line["duration_ms"] > 0
    assert "secret" not in server.log.read_text()


def test_otherwise_the_log_is_one_line_at_start(server: RunningServer) -> None:
    httpx.get(f"{server.url}/api/v1/tasks/1")
    server.stop()

    assert [line["event"] for line in server.lines()] == ["server_started"]


class TestRefusals:
    """What cannot work is one clear line, before anything listens."""

    def invoke(self, *arguments: str, **environment: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["server", *arguments], env=environment)
        return result.exit_code, result.output

    def test_without_a_database(self) -> None:
        code, output = self.invoke()

        assert (code, output.count("\n")) == (2, 4)
        assert output.startswith("error[TF-SETTINGS]: ")
        assert "why: DATABASE_URL: is not set" in output

    def test_on_the_network_without_a_key(self) -> None:
        code, output = self.invoke("--host", "0.0.0.0", DATABASE_URL="postgresql://x")

        assert (code, output.count("\n")) == (2, 4)
        assert "TASKFLOW_ADMIN_KEY" in output

    def test_on_a_port_that_is_taken(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            code, output = self.invoke("--port", port, DATABASE_URL="postgresql://x", TASKFLOW_ADMIN_KEY=ADMIN_KEY)

        assert code == 1
        [line] = [line for line in output.splitlines() if "why:" in line]
        assert f"port {port}" in line


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _statements(engine: Engine) -> bytes:
    rows = engine.connection.execute(
        "SELECT query FROM pg_stat_activity WHERE application_name = 'taskflow web' AND datname = current_database()"
    ).fetchall()
    return "\n".join(query for (query,) in rows).encode()
