"""`taskflow bench events`: what events cost while nobody listens and while many do, and how soon they arrive."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
import timeit
from collections.abc import Iterator
from datetime import datetime
from functools import partial

import httpx
from websockets.sync.client import connect as connect_socket

from taskflow.bench.drains import Drain, drain
from taskflow.bench.report import Figure, Goal, Report
from taskflow.bench.rounds import in_turn, measure, percentile, rates
from taskflow.bench.server import Server
from taskflow.bench.servers import running_server
from taskflow.bench.stream_clients import StreamClients
from taskflow.bench.tasks import Connection
from taskflow.bench.workers import running_workers, wait_until
from taskflow.store.connection import connect
from taskflow.worker.completer import Completer
from taskflow.worker.slots import Slots

SILENT_GOAL, LATENCY_GOAL, RATE_GOAL = Goal(at_most=2.0), Goal(at_most=50.0), Goal(at_least=0.95)
NOTHING_LOST = Goal(at_most=0.0)
STREAMS = 64
PER_SECOND = 1_000
INSERTS_PER_SECOND = 50
LOOKS = 1_000_000
FINISHED_AT = "SELECT id, finished_at FROM taskflow.tasks_completed WHERE id = ANY (%s)"


def run(server: Server, *, tasks: int = 100_000, rounds: int = 3, lone: int = 200, seconds: float = 10.0) -> Report:
    """Drain `tasks` with and without a listener; `lone` tasks on an idle system; a steady load beside many streams."""
    figures = [
        *_drains(server, tasks, rounds),
        *_latency(server, lone),
        *_beside_streams(server, rounds, seconds),
    ]
    return server.report("events", figures, tasks=tasks, rounds=rounds, lone=lone, seconds=seconds)


@contextlib.contextmanager
def _one_stream(dsn: str) -> Iterator[None]:
    """A client that gets everything."""
    with running_server(dsn, WEB_CONCURRENCY="1") as url, StreamClients(url, 1):
        yield


def _drains(server: Server, tasks: int, rounds: int) -> list[Figure]:
    def silent() -> Drain:
        with server.database() as dsn:
            return drain(dsn, tasks)

    def heard() -> Drain:
        with server.database() as dsn:
            return drain(dsn, tasks, beside=lambda _workers: _one_stream(dsn))

    measured = in_turn(lambda: silent().per_second, {"heard": lambda: heard().per_second}, rounds)["heard"]
    heard_figure = rates("drain while one stream gets everything, against nobody listening", measured, "tasks/s")
    task_us = 1e6 / (heard_figure.baseline or 1.0)
    look_us = _cost_of_looking()
    return [
        Figure("nobody listens: looking whether somebody does, a task", 1000 * look_us, "ns"),
        Figure("nobody listens: share of a drained task's time", 100 * look_us / task_us, "%", SILENT_GOAL),
        heard_figure,
    ]


def _cost_of_looking() -> float:
    """Microseconds a task for what the hot path has of events, as the median of five: one look at its start, and one
    a batch, here for the worst case of batches of one."""
    slots, completer = object.__new__(Slots), object.__new__(Completer)
    slots.tell_start = None
    completer.events = type("Nobody", (), {"wanted": frozenset(), "last_write": 0.0})()
    names = {"slots": slots, "completer": completer, "monotonic": time.monotonic}
    looks = (
        "if (tell := slots.tell_start) is not None: tell()\n"
        "completer.events.last_write = monotonic()\n"
        "if completer.events.wanted: pass"
    )
    with_looks = [timeit.timeit(looks, globals=names, number=LOOKS) for _ in range(5)]
    without = [timeit.timeit("pass", globals=names, number=LOOKS) for _ in range(5)]
    return (sorted(with_looks)[2] - sorted(without)[2]) * 1e6 / LOOKS


def _latency(server: Server, lone: int) -> list[Figure]:
    """From commit to the client of a WebSocket."""
    arrived: dict[tuple[str, str], float] = {}
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(server.database())
        connection = stack.enter_context(connect(dsn, name="bench"))
        workers = stack.enter_context(running_workers(dsn))
        url = stack.enter_context(running_server(dsn))
        socket = stack.enter_context(connect_socket(url.replace("http", "ws") + "/ws?events=task.*", proxy=None))

        def read() -> None:
            with contextlib.suppress(Exception):  # the end of the socket is the end of the reading
                for text in socket:
                    now, message = time.time(), json.loads(text)
                    arrived[message["type"], message["data"].get("task_id", "")] = now

        threading.Thread(target=read, daemon=True).start()
        committed: dict[str, float] = {}
        for _ in range(lone):
            time.sleep(random.uniform(0.02, 0.12))
            row = connection.execute("INSERT INTO taskflow.tasks (type) VALUES ('bench.noop') RETURNING id").fetchone()
            committed[str(row[0] if row else 0)] = time.time()
        wait_until(lambda: ("task.completed", str(max(map(int, committed)))) in arrived, "events", workers, seconds=30)
        rows = connection.execute(FINISHED_AT, [list(map(int, committed))]).fetchall()
    finished: dict[str, datetime] = {str(task_id): at for task_id, at in rows}
    submitted = [1000 * (arrived["task.submitted", task_id] - at) for task_id, at in committed.items()]
    completed = [1000 * (arrived["task.completed", task_id] - at.timestamp()) for task_id, at in finished.items()]
    return [
        Figure("INSERT acknowledged → task.submitted, p50", percentile(submitted, 50), "ms"),
        Figure("INSERT acknowledged → task.submitted, p95", percentile(submitted, 95), "ms", LATENCY_GOAL),
        Figure("completion → task.completed, p50", percentile(completed, 50), "ms"),
        Figure("completion → task.completed, p95", percentile(completed, 95), "ms", LATENCY_GOAL),
    ]


def _beside_streams(server: Server, rounds: int, seconds: float) -> list[Figure]:
    unannounced: list[float] = []
    resets: list[float] = []
    slow: list[float] = []

    def steady(streams: int) -> float:
        with contextlib.ExitStack() as stack:
            dsn = stack.enter_context(server.database())
            connection = stack.enter_context(connect(dsn, name="bench"))
            workers = stack.enter_context(running_workers(dsn))
            url = stack.enter_context(running_server(dsn))
            clients = stack.enter_context(StreamClients(url, streams))
            asked = stack.enter_context(_asking(f"{url}/api/v1/tasks/1"))
            count, rate = _insert_steadily(connection, seconds)
            wait_until(lambda: _finished(connection) >= count, "the tasks' end", workers, seconds=60)
            if streams:
                with contextlib.suppress(Exception):  # those that are told of a loss will never have them all
                    wait_until(lambda: not clients.incomplete(count), "events", seconds=5)
                missing = clients.incomplete(count)
                unannounced.append(sum(stream.resets == 0 for stream in missing))
                resets.append(sum(stream.resets for stream in clients.streams))
                slow.append(1000 * percentile(asked, 95))
            return rate

    measured = in_turn(partial(steady, 0), {"streams": partial(steady, STREAMS)}, rounds)["streams"]
    return [
        rates(f"{PER_SECOND} tasks/s with {STREAMS} streams open, against none", measured, "tasks/s", RATE_GOAL),
        Figure("streams that have missed events and were not told", max(unannounced), "", NOTHING_LOST),
        measure("stream.reset messages, all streams together", resets, ""),
        measure("GET /tasks/{id} meanwhile, p95", slow, "ms"),
    ]


def _insert_steadily(connection: Connection, seconds: float) -> tuple[int, float]:
    """Insert at a steady rate; returns how many, and how many a second had finished by the end of the inserts."""
    each = PER_SECOND // INSERTS_PER_SECOND
    began = time.monotonic()
    for number in range(int(seconds * INSERTS_PER_SECOND)):
        connection.execute("INSERT INTO taskflow.tasks (type) SELECT 'bench.noop' FROM generate_series(1, %s)", [each])
        time.sleep(max(0.0, began + (number + 1) / INSERTS_PER_SECOND - time.monotonic()))
    return each * int(seconds * INSERTS_PER_SECOND), _finished(connection) / (time.monotonic() - began)


def _finished(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM taskflow.tasks_completed").fetchone()
    return int(row[0]) if row else 0


@contextlib.contextmanager
def _asking(url: str) -> Iterator[list[float]]:
    """Send a request twenty times a second; the list holds how long each took, in seconds."""
    took: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=30) as client:
            while not ended.wait(0.05):
                began = time.monotonic()
                client.get(url)
                took.append(time.monotonic() - began)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield took
    finally:
        ended.set()
        thread.join()
