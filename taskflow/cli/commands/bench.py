"""`taskflow bench NAME`: measure this product on this machine, each figure in turn with a baseline."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson

from taskflow.bench import (
    api,
    drain,
    enqueue,
    events,
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
from taskflow.bench.server import Server, open_measured_server
from taskflow.cli.bench_load import load_command

Benchmark = Callable[..., Report]

# What `all` runs, with which parameters beside the defaults.
EVERYTHING: tuple[tuple[str, Benchmark, dict[str, Any]], ...] = (
    ("drain", drain.run, {}),
    ("enqueue", enqueue.run, {}),
    ("latency", latency.run, {}),
    ("limits", limits.run, {}),
    ("events", events.run, {}),
    ("gate", gate.run, {}),
    ("gate-drained", gate.run, {"drained": True, "clients": (16,)}),
    ("held-snapshot", held_snapshot.run, {}),
    ("held-snapshot-million", held_snapshot.run, {"tasks": 1_000_000, "rounds": 1}),
    ("history", history.run, {}),
    ("memory", memory.run, {}),
    ("payloads", payloads.run, {}),
    ("idle", idle.run, {}),
    ("slots", slots.run, {}),
    ("api", api.run, {}),
)

database_option = click.option(
    "--database-url",
    metavar="URL",
    help="A server to measure on, in databases of its own there; without it a private PostgreSQL 18 is started.",
)


def tasks_option(default: int) -> Callable[[Any], Any]:
    return click.option("--tasks", type=click.IntRange(1), default=default, show_default=True, help="How many tasks.")


def rounds_option(default: int) -> Callable[[Any], Any]:
    return click.option(
        "--rounds", type=click.IntRange(1), default=default, show_default=True, help="Runs of each side."
    )


def measured(benchmark: Benchmark) -> Callable[..., None]:
    """A command out of a benchmark: opens the server, runs it with the options, prints the table or the JSON."""

    @database_option
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
    @functools.wraps(benchmark)
    def run(*, database_url: str | None, as_json: bool, **parameters: Any) -> None:
        with open_measured_server(database_url) as server:
            report = benchmark(server, **parameters)
        click.echo(orjson.dumps(report.as_json()) if as_json else report.as_table())

    return run


@click.group("bench")
def command() -> None:
    """Measure taskflow on this machine: ratios to a baseline that is measured in turn, in the same run."""
    # An interrupted run ends its workers and its server too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


command.add_command(load_command)


@command.command("drain")
@tasks_option(100_000)
@rounds_option(3)
@click.option("--processes", type=click.IntRange(1), multiple=True, default=(1, 2), show_default=True)
@measured
def drain_command(server: Server, **parameters: Any) -> Report:
    """How fast worker processes empty a full queue, against a bare loop of one connection."""
    return drain.run(server, **parameters)


@command.command("enqueue")
@tasks_option(20_000)
@rounds_option(11)
@measured
def enqueue_command(server: Server, **parameters: Any) -> Report:
    """One by one, in bulk, by COPY and in SQL, against bare INSERTs and a table without triggers and checks."""
    return enqueue.run(server, **parameters)


@command.command("latency")
@tasks_option(500)
@measured
def latency_command(server: Server, **parameters: Any) -> Report:
    """How soon an idle worker starts a lone task, and how late one that was due in the future."""
    return latency.run(server, **parameters)


@command.command("events")
@tasks_option(100_000)
@rounds_option(3)
@click.option("--lone", type=click.IntRange(1), default=200, show_default=True, help="Tasks on an idle system.")
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="Of each steady load.")
@measured
def events_command(server: Server, **parameters: Any) -> Report:
    """What events cost while nobody listens and beside 64 streams, and how soon they arrive."""
    return events.run(server, **parameters)


@command.command("limits")
@tasks_option(100_000)
@rounds_option(3)
@click.option("--processes", type=click.IntRange(1), default=2, show_default=True)
@measured
def limits_command(server: Server, **parameters: Any) -> Report:
    """A drain of a queue whose limits are never reached, against one without limits."""
    return limits.run(server, **parameters)


@command.command("gate")
@rounds_option(5)
@click.option("--seconds", type=click.FloatRange(1), default=3.0, show_default=True, help="Of each single run.")
@click.option("--clients", type=click.IntRange(1), multiple=True, default=(1, 4, 16, 64), show_default=True)
@click.option("--drained", is_flag=True, help="The worker here runs what is inserted, instead of being busy.")
@measured
def gate_command(server: Server, **parameters: Any) -> Report:
    """Single-row inserts by pgbench, with the wake-up trigger on and off."""
    return gate.run(server, **parameters)


@command.command("held-snapshot")
@tasks_option(100_000)
@rounds_option(3)
@measured
def held_snapshot_command(server: Server, **parameters: Any) -> Report:
    """A drain while another session holds an old snapshot, against a clean one."""
    return held_snapshot.run(server, **parameters)


@command.command("history")
@tasks_option(100_000)
@rounds_option(3)
@click.option("--finished", type=click.IntRange(1), default=5_000_000, show_default=True, help="Finished tasks beside.")
@measured
def history_command(server: Server, **parameters: Any) -> Report:
    """A drain beside millions of finished tasks, against one beside none."""
    return history.run(server, **parameters)


@command.command("memory")
@tasks_option(1_000_000)
@measured
def memory_command(server: Server, **parameters: Any) -> Report:
    """The memory of a worker over a long drain."""
    return memory.run(server, **parameters)


@command.command("payloads")
@tasks_option(20_000)
@rounds_option(3)
@click.option("--sizes", type=click.IntRange(1), multiple=True, default=(1_000, 10_000), show_default=True)
@measured
def payloads_command(server: Server, **parameters: Any) -> Report:
    """A drain with larger payloads, and the WAL that each task costs."""
    return payloads.run(server, **parameters)


@command.command("idle")
@click.option("--seconds", type=click.FloatRange(1), default=20.0, show_default=True, help="To watch in each case.")
@measured
def idle_command(server: Server, **parameters: Any) -> Report:
    """What workers cost that have nothing to do."""
    return idle.run(server, **parameters)


@command.command("slots")
@click.option("--processes", type=click.IntRange(1), default=50, show_default=True)
@click.option("--concurrency", type=click.IntRange(1), default=20, show_default=True)
@rounds_option(3)
@click.option("--seconds", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Of each task.")
@measured
def slots_command(server: Server, **parameters: Any) -> Report:
    """A thousand slots on one database, and how many connections that takes."""
    return slots.run(server, **parameters)


@command.command("api")
@rounds_option(3)
@click.option("--seconds", type=click.FloatRange(1), default=4.0, show_default=True, help="Of each single run.")
@click.option("--clients", type=click.IntRange(1), default=50, show_default=True, help="Keep-alive connections.")
@click.option("--finished", type=click.IntRange(1), default=5_000_000, show_default=True, help="Finished tasks beside.")
@click.option("--waiting", type=click.IntRange(1), default=200_000, show_default=True, help="Waiting tasks beside.")
@measured
def api_command(server: Server, **parameters: Any) -> Report:
    """Requests to the REST API by wrk, against a bare view; and reads beside millions of finished tasks."""
    return api.run(server, **parameters)


@command.command("all")
@database_option
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write one JSON file a benchmark there as well.",
)
def all_command(database_url: str | None, directory: Path | None) -> None:
    """Everything, one after the other, on one server: about three quarters of an hour on two cores."""
    missed: list[str] = []
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    with open_measured_server(database_url) as server:
        for name, benchmark, parameters in EVERYTHING:
            report = benchmark(server, **parameters)
            click.echo(report.as_table() + "\n")
            if directory is not None:
                (directory / f"{name}.json").write_bytes(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2))
            missed += [f"{name}: {figure.name}" for figure in report.figures if figure.met is False]
    click.echo("\n".join(["goals missed:", *missed]) if missed else "every goal is met")
