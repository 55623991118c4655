"""As an attacker would: each gets a clear answer, the server's memory stays flat, and other clients do not notice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from flask.testing import FlaskClient

from tests.web.conftest import ADMIN_KEY
from tests.web.test_server import SECONDS, RunningServer, Start, start  # noqa: F401  (a fixture)

MIB = 1024 * 1024
HONEST = {"X-API-Key": ADMIN_KEY}


@pytest.fixture(scope="module")
def server(shared_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One for all: what an attack leaves behind would be seen by the next."""
    attacked = RunningServer(
        shared_dsn,
        tmp_path_factory.mktemp("attacked") / "log",
        WEB_CONCURRENCY="1",
        TASKFLOW_AUTH="on",
        TASKFLOW_ADMIN_KEY=ADMIN_KEY,
        TASKFLOW_WEB_THREADS="20",
    )
    try:
        attacked.wait_until_it_serves()
        yield attacked
    finally:
        attacked.close()


def memory_bytes(server: RunningServer) -> int:
    """Resident memory of all processes of the server that is no shared page."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    total = 0
    for pid in (str(server.process.pid), *children):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) * 1024
    return total


def honest_seconds(server: RunningServer) -> float:
    """How long somebody else waits for a task to be created."""
    started = time.monotonic()
    response = httpx.post(f"{server.url}/api/v1/tasks", json={"type": "echo"}, headers=HONEST, timeout=SECONDS)
    assert response.status_code == 201
    return time.monotonic() - started


def exchange(server: RunningServer, *pieces: bytes) -> tuple[int, dict[str, Any]]:
    """Send the pieces, as far as the server takes them, and read its one answer."""
    with server.connect() as opened:
        try:
            for piece in pieces:
                opened.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has answered and closed
        answer = b""
        while b"\r\n\r\n" not in answer or len(answer) < length_of(answer):
            more = opened.recv(65536)
            if not more:
                break
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def length_of(answer: bytes) -> int:
    head = answer.partition(b"\r\n\r\n")[0]
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return len(head) + 4 + int(line.split(b":")[1])
    return len(answer) + 1


def post_head(length: int | str, key: str = ADMIN_KEY, path: str = "/api/v1/tasks") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


class TestBodies:
    def test_100_mb_are_refused_without_being_read_or_kept(self, server: RunningServer) -> None:
        honest_seconds(server)
        before = memory_bytes(server)

        for _ in range(5):
            status, problem = exchange(server, post_head(100 * MIB), *[b" " * MIB] * 100)
            assert (status, problem["code"]) == (413, "body_too_large")

        assert memory_bytes(server) - before < 20 * MIB
        assert honest_seconds(server) < 1

    def test_a_large_body_of_a_guesser_is_not_read_either(self, server: RunningServer) -> None:
        started = time.monotonic()
        status, problem = exchange(server, post_head(10**12, key="guess"), *[b" " * MIB] * 100)

        assert (status, problem["code"]) == (401, "unauthorized")
        assert time.monotonic() - started < SECONDS / 2

    def test_a_body_without_end_is_cut_off(self, server: RunningServer) -> None:
        head = post_head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        chunk = b"100000\r\n" + b" " * MIB + b"\r\n"

        status, problem = exchange(server, head, *[chunk] * 100)

        assert (status, problem["code"]) == (413, "body_too_large")

    def test_deep_nesting_is_refused_and_the_server_lives_on(self, server: RunningServer) -> None:
        for body in (b"[" * MIB, b'{"a":' * 200_000, b'{"type":"echo","payload":' + b'{"a":' * 150 + b"1" + b"}" * 151):
            status, problem = exchange(server, post_head(len(body)), body)
            assert (status, problem["code"]) == (400, "too_deeply_nested")
        assert honest_seconds(server) < 1

    def test_slow_bodies_leave_threads_for_the_others(self, server: RunningServer) -> None:
        """More connections than the server has threads, each of which sends a byte now and then."""
        honest_seconds(server)
        stopped = threading.Event()
        slow = [server.connect() for _ in range(150)]
        for connection in slow:
            connection.sendall(post_head(1000))

        def drip() -> None:
            while not stopped.wait(0.5):
                for connection in slow:
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        continue

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            times = [honest_seconds(server) for _ in range(20)]
        finally:
            stopped.set()
            dripping.join()
            for connection in slow:
                connection.close()

        assert sorted(times)[len(times) // 2] < 1
        assert max(times) < 5

    def test_clients_that_never_close_their_half_hold_nobody_up(self, server: RunningServer) -> None:
        """Each asks the server to close, and does not close itself."""
        honest_seconds(server)
        opened = [server.connect() for _ in range(30)]
        for connection in opened:
            connection.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        for connection in opened:
            assert connection.recv(12) == b"HTTP/1.1 200"

        assert max(honest_seconds(server) for _ in range(5)) < 1.5

        for connection in opened:
            connection.close()

    def test_silent_connections_hold_no_thread(self, server: RunningServer) -> None:
        honest_seconds(server)
        opened = [server.connect() for _ in range(300)]

        assert max(honest_seconds(server) for _ in range(5)) < 1.5

        for connection in opened:
            connection.close()

    def test_a_body_that_drips_for_ever_is_given_up(self, server: RunningServer) -> None:
        """However often it sends a byte: a body must come at a rate."""
        with server.connect() as slow:
            slow.sendall(post_head(MIB))
            started = time.monotonic()
            answered = threading.Event()

            def drip() -> None:
                while not answered.wait(0.5):
                    try:
                        slow.sendall(b" ")
                    except OSError:
                        return

            dripping = threading.Thread(target=drip)
            dripping.start()
            slow.settimeout(60)
            answer = b"".join(iter(lambda: slow.recv(65536), b""))
            answered.set()
            dripping.join()

        assert 10 < time.monotonic() - started < 30
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"code":"request_timeout"' in answer


SQL = ["1 OR 1=1", "1; DROP TABLE taskflow.tasks", "' OR ''='", "1)) UNION SELECT hash FROM taskflow.api_keys--"]
STRANGE = [
    "..",
    "../../etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%00",
    "1%00",
    "%ff%fe",
    "1" + "0" * 30,
    "-1",
    "0x10",
    "1e3",
    "\u0661",  # a digit, only not of ASCII
    "\u202e1",
    "<script>",
    "x" * 4000,
]


class TestAddresses:
    @pytest.mark.parametrize("strange", [*STRANGE, *SQL])
    @pytest.mark.parametrize("place", ["tasks", "jobs", "workers", "keys"])
    def test_an_id_that_is_none_is_404_as_one_that_does_not_exist(
        self, client: FlaskClient, connection: psycopg.Connection[Any], place: str, strange: str
    ) -> None:
        response = client.get(f"/api/v1/{place}/{strange}")

        assert response.status_code == 404, response.text
        assert response.json["code"] in {"task_not_found", "worker_not_found", "key_not_found", "not_found"}
        assert connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone() == (0,)

    @pytest.mark.parametrize("sql", SQL)
    @pytest.mark.parametrize("parameter", ["q", "sort", "state", "queue", "type", "cursor", "limit", "worker_id"])
    def test_sql_in_a_parameter_is_a_value_or_422(
        self, client: FlaskClient, connection: psycopg.Connection[Any], parameter: str, sql: str
    ) -> None:
        response = client.get("/api/v1/tasks", query_string={parameter: sql})

        assert response.status_code in (200, 422), response.text
        assert not [word for word in ("syntax", "psycopg", "tasks_live", "LIMIT") if word in response.text]
        assert connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone() == (0,)

    @pytest.mark.parametrize(
        "name",
        ["a b", "ma\u0456l", "\uff4dail", "mail\u200b", "mail\n", "MAIL/..", "\u202eliam", "", "x" * 101, "\x00"],
    )
    def test_a_name_that_only_looks_like_another_is_refused(
        self, client: FlaskClient, connection: psycopg.Connection[Any], name: str
    ) -> None:
        response = client.post("/api/v1/tasks", json={"type": "echo", "queue": name})

        assert response.status_code == 422
        assert connection.execute("SELECT name FROM taskflow.queues").fetchall() == [("default",)]


class TestKeys:
    def test_guesses_are_401_until_the_guesser_is_held_up_and_others_go_on(
        self,
        start: Start,  # noqa: F811
        dsn: str,
    ) -> None:
        server = start(
            dsn, WEB_CONCURRENCY="2", TASKFLOW_AUTH="on", TASKFLOW_ADMIN_KEY=ADMIN_KEY, TASKFLOW_RATE_LIMIT="50"
        )
        with httpx.Client(base_url=server.url) as guesser, ThreadPoolExecutor(8) as hands:

            def guess(number: int) -> int:
                return guesser.get("/api/v1/tasks/1", headers={"Authorization": f"Bearer tf_{number}"}).status_code

            first = [guess(number) for number in range(50)]
            # Several at once: one after the other are no more than fifty a second on a machine that is busy.
            answers = set(hands.map(guess, range(50, 450)))

        assert first == [401] * 50
        assert answers == {401, 429}
        assert honest_seconds(server) < 1

    def test_the_limit_holds_for_all_processes_together(self, start: Start, dsn: str) -> None:  # noqa: F811
        server = start(
            dsn, WEB_CONCURRENCY="4", TASKFLOW_AUTH="on", TASKFLOW_ADMIN_KEY=ADMIN_KEY, TASKFLOW_RATE_LIMIT="0.01"
        )

        answers = [httpx.get(f"{server.url}/api/v1/tasks/1", headers=HONEST).status_code for _ in range(12)]

        assert answers == [404] + [429] * 11

    def test_a_key_in_odd_clothes_is_a_wrong_key(self, server: RunningServer) -> None:
        for value in (b"x" * 7000, b"\xff\xfe", "\u202e".encode(), b"Bearer", b"' OR ''='", b"\t", b"%00"):
            head = b"GET /api/v1/tasks/1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + value + b"\r\n\r\n"
            status, problem = exchange(server, head)
            assert (status, problem["code"]) == (401, "unauthorized")


class TestHeaders:
    def test_floods_of_headers_are_refused_by_number_and_by_length(self, server: RunningServer) -> None:
        before = memory_bytes(server)
        for headers in (b"X-A: b\r\n" * 100_000, b"X-A: " + b"b" * 10 * MIB + b"\r\n"):
            status, problem = exchange(server, b"GET /live HTTP/1.1\r\nHost: x\r\n", headers, b"\r\n")
            assert (status, problem["code"]) == (431, "headers_too_large")

        assert memory_bytes(server) - before < 20 * MIB
        assert honest_seconds(server) < 1

    def test_two_lengths_are_one_too_many(self, server: RunningServer) -> None:
        """Where a proxy in front believes one and the server the other, a request can hide in a body."""
        for second in (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"):
            head = post_head(30).replace(b"Content-Length: 30\r\n", b"Content-Length: 30\r\n" + second)
            status, _ = exchange(server, head, b"0\r\n\r\nGET /x HTTP/1.1\r\n\r\n")
            assert status == 400

    def test_html_is_never_answered_as_html(self, client: FlaskClient) -> None:
        text = "<script>alert(1)</script>"
        made = client.post("/api/v1/tasks", json={"type": text, "payload": {"a": text}, "tags": [text]})
        refused = client.post("/api/v1/tasks", json={"type": "x", text: 1})
        lost = client.get(f"/api/v1/{text}")

        assert [r.status_code for r in (made, refused, lost)] == [201, 422, 404]
        for response in (made, refused, lost):
            assert response.mimetype in ("application/json", "application/problem+json")
            assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_what_is_upgraded_to_a_websocket_sends_no_frame_of_10_mb(server: RunningServer) -> None:
    before = memory_bytes(server)
    handshake = (
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nX-API-Key: " + ADMIN_KEY.encode() + b"\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    size = 10 * MIB
    with server.connect() as opened:
        opened.sendall(handshake)
        assert opened.recv(12) == b"HTTP/1.1 101"
        try:
            opened.sendall(b"\x81\xff" + size.to_bytes(8, "big") + b"\x00" * 4)
            for _ in range(10):
                opened.sendall(b" " * MIB)
        except (BrokenPipeError, ConnectionResetError):
            pass
        ended = False
        try:
            while not ended:
                ended = not opened.recv(65536)
        except ConnectionResetError:
            ended = True

    assert ended
    assert memory_bytes(server) - before < 20 * MIB
    assert honest_seconds(server) < 1
