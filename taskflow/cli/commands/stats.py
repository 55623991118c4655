"""`taskflow stats`: the whole, or each queue, in numbers."""

from __future__ import annotations

from typing import Any

import click

from taskflow.cli.api import Api
from taskflow.cli.connected import connected, json_option
from taskflow.cli.output import Column, echo_fields, echo_items, echo_json, heading, is_terminal
from taskflow.cli.plain import number, span
from taskflow.tasks.task import STATES


def counted(state: str, *, spare: bool = False) -> Column:
    """The column with how many tasks of a queue are in a state."""
    return Column(state.replace("_", " "), lambda queue: queue[f"{state}_count"], number, right=True, spare=spare)


QUEUES = (
    Column("queue", lambda queue: queue["queue_name"]),
    counted("pending"),
    counted("scheduled", spare=True),
    counted("blocked", spare=True),
    *(counted(state) for state in ("running", "retrying", "dead_letter")),
    Column("oldest waits", lambda queue: queue["oldest_pending_seconds"], span, right=True, unit="seconds"),
    Column("per minute", lambda queue: queue["throughput_per_minute"], number, right=True, spare=True),
    Column("p95", lambda queue: queue["p95"], span, right=True, spare=True, unit="seconds"),
    Column("workers", lambda queue: queue["active_workers"], right=True),
)


@click.command("stats")
@click.option("--queues", is_flag=True, help="Each queue too.")
@json_option
@connected("stats")
def command(api: Api, queues: bool, as_json: bool) -> None:
    """Show how many tasks there are in each state, how fast they run and how long they take."""
    whole = api.get("/stats")
    by_queue = api.get("/metrics")["queue_stats"] if queues else None
    if as_json:
        echo_json(whole if by_queue is None else whole | {"queues": by_queue})
        return
    fields: list[tuple[str, Any]] = [(state, _count(whole[state])) for state in (*STATES, "total")]
    fields.append(("completed per minute", whole["throughput_per_minute"]))
    fields += [_duration(name, value) for name, value in whole["latency"].items()]
    echo_fields([(name.replace("_", " "), value) for name, value in fields])
    if by_queue is not None:
        heading("queues") if is_terminal() else click.echo()
        echo_items(QUEUES, by_queue.values())


def _count(value: int) -> str | int | None:
    return number(value) if is_terminal() else value


def _duration(percentile: str, seconds: float | None) -> tuple[str, str | float | None]:
    return (f"{percentile} duration", span(seconds)) if is_terminal() else (f"{percentile} duration seconds", seconds)
