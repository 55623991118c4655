"""`taskflow queues list` and `show`: what lies in queues, and every setting in effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from taskflow.cli.api import Api
from taskflow.cli.commands.stats import QUEUES
from taskflow.cli.connected import connected, json_option
from taskflow.cli.output import Column, column, echo_fields, echo_items, echo_json, heading, is_terminal
from taskflow.cli.plain import ago, number, one_line, span
from taskflow.cli.values import QueueName

NAME = click.argument("name", type=QueueName(), metavar="NAME")


def _of_statistics(value: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda queue: value(queue["stats"])


COLUMNS = (
    column("name"),
    Column("state", lambda queue: "paused" if queue["paused"] else "running", is_state=True),
    column("priority", right=True, spare=True),
    column("weight", right=True, spare=True),
    *(found._replace(value=_of_statistics(found.value)) for found in QUEUES[1:]),
)


@click.command("list")
@json_option
@connected("queues", "metrics")
def list_(api: Api, as_json: bool) -> None:
    """List the queues with what lies in them."""
    found = [queue for page in api.pages("/queues") for queue in page["queues"]]
    if as_json:
        echo_json({"queues": found, "count": len(found), "next_cursor": None})
        return
    statistics = api.get("/metrics")["queue_stats"]
    echo_items(
        COLUMNS, [queue | {"stats": statistics[queue["name"]]} for queue in found if queue["name"] in statistics]
    )


@click.command("show")
@NAME
@json_option
@connected("queues")
def show(api: Api, name: str, as_json: bool) -> None:
    """Show a queue: every setting in effect, its retry policy and limits, what lies in it, and who works on it."""
    from urllib.parse import quote

    queue = api.get(f"/queues/{quote(name, safe='')}")
    statistics = api.get(f"/queues/{quote(name, safe='')}/stats")
    if as_json:
        echo_json(queue | {"stats": statistics})
        return
    for title, fields in _sections(queue, statistics):
        if is_terminal():
            heading(title)
        echo_fields(fields)


def _sections(queue: dict[str, Any], statistics: dict[str, Any]) -> list[tuple[str, list[tuple[str, Any]]]]:
    return [
        (
            f"queue {queue['name']}",
            [
                ("name", queue["name"]),
                ("state", "paused" if queue["paused"] else "running"),
                ("priority", queue["priority"]),
                ("weight", queue["weight"]),
                ("aging", _span(queue["aging_seconds"], "off")),
                ("timeout", _span(queue["timeout"])),
            ],
        ),
        (
            "retries",
            [
                ("attempts", f"{queue['max_retries'] + 1} ({queue['max_retries']} retries)"),
                ("retry strategy", queue["retry_strategy"]),
                ("retry delay", _span(queue["retry_delay"])),
                ("max retry delay", _span(queue["max_retry_delay"])),
                ("retry jitter", f"{queue['retry_jitter']:.0%}"),
                ("waits", _waits(queue)),
                ("then", _end(queue)),
            ],
        ),
        (
            "limits",
            [
                ("max workers", queue["max_workers"] or "no limit"),
                ("rate limit", _rate(queue)),
                ("key limit", queue["key_limit"]),
                ("max depth", number(queue["max_depth"])),
                *((f"type {name}", _rate(limit, paused=True)) for name, limit in queue["type_limits"].items()),
                *((f"keep {state}", span(seconds)) for state, seconds in queue["retention"].items()),
            ],
        ),
        (
            "now",
            [
                *((found.name, found.shown(found.value(statistics)) if found.shown else found.value(statistics))
                  for found in QUEUES[1:]),
                ("completed", number(statistics["completed_count"])),
                ("last task", ago(statistics["last_task_at"])),
            ],
        ),
    ]  # fmt: skip


def _waits(queue: dict[str, Any]) -> str:
    """The waits between attempts, as they come without jitter."""
    delay, longest, retries = queue["retry_delay"], queue["max_retry_delay"], queue["max_retries"]
    factors = {"fixed": (1,) * 6, "linear": range(1, 7), "exponential": (1, 2, 4, 8, 16, 32)}[queue["retry_strategy"]]
    shown = [span(min(delay * factor, longest)) or "0s" for factor in factors[:retries]]
    return ", ".join(shown) + (", …" if retries > len(shown) else "") if shown else "none"


def _end(queue: dict[str, Any]) -> str:
    if not queue["dead_letter"]:
        return "failed"
    return "dead letter" + (f" in {queue['dead_letter_queue']}" if queue["dead_letter_queue"] else "")


def _rate(limit: dict[str, Any], *, paused: bool = False) -> str:
    if paused and limit.get("paused"):
        return "paused"
    rate = limit.get("rate_limit")
    return "no limit" if rate is None else f"{rate:,} starts in {span(limit.get('rate_period') or 1)}"


def _span(seconds: float | None, none: str | None = None) -> str | None:
    return none if seconds is None else one_line(span(seconds))
