"""`taskflow bench api`: requests a second and their latency, by wrk over loopback, against a bare view.

Both servers are the same gunicorn with the same settings on the same database, and no worker runs.
"""

from __future__ import annotations

from functools import partial

import httpx
import orjson

from taskflow.bench.history import add_history
from taskflow.bench.report import Figure, Goal, Report
from taskflow.bench.rounds import in_turn, measure, percentile, rates
from taskflow.bench.server import Server
from taskflow.bench.servers import BARE, running_server
from taskflow.bench.tasks import Connection
from taskflow.bench.wrk import put_load_on
from taskflow.store.connection import connect

BODY = '{"type": "bench.noop", "payload": {"n": 1}}'
PER_BULK = 1_000
READS = (
    "/api/v1/tasks",
    "/api/v1/tasks?state=completed&type=bench.noop&limit=100",
    "/api/v1/tasks?q=state:pending%20priority:normal%20created:%3C1h",
    "/api/v1/tasks?sort=-completed_at&state=completed",
    "/api/v1/stats",
    "/api/v1/queues/default/stats",
)


def run(
    server: Server,
    *,
    rounds: int = 3,
    seconds: float = 4.0,
    clients: int = 50,
    finished: int = 5_000_000,
    waiting: int = 200_000,
    reads: int = 60,
) -> Report:
    """POST as fast as it goes and at half of that, GET, bulk; then each list `reads` times beside `finished` and
    `waiting` tasks."""
    with server.database() as dsn, connect(dsn, name="bench") as connection:
        figures = _writes(dsn, connection, rounds, seconds, clients)
    with server.database() as dsn, connect(dsn, name="bench") as connection:
        add_history(connection, finished)
        _add_waiting(connection, waiting)
        with running_server(dsn, TASKFLOW_RATE_LIMIT="0") as url:
            figures += [_read(url, path, reads) for path in READS]
    return server.report(
        "api", figures, rounds=rounds, clients=clients, finished=finished, waiting=waiting, reads=reads
    )


def _writes(dsn: str, connection: Connection, rounds: int, seconds: float, clients: int) -> list[Figure]:
    def post(url: str) -> float:
        connection.execute("TRUNCATE taskflow.tasks_live")
        load = put_load_on(f"{url}/api/v1/tasks", method="POST", body=BODY, clients=clients, seconds=seconds)
        return load.per_second

    # A limit on requests is not what is measured.
    with running_server(dsn, BARE) as bare, running_server(dsn, TASKFLOW_RATE_LIMIT="0") as product:
        measured = in_turn(partial(post, bare), {"POST": partial(post, product)}, rounds)["POST"]
        figures = [rates(f"POST /tasks, {clients} clients", measured, "requests/s", Goal(at_least=0.6))]
        half = max(1.0, (figures[0].product or 0) / 2)
        load = partial(put_load_on, clients=clients, seconds=seconds, per_second=half)
        posts = [load(f"{product}/api/v1/tasks", method="POST", body=BODY) for _ in range(rounds)]
        task = httpx.post(f"{product}/api/v1/tasks", json={"type": "bench.noop"}).raise_for_status().json()["id"]
        gets = [load(f"{product}/api/v1/tasks/{task}") for _ in range(rounds)]
        goal = Goal(at_most=50)
        figures += [
            measure("POST /tasks at half of that, p95", [one.p95_ms for one in posts], "ms", goal),
            measure("GET /tasks/{id} as often, p95", [one.p95_ms for one in gets], "ms", goal),
        ]
        bulk = orjson.dumps({"tasks": [{"type": "bench.noop", "payload": {"n": n}} for n in range(PER_BULK)]}).decode()
        connection.execute("TRUNCATE taskflow.tasks_live")
        loads = [
            put_load_on(f"{product}/api/v1/tasks/bulk", method="POST", body=bulk, clients=2, seconds=seconds)
            for _ in range(rounds)
        ]
        rate = [PER_BULK * one.per_second for one in loads]
        figures.append(measure(f"bulk POST, {PER_BULK:,} tasks a request", rate, "tasks/s", Goal(at_least=15_000)))
    return figures


def _add_waiting(connection: Connection, count: int) -> None:
    """Due in an hour, of four priorities."""
    connection.execute(
        "INSERT INTO taskflow.tasks (type, payload, priority, run_at)"
        " SELECT 'bench.noop', jsonb_build_object('n', n), n %% 4, now() + interval '1 hour'"
        " FROM generate_series(1, %s) n",
        (count,),
    )
    connection.execute("VACUUM ANALYZE taskflow.tasks_live")


def _read(url: str, path: str, times: int) -> Figure:
    took = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for _ in range(times):
            took.append(client.get(path).raise_for_status().elapsed.total_seconds() * 1000)
    return Figure(f"GET {path}, p95", percentile(took, 95), "ms", Goal(at_most=100), samples={"product": took})
