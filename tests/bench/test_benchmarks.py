"""Each benchmark runs for real, small, and its JSON has what docs/benchmarks.md promises."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from taskflow.bench import (
    api,
    drain,
    enqueue,
    gate,
    held_snapshot,
    history,
    idle,
    latency,
    limits,
    memory,
    payloads,
    slots,
)
from taskflow.bench.report import Report
from taskflow.bench.server import Server
from taskflow.cli.main import main
from taskflow.cluster import Cluster
from tests.debian import debian_program
from tests.forked import UNMEASURED

FIELDS = {"name", "value", "unit", "goal", "baseline", "product", "measured_in", "samples", "met"}

SMALL: list[tuple[Callable[..., Report], dict[str, Any], set[str]]] = [
    (
        drain.run,
        {"tasks": 300, "rounds": 1, "processes": (1, 2)},
        {"1 worker process", "2 worker processes", "the same, server CPU a task"},
    ),
    (
        enqueue.run,
        {"tasks": 300, "rounds": 1},
        {"client.enqueue", "SQL enqueue()", "client.enqueue_many against itself", "COPY", "client.copy"},
    ),
    (latency.run, {"tasks": 10}, {"pickup p50, commit acknowledged → handler", "due in the future, late by p99"}),
    (
        limits.run,
        {
            "tasks": 300,
            "rounds": 1,
            "processes": 1,
            "limits": ["max_workers"],
            "blocked": 500,
            "keys": list(limits.KEYS),
        },
        {"max_workers", "beside 500 blocked ones", *limits.KEYS},
    ),
    (gate.run, {"rounds": 1, "seconds": 1.0, "clients": (2,)}, {"2 clients"}),
    (gate.run, {"rounds": 1, "seconds": 1.0, "clients": (1,), "drained": True}, {"1 client"}),
    (
        held_snapshot.run,
        {"tasks": 300, "rounds": 1},
        {"a snapshot held", "plans of the empty table", "a snapshot held: second half by first"},
    ),
    (history.run, {"tasks": 300, "rounds": 1, "finished": 1_000}, {"1,000 finished tasks"}),
    (memory.run, {"tasks": 2_000}, {"highest resident memory of a worker process", "the end by a tenth into it"}),
    (payloads.run, {"tasks": 200, "rounds": 1, "sizes": (1_000,)}, {"payloads of 1,000 bytes"}),
    (idle.run, {"seconds": 1.0}, {"one worker: CPU", "one worker: statements", "beside an open producer: statements"}),
    (
        slots.run,
        {"processes": 2, "concurrency": 4, "rounds": 1, "seconds": 1.0},
        {"2 processes of 4 threads: connections", "one process, 8 coroutines: running at once"},
    ),
]


@pytest.fixture(scope="module", autouse=True)
def _unmeasured_processes() -> Iterator[None]:
    """Coverage makes a process start half as long again, and these show nothing that others do not."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in UNMEASURED.items():
            patch.setenv(name, value)
        yield


@pytest.mark.parametrize(
    ("run", "parameters", "names"), SMALL, ids=[run.__module__.rpartition(".")[2] for run, _, _ in SMALL]
)
def test_a_benchmark_measures_what_it_promises(
    server: Server, run: Callable[..., Report], parameters: dict[str, Any], names: set[str]
) -> None:
    report = run(server, **parameters)

    written = json.loads(json.dumps(report.as_json()))
    figures = {figure["name"]: figure for figure in written["figures"]}
    assert names <= figures.keys()
    assert all(figure.keys() == FIELDS for figure in figures.values())
    assert all(figure["met"] in (True, False) for figure in figures.values() if figure["goal"] is not None)
    assert written["environment"]["fsync"] == "off"  # the tests' server: these are no figures to publish
    for figure in figures.values():
        assert figure["name"] in report.as_table()
        if figure["baseline"] is not None:
            assert len(figure["samples"]["ratio"]) == parameters["rounds"]
    if run is slots.run:  # of no figure here is more to be said, but every slot has to work on any machine
        assert figures["2 processes of 4 threads: running at once"]["value"] == 8
        assert figures["2 processes of 4 threads: connections"]["met"]


def test_the_api_is_measured_against_a_bare_view(server: Server) -> None:
    debian_program("wrk", "wrk")
    report = api.run(server, rounds=1, seconds=0.5, clients=4, finished=1_000, waiting=200, reads=5)

    figures = {figure.name: figure for figure in report.figures}
    post = figures["POST /tasks, 4 clients"]
    assert (post.baseline or 0) > 0
    assert (post.product or 0) > 0
    assert figures["bulk POST, 1,000 tasks a request"].value > 0
    assert figures["GET /api/v1/stats, p95"].value > 0


def test_the_command_prints_json_and_leaves_no_database_behind(cluster: Cluster) -> None:
    def databases() -> set[str]:
        with Server(cluster.dsn()).administer() as connection:
            return {row[0] for row in connection.execute("SELECT datname FROM pg_database").fetchall()}

    before = databases()
    arguments = ["bench", "drain", "--tasks", "200", "--rounds", "1", "--processes", "1", "--json"]
    result = CliRunner().invoke(main, [*arguments, "--database-url", cluster.dsn()], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["parameters"]["tasks"] == 200
    assert databases() == before


def test_the_command_starts_a_durable_server_of_its_own() -> None:
    result = CliRunner().invoke(main, ["bench", "enqueue", "--tasks", "50", "--rounds", "1", "--json"])
    assert result.exit_code == 0, result.output
    environment = json.loads(result.output)["environment"]
    assert (environment["fsync"], environment["synchronous_commit"]) == ("on", "on")
