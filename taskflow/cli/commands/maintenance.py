"""`taskflow maintenance`: what the database keeps, how large it is, and what waits to be cleared away."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from taskflow.cli.commands.doctor.upkeep import found as upkeep_findings
from taskflow.cli.config_option import config_option
from taskflow.cli.output import Column, echo_items
from taskflow.cli.plain import number
from taskflow.cli.terminal import open_database
from taskflow.settings import Settings, load
from taskflow.store import maintenance
from taskflow.store.maintenance import Upkeep

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
TIMES = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))


@click.command("maintenance")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Show partitions, sizes, oldest rows and what is kept for how long.

    Rows are estimates of the server's statistics. Exit code 1: something needs to be done, which is said at the end.
    """
    settings = load()
    with open_database("maintenance") as connection:
        upkeep = maintenance.look(connection)
    problems = found(upkeep)
    if as_json:
        click.echo(json.dumps(as_object(upkeep, settings) | {"problems": problems}, default=str))
    else:
        show(upkeep, settings)
        for problem in problems:
            click.echo(f"warning: {problem}", err=True)
    if problems:
        context.exit(1)


def kept_by_system(settings: Settings) -> dict[str, float | None]:
    """Seconds by state; None: for ever."""
    return {
        "completed": settings.retention_completed,
        "failed": settings.retention_ended,
        "cancelled": settings.retention_ended,
        "dead_letter": None,
        "executions": settings.retention_executions,
    }


def as_object(upkeep: Upkeep, settings: Settings) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "tables": [asdict(table) for table in upkeep.tables],
        "days_ahead": upkeep.days_ahead,
        "retention": kept_by_system(settings),
        "queue_retention": [{"queue": k.queue, "state": k.state, "seconds": k.seconds} for k in upkeep.kept],
    }


def show(upkeep: Upkeep, settings: Settings) -> None:
    """All of it, for people."""
    echo_items(COLUMNS, upkeep.tables)
    total = sum(table.bytes for table in upkeep.tables)
    click.echo(f"\n{size(total)} in all; there are tables for the next {upkeep.days_ahead} days.")
    system = (f"{name} {_time(seconds)}" for name, seconds in kept_by_system(settings).items())
    click.echo(f"Kept: {', '.join(system)}.")
    for kept in upkeep.kept:
        click.echo(f"Queue {kept.queue!r}: {kept.state} {_time(kept.seconds)}.")


def found(upkeep: Upkeep) -> list[str]:
    """What needs to be done, a sentence each, with the way out."""
    return [f"{item.what}: {item.why}. {item.fix}." for item in upkeep_findings(upkeep)]


def size(count: int) -> str:
    """Bytes, with three digits or four."""
    value = float(count)
    for unit in UNITS:
        if value < 1000 or unit == UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def _to_the_minute(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "for ever"
    name, length = next(((name, length) for name, length in TIMES if seconds % length == 0), TIMES[-1])
    count = seconds / length
    return f"{count:g} {name}" + ("" if count == 1 else "s")


COLUMNS: tuple[Column, ...] = (
    Column("table", lambda table: table.name),
    Column("days", lambda table: table.days or None, right=True),
    Column("from", lambda table: table.first_day, spare=True),
    Column("to", lambda table: table.last_day, spare=True),
    Column("rows", lambda table: table.rows, number, right=True),
    Column("dead rows", lambda table: table.dead_rows, number, right=True),
    Column("size", lambda table: table.bytes, size, right=True, unit="bytes"),
    Column("oldest row", lambda table: table.oldest, _to_the_minute),
    Column("vacuumed", lambda table: table.vacuumed_at, _to_the_minute, spare=True),
)
