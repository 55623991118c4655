"""`taskflow bench load` against a real deployment: its figures are those of what happened, and it always ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from taskflow.bench.load import TAG
from taskflow.bench.stress import Limit
from taskflow.bench.submits import Order, submit
from taskflow.bench.target import Target
from taskflow.cli.main import main
from taskflow.stop_flag import StopFlag
from tests.deployment import Deployment, deployment


@pytest.fixture(scope="module")
def deployed(shared_dsn: str) -> Iterator[Deployment]:
    with deployment(shared_dsn) as running:
        yield running


def bench(at: Deployment, *arguments: str, key: str | None = None) -> Result:
    target = ["--url", at.url, "--key", at.key if key is None else key]
    return CliRunner().invoke(main, ["bench", "load", *target, *arguments, "--json"])


def report(result: Result) -> dict[str, Any]:
    """The last line; those before it are the logs of the worker in this process."""
    read: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return read


def figures(result: Result) -> dict[str, float]:
    return {figure["name"]: figure["value"] for figure in report(result)["figures"]}


def with_the_tag(at: Deployment, state: str = "completed") -> int:
    with psycopg.connect(at.dsn) as connection:
        query = "SELECT count(*) FROM taskflow.task_list WHERE tags @> ARRAY[%s] AND state = %s"
        row = connection.execute(query, [TAG, state]).fetchone()
    assert row is not None
    return int(row[0])


def test_every_submitted_task_is_followed_to_its_end(deployed: Deployment) -> None:
    before = with_the_tag(deployed)
    result = bench(deployed, "--jobs", "250", "--concurrent", "8")

    assert result.exit_code == 0, result.output
    told = figures(result)
    assert (told["completed"], told["errors"], told["not ended in time"]) == (250, 0, 0)
    assert with_the_tag(deployed) - before == 250
    for name in ("request to answer", "creation to handler", "creation to completion"):
        assert 0 < told[f"{name}, p50"] <= told[f"{name}, p95"] <= told[f"{name}, p99"] < 60_000
    assert told["creation to handler, p50"] <= told["creation to completion, p50"]
    environment = report(result)["environment"]
    assert (environment["url"], environment["workers"], environment["slots"]) == (deployed.url, 1, 4)
    assert deployed.key not in result.output


def test_what_the_handler_takes_is_in_the_completion_and_not_in_the_pickup(deployed: Deployment) -> None:
    sleep = ["--type", "sleep", "--payload", '{"seconds": 0.3}']
    result = bench(deployed, "--jobs", "4", "--concurrent", "1", *sleep)

    told = figures(result)
    assert told["creation to completion, p50"] >= 300
    assert told["creation to completion, p50"] - told["creation to handler, p50"] >= 290
    assert told["request to answer, p50"] < 300


def test_requests_that_are_refused_are_counted_by_their_code(deployed: Deployment) -> None:
    result = bench(deployed, "--jobs", "5", "--type", "sleep", "--payload", '{"seconds": "long"}')

    assert result.exit_code == 0, result.output
    told = figures(result)
    assert (told["errors"], told["of these 422 invalid_payload"], told["completed"]) == (5, 5, 0)


def test_the_end_comes_in_time_though_the_tasks_do_not_end(deployed: Deployment) -> None:
    began = time.monotonic()
    sleep = ["--type", "sleep", "--payload", '{"seconds": 60}', "--queue", "slow"]
    result = bench(deployed, "--jobs", "3", "--max-seconds", "1", *sleep)

    assert time.monotonic() - began < 10
    assert figures(result)["not ended in time"] == 3
    with psycopg.connect(deployed.dsn, autocommit=True) as connection:  # the slots are for the tests after this
        connection.execute("SELECT taskflow.cancel(id) FROM taskflow.tasks_live WHERE queue = 'slow'")


def test_ctrl_c_ends_it_with_the_figures_so_far(deployed: Deployment) -> None:
    def interrupt() -> None:
        limit = time.monotonic() + 20
        while with_the_tag(deployed) < before + 20 and time.monotonic() < limit:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    before, handler = with_the_tag(deployed), signal.getsignal(signal.SIGINT)
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    result = bench(deployed, "--jobs", "1000000", "--concurrent", "4")
    interrupter.join()

    assert result.exit_code == 130
    told = figures(result)
    assert 20 <= told["completed"] < 1_000_000
    assert told["errors"] == 0
    assert report(result)["parameters"]["stopped"] is True
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_stress_test_says_which_load_broke_the_limit(deployed: Deployment) -> None:
    # Nothing is completed within a hundredth of a millisecond of its creation: the very first step breaks.
    stress = ["--stress", "--step-seconds", "0.2", "--until", "completed.p50=0.01ms"]
    result = bench(deployed, *stress)

    assert result.exit_code == 0, result.output
    told = figures(result)
    assert told["load that was held"] == 0
    (broken,) = [name for name in told if name.startswith("load that broke it: completed p50 was")]
    assert told[broken] == 50
    assert "50 submits/s asked" in result.stderr


def test_a_stress_test_that_breaks_nothing_ends_with_its_time(deployed: Deployment) -> None:
    stress = ["--stress", "--step-seconds", "0.3", "--max-seconds", "1.5", "--until", "p99=60s", "--rate", "20"]
    result = bench(deployed, *stress)

    told = report(result)["figures"]
    held = next(figure for figure in told if figure["name"] == "load that was held")
    rates = held["samples"]["submits_per_second"]
    assert rates[:2] == [20, 30]
    assert held["value"] == rates[-1]
    assert "the limit was not reached: the time was up" in result.stderr


@contextlib.contextmanager
def stalling_server(stall_seconds: float) -> Iterator[Target]:
    """Accepts tasks at once, but for the first, which waits."""
    waiting = threading.Lock()
    seen: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with waiting:
                if not seen:
                    time.sleep(stall_seconds)
                seen.append(time.monotonic())
            self.send_response(201)
            body = json.dumps({"id": str(len(seen))}).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Target(f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()


def test_at_a_rate_a_request_counts_from_when_it_was_due_also_while_the_server_stalls() -> None:
    with stalling_server(0.5) as target:
        order = Order(target, b"{}", 10, 1, 20.0, time.monotonic() + 30)
        late = submit(order, StopFlag()).seconds

    # One client waits for the first answer half a second, and the nine requests that are due meanwhile wait with it.
    assert late[0] >= 0.5
    assert late[4] >= 0.5 - 4 / 20
    assert sum(late) > 2


@pytest.mark.parametrize(
    ("arguments", "key", "words"),
    [
        (["--type", "no-such-type"], None, "runs 'no-such-type' from the queue 'default': nothing would be completed"),
        ([], "tf_wrong", "401 unauthorized"),
        ([], "two words", "characters that no key has"),
    ],
)
def test_what_cannot_be_measured_is_said_before_it_begins(
    deployed: Deployment, arguments: list[str], key: str | None, words: str
) -> None:
    result = bench(deployed, *arguments, key=key)
    assert result.exit_code == 1
    assert words in result.stderr
    assert '"figures"' not in result.stdout


def test_a_server_that_is_not_there_or_is_another_is_said_without_a_traceback(free_port: int) -> None:
    nobody = CliRunner().invoke(main, ["bench", "load", "--url", f"http://127.0.0.1:{free_port}"])
    assert (nobody.exit_code, "Traceback" in nobody.output) == (1, False)
    assert "Nothing answers" in nobody.output
    with socket.create_server(("127.0.0.1", 0)) as another, stalling_server(0) as target:
        del another
        other = CliRunner().invoke(main, ["bench", "load", "--url", target.shown])
    assert other.exit_code == 1
    assert "refuses: 501" in other.output


@pytest.mark.parametrize("text", ["p99", "p99=500", "p10=5ms", "done.p99=5ms", "p99=-5ms", ""])
def test_a_limit_that_cannot_be_read_is_refused_with_the_way_to_say_it(text: str) -> None:
    with pytest.raises(ValueError, match="Say it as p99=500ms"):
        Limit.parse(text)


def test_a_limit_is_of_the_requests_unless_it_says_otherwise() -> None:
    assert Limit.parse("p99.9=1.5s") == Limit("request", 99.9, 1500)
    assert Limit.parse("pickup.p50=20ms") == Limit("pickup", 50, 20)
