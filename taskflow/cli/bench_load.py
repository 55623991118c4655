"""`taskflow bench load`: put load on a deployment through its REST API."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click
import orjson

from taskflow.bench import load, stress
from taskflow.bench.load import LoadTest
from taskflow.bench.server import open_server
from taskflow.bench.servers import running_server
from taskflow.bench.stress import Limit
from taskflow.bench.target import Target, TargetClient, check
from taskflow.bench.workers import running_workers, wait_until
from taskflow.errors import TaskflowError
from taskflow.stop_flag import StopFlag

START_SECONDS = 30.0
STRESS_RATE = 50.0
ONCE_SECONDS = 1.0
"""What sends a signal may send it to the process and to its group: that is one Ctrl-C, not two."""
INTERRUPTED = 130


def as_limit(context: click.Context, option: click.Parameter, value: str) -> Limit:
    """`p99=500ms`; anything else is refused with the way to say it."""
    try:
        return Limit.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def as_payload(context: click.Context, option: click.Parameter, value: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        payload = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise click.BadParameter(f"{value!r} is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise click.BadParameter(f"{value!r} is no JSON object, as '{{\"n\": 1}}' is")
    return payload


@click.command("load")
@click.option("--url", metavar="URL", help="The deployment. Without it a private one is started here, and removed.")
@click.option("--key", envvar="TASKFLOW_KEY", show_envvar=True, help="An API key, of scope read and enqueue.")
@click.option("--jobs", type=click.IntRange(1), default=1000, show_default=True, help="How many tasks to submit.")
@click.option("--concurrent", type=click.IntRange(1, 1000), default=50, show_default=True, help="Requests at once.")
@click.option("--type", "type_", default="echo", show_default=True, help="Their type.")
@click.option("--payload", callback=as_payload, default="{}", show_default=True, help="The payload of each.")
@click.option("--queue", default="default", show_default=True, help="Their queue.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Submits a second, instead of as many as go.")
@click.option(
    "--stress", "stressed", is_flag=True, help=f"Raise the rate, from {STRESS_RATE:g}/s, until --until breaks."
)
@click.option(
    "--until", callback=as_limit, default="p99=500ms", show_default=True, help="Or completed.p95=2s and so on."
)
@click.option(
    "--step-seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Of each step of --stress."
)
@click.option("--max-seconds", type=click.FloatRange(1), default=300.0, show_default=True, help="The end, in any case.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.pass_context
def load_command(
    context: click.Context,
    *,
    url: str | None,
    key: str | None,
    jobs: int,
    concurrent: int,
    type_: str,
    payload: dict[str, Any],
    queue: str,
    rate: float | None,
    stressed: bool,
    until: Limit,
    step_seconds: float,
    max_seconds: float,
    as_json: bool,
) -> None:
    """Submit tasks over HTTP and tell how fast they are accepted, picked up and completed.

    Ctrl-C ends it with the figures so far.
    """
    with contextlib.ExitStack() as stack:
        target = Target(url, key) if url else stack.enter_context(private_deployment(type_, queue))
        stopped = stack.enter_context(stopped_by_signals())
        test = LoadTest(
            target=target,
            type=type_,
            queue=queue,
            payload=payload,
            clients=concurrent,
            max_seconds=max_seconds,
            stopped=stopped,
            tell=lambda line: click.echo(line, err=True),
        )
        if stressed:
            report = stress.stress(test, limit=until, rate=rate or STRESS_RATE, step_seconds=step_seconds)
        else:
            report = load.run(test, jobs=jobs, rate=rate)
        click.echo(orjson.dumps(report.as_json()) if as_json else report.as_table())
        if stopped.is_set():
            context.exit(INTERRUPTED)


@contextlib.contextmanager
def private_deployment(type_: str, queue: str) -> Iterator[Target]:
    """A durable PostgreSQL, a worker and a server on this machine, until the block ends."""
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(stack.enter_context(open_server()).database())
        workers = stack.enter_context(running_workers(dsn, queues=(queue,)))
        # A limit on requests is not what is measured.
        target = Target(stack.enter_context(running_server(dsn, TASKFLOW_RATE_LIMIT="0")))
        wait_until(lambda: _is_ready(target, type_, queue), "a worker", workers, seconds=START_SECONDS)
        yield target


def _is_ready(target: Target, type_: str, queue: str) -> bool:
    client = TargetClient(target)
    try:
        check(client, type_, queue)
    except TaskflowError:
        return False
    finally:
        client.close()
    return True


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[StopFlag]:
    """A flag that SIGINT and SIGTERM set; another SIGINT a second later interrupts as usual."""
    stopped, first = StopFlag(), float("inf")

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if number == signal.SIGINT and time.monotonic() > first + ONCE_SECONDS:
            raise KeyboardInterrupt
        first = min(first, time.monotonic())
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
