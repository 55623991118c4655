"""`taskflow top`: what goes on, again and again."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from taskflow.cli.api import Api
from taskflow.cli.commands.stats import QUEUES
from taskflow.cli.commands.workers import COLUMNS as WORKERS
from taskflow.cli.connected import connected
from taskflow.cli.failure_kinds import UNREACHABLE
from taskflow.cli.failures import Refusal
from taskflow.cli.output import Column, column, console, echo_items, echo_line, heading, is_terminal, table
from taskflow.cli.plain import ago, clean, number, span
from taskflow.cli.values import Duration

MOST_QUEUES, MOST_WORKERS, MOST_FAILURES = 15, 10, 8
STATES = ("pending", "scheduled", "blocked", "running", "retrying", "completed", "failed", "dead_letter")
FAILURES = (
    column("id", right=True),
    column("type"),
    column("queue"),
    column("state", is_state=True),
    column("ended", "completed_at", shown=ago),
    Column("error", lambda task: (task["error"] or "").partition("\n")[0], long=True),
)


@click.command("top")
@click.option("--once", is_flag=True, help="Print it once.")
@click.option("--interval", type=Duration(above_zero=True), default=2.0, metavar="DURATION",
              help="How often to look. [default: 2s]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for each look.")
@connected("stats", "workers", "tasks")
def command(api: Api, once: bool, interval: float, as_json: bool) -> None:
    """Watch queues, workers, rates, what waits longest and what failed last. q or Ctrl-C ends it."""
    if as_json:
        for seen in _looks(api, interval, once=once):
            echo_line(seen)
    elif once or not is_terminal():
        for seen in _looks(api, interval, once=once):
            _print(seen)
    else:
        _watch(api, interval)


def look(api: Api) -> dict[str, Any]:
    """What goes on at this moment."""
    began = time.monotonic()
    stats = api.get("/stats")
    metrics = api.get("/metrics")
    workers = api.get("/workers", limit=200)["workers"]
    failures = api.get("/tasks", state=["failed", "dead_letter"], sort="-completed_at", limit=MOST_FAILURES)["tasks"]
    queues = sorted(metrics["queue_stats"].values(), key=_busy)
    return {
        "at": metrics["timestamp"],
        "took_ms": round((time.monotonic() - began) * 1000),
        "stats": stats,
        "queues": queues,
        "workers": workers,
        "failures": [{name: task[name] for name in _FAILURE} for task in failures],
    }


def _looks(api: Api, interval: float, *, once: bool) -> Iterator[dict[str, Any]]:
    while True:
        began = time.monotonic()
        yield look(api)
        if once:
            return
        sys.stdout.flush()
        time.sleep(max(0.0, began + interval - time.monotonic()))


def _watch(api: Api, interval: float) -> None:
    """On a terminal, until somebody presses q. While the server or database is away, what was seen last stays."""
    from rich.live import Live

    seen = look(api)
    with _keys() as pressed, Live(_frame(seen, ""), console=console(), screen=True, auto_refresh=False) as live:
        while not pressed(b"qQ", interval):
            problem = ""
            try:
                seen = look(api)
            except Refusal as refusal:
                if refusal.kind.exit_code != UNREACHABLE and refusal.code != "rate_limited":
                    raise
                problem = f"{refusal.kind.what}: {refusal}"
            live.update(_frame(seen, problem), refresh=True)


def _frame(seen: dict[str, Any], problem: str) -> Any:
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(_summary(seen), style="bold")]
    if problem:
        parts.append(Text(clean(problem), style="bold red"))
    for title, columns, items, most in _sections(seen):
        more = f" ({len(items) - most:,} more)" if len(items) > most else ""
        parts += [Text(f"\n{title}{more}", style="bold"), table(columns, items[:most]) if items else Text("none")]
    parts.append(Text("\nq ends", style="dim"))
    return Group(*parts)


def _print(seen: dict[str, Any]) -> None:
    click.echo(_summary(seen))
    for title, columns, items, most in _sections(seen):
        if is_terminal():
            heading(title)
        else:
            click.echo(f"\n{title}")
        echo_items(columns, items[:most])


def _sections(seen: dict[str, Any]) -> tuple[tuple[str, tuple[Column, ...], list[Any], int], ...]:
    return (
        ("queues", QUEUES, seen["queues"], MOST_QUEUES),
        ("workers", WORKERS, seen["workers"], MOST_WORKERS),
        ("failed last", FAILURES, seen["failures"], MOST_FAILURES),
    )


def _summary(seen: dict[str, Any]) -> str:
    stats = seen["stats"]
    oldest = max((queue["oldest_pending_seconds"] or 0.0 for queue in seen["queues"]), default=0.0)
    counts = "  ".join(f"{state.replace('_', ' ')} {number(stats[state])}" for state in STATES)
    busy = sum(worker["active_tasks"] for worker in seen["workers"])
    slots = sum(worker["concurrency"] for worker in seen["workers"])
    speed = f"{number(stats['throughput_per_minute'])} completed a minute  p95 {span(stats['latency']['p95']) or '-'}"
    return (
        f"{seen['at'][:19]}Z  {counts}\n{speed}  oldest waits {span(oldest)}  "
        f"{len(seen['workers'])} workers, {busy} of {slots} slots busy"
    )


def _busy(queue: dict[str, Any]) -> tuple[int, str]:
    states = ("pending", "running", "retrying", "blocked", "scheduled", "dead_letter")
    return -sum(queue[f"{state}_count"] for state in states), queue["queue_name"]


@contextmanager
def _keys() -> Iterator[Any]:
    """A function that waits some seconds for one of some keys, and says whether it was pressed."""
    if not sys.stdin.isatty():

        def sleep(_keys: bytes, seconds: float) -> bool:
            time.sleep(seconds)
            return False

        yield sleep
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)

    def pressed(keys: bytes, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([sys.stdin], [], [], left)[0]:
                key = os.read(sys.stdin.fileno(), 1)
                if not key or key in keys:
                    return True
        return False

    tty.setcbreak(sys.stdin)
    try:
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


_FAILURE = ("id", "type", "queue", "state", "attempt", "completed_at", "error")
