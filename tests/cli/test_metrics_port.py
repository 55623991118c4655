"""/metrics of workers and schedulers: real processes, asked over HTTP."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from taskflow.errors import SettingsError
from taskflow.settings import load
from tests.acceptance.support import Gate, Process, Processes

Connection = psycopg.Connection[Any]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    own = Processes(tmp_path)
    yield own
    own.close()


@pytest.fixture
def ports() -> int:
    """The first of four neighbouring ports that nobody uses, below those that outgoing connections are given."""
    for _ in range(100):
        number = random.randrange(10_000, 30_000)
        if all(_is_free(number + more) for more in range(4)):
            return number
    raise AssertionError("no four free ports in a row")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def scrape(port: int) -> Samples | None:
    """Every sample; None while nobody listens."""
    try:
        response = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5)
    except httpx.TransportError:
        return None
    assert response.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(samples: Samples | None, name: str, **labels: str) -> float | None:
    return (samples or {}).get((f"taskflow_{name}", frozenset(labels.items())))


def listening(process: Process) -> set[tuple[str, int]]:
    """The addresses that the process and its children listen on."""
    return {
        (connection.laddr.ip, connection.laddr.port)
        for pid in (process.pid, *process.children())
        for connection in psutil.Process(pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }


def enqueue(connection: Connection, type_: str, payload: str = "{}", **columns: Any) -> None:
    columns = {"type": type_, "payload": payload, **columns}
    connection.execute(
        f"INSERT INTO taskflow.tasks ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))})".encode(),
        list(columns.values()),
    )


def test_a_worker_counts_what_it_has_done(
    processes: Processes, dsn: str, connection: Connection, ports: int, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    processes.start_worker(dsn, "--metrics-port", str(ports), "--concurrency", "3")
    enqueue(connection, "noop", queue="mail", priority=2)
    enqueue(connection, "slow", '{"seconds": 0.03}')
    enqueue(connection, "fail", "{}", max_attempts=1)
    enqueue(connection, "blocking", f'{{"gate": "{gate.path}"}}')

    samples = processes.wait_until(
        lambda: (found := scrape(ports)) and value(found, "worker_tasks_total", status="succeeded") == 2
        and value(found, "worker_tasks_total", status="failed") == 1
        and value(found, "worker_slots_busy") == 1 and found
    )  # fmt: skip

    assert value(samples, "worker_slots") == 3
    assert value(samples, "worker_tasks_total", status="lost") == 0
    slow = {"queue": "default", "type": "slow", "status": "succeeded"}
    assert value(samples, "task_duration_seconds_count", **slow) == 1
    assert value(samples, "task_duration_seconds_bucket", le="0.025", **slow) == 0
    assert value(samples, "task_duration_seconds_bucket", le="+Inf", **slow) == 1
    assert 0.03 <= (value(samples, "task_duration_seconds_sum", **slow) or 0) < 5
    assert value(samples, "task_pickup_seconds_count", queue="mail", priority="high") == 1
    assert value(samples, "task_pickup_seconds_count", queue="default", priority="normal") == 3
    assert (value(samples, "claims_total") or 0) >= 4
    assert value(samples, "claim_batch_size_sum") == 4
    assert value(samples, "uptime_seconds") is not None
    processes.wait_until(lambda: value(scrape(ports), "is_leader") == 1)
    gate.open()
    processes.wait_until(lambda: value(scrape(ports), "worker_slots_busy") == 0)


def test_a_task_that_waited_to_be_picked_up_is_counted_with_its_time(
    processes: Processes, dsn: str, connection: Connection, ports: int
) -> None:
    connection.execute("INSERT INTO taskflow.tasks (type, run_at) VALUES ('noop', now() - interval '100 s')")
    processes.start_worker(dsn, "--metrics-port", str(ports))

    labels = {"queue": "default", "priority": "normal"}
    samples = processes.wait_until(
        lambda: (found := scrape(ports)) and value(found, "task_pickup_seconds_count", **labels) == 1 and found
    )

    assert value(samples, "task_pickup_seconds_bucket", le="60.0", **labels) == 0
    assert 100 <= (value(samples, "task_pickup_seconds_sum", **labels) or 0) < 160


def test_nothing_listens_unless_a_port_is_set(processes: Processes, dsn: str) -> None:
    worker = processes.start_worker(dsn)
    processes.wait_until(lambda: "worker_ready" in worker.logs())

    assert listening(worker) == set()


def test_the_processes_of_a_supervisor_have_a_port_each_on_loopback(
    processes: Processes, dsn: str, connection: Connection, ports: int
) -> None:
    supervisor = processes.start_worker(dsn, "--processes", "2", env={"TASKFLOW_METRICS_PORT": str(ports)})

    processes.wait_until(lambda: all(scrape(ports + number) for number in range(3)))

    assert listening(supervisor) == {("127.0.0.1", ports + number) for number in range(3)}
    assert value(scrape(ports), "worker_slots") is None
    assert [value(scrape(ports + number), "worker_slots") for number in (1, 2)] == [10, 10]
    processes.wait_until(lambda: value(scrape(ports), "is_leader") == 1)  # the supervisor stands for leader
    for _ in range(20):
        enqueue(connection, "noop")
    processes.wait_until(
        lambda: sum(value(scrape(ports + n), "worker_tasks_total", status="succeeded") or 0 for n in (1, 2)) == 20
    )


def test_a_process_that_was_killed_is_replaced_on_its_port(processes: Processes, dsn: str, ports: int) -> None:
    supervisor = processes.start_worker(dsn, "--processes", "2", "--metrics-addr", f"127.0.0.1:{ports}")
    processes.wait_until(lambda: all(scrape(ports + number) for number in range(3)))
    first = next(pid for pid in supervisor.children() if _listens(pid, ports + 1))

    psutil.Process(first).kill()

    processes.wait_until(lambda: scrape(ports + 1) and not psutil.pid_exists(first))
    assert value(scrape(ports + 1), "worker_slots") == 10


def _listens(pid: int, port: int) -> bool:
    return any(connection.laddr.port == port for connection in psutil.Process(pid).net_connections(kind="inet"))


def test_a_worker_works_while_another_has_the_port_and_takes_it_when_it_is_free(
    processes: Processes, dsn: str, connection: Connection, ports: int
) -> None:
    old = processes.start_worker(dsn, "--metrics-port", str(ports))
    processes.wait_until(lambda: scrape(ports))
    new = processes.start_worker(dsn, "--metrics-port", str(ports))
    processes.wait_until(lambda: "metrics_not_served" in new.logs() and "worker_ready" in new.logs())
    assert old.stop() == 0
    enqueue(connection, "noop")

    processes.wait_until(lambda: value(scrape(ports), "worker_tasks_total", status="succeeded") == 1)

    assert new.logs().count("metrics_not_served") == 1


def test_a_scheduler_says_whether_it_leads(processes: Processes, dsn: str, ports: int) -> None:
    first = processes.start("scheduler", "--metrics-port", str(ports), dsn=dsn)
    processes.wait_until(lambda: value(scrape(ports), "is_leader") == 1)
    processes.start("scheduler", "--metrics-port", str(ports + 1), dsn=dsn)

    processes.wait_until(lambda: value(scrape(ports + 1), "is_leader") == 0)
    first.stop()

    processes.wait_until(lambda: value(scrape(ports + 1), "is_leader") == 1)


def test_only_metrics_are_served_and_a_silent_client_holds_up_nobody(
    processes: Processes, dsn: str, ports: int
) -> None:
    scheduler = processes.start("scheduler", dsn=dsn, env={"TASKFLOW_METRICS_PORT": str(ports)})
    processes.wait_until(lambda: scrape(ports))
    with socket.create_connection(("127.0.0.1", ports)):
        assert httpx.get(f"http://127.0.0.1:{ports}/etc/passwd").status_code == 404
        assert httpx.post(f"http://127.0.0.1:{ports}/metrics").status_code == 501
        answer = httpx.get(f"http://127.0.0.1:{ports}/metrics", headers={"Accept": "application/openmetrics-text"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")
        assert scheduler.stop() == 0  # nor the end


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with prometheus, which is not installed")
def test_promtool_has_no_complaint(processes: Processes, dsn: str, connection: Connection, ports: int) -> None:
    processes.start_worker(dsn, "--metrics-port", str(ports))
    enqueue(connection, "noop")
    processes.wait_until(lambda: value(scrape(ports), "worker_tasks_total", status="succeeded") == 1)

    text = httpx.get(f"http://127.0.0.1:{ports}/metrics").text
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_port_that_leaves_no_room_for_all_processes_is_refused_at_start() -> None:
    with pytest.raises(SettingsError, match="--metrics-port"):
        load(metrics_port=65_534, processes=2)
    assert load(metrics_port=65_535).metrics_port == 65_535
