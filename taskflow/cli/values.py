"""The values that options take: durations, times, JSON."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from taskflow.errors import LONGEST_SECONDS
from taskflow.queue_names import QUEUE_RULE, is_queue_name
from taskflow.settings.durations import with_units

NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
MAX_BYTES = 32 * 1024 * 1024
Converting = tuple[click.Parameter | None, click.Context | None]


class Duration(click.ParamType[float]):
    """A length of time in seconds, written as 90, 10m, 1h30m, 2d or 500ms."""

    name = "duration"

    def __init__(self, *, above_zero: bool = False) -> None:
        self._above_zero = above_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        seconds = seconds_of(str(value))
        if seconds is None:
            self.fail(f"{value!r} is no duration: write seconds as 90, or with units as 10m, 1h30m, 2d.", param, ctx)
        if seconds > LONGEST_SECONDS or (self._above_zero and not seconds):
            self.fail(f"{value!r} must be {'above 0 and ' if self._above_zero else ''}at most a century.", param, ctx)
        return seconds


class Moment(click.ParamType[str]):
    """A moment with a zone in RFC 3339; kept as text, for the API to look at."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time such as 2030-01-31T09:30:00Z.", param, ctx)
        if found.tzinfo is None:
            self.fail(f"{value!r} has no zone: add Z for UTC, or an offset such as +02:00.", param, ctx)
        return found.astimezone(UTC).isoformat().replace("+00:00", "Z")


class JsonObject(click.ParamType[dict[str, Any]]):
    """An object of JSON: as it is, from a file as @FILE, or from standard input as -."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        text = str(value)
        if text == "-" or text.startswith("@"):
            try:
                text = _read(text)
            except (OSError, ValueError) as error:
                self.fail(f"{text[1:] or 'standard input'} cannot be read: {error}", param, ctx)
        try:
            found = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            self.fail(f'this is no JSON ({error}); for the shell, quote it: \'{{"to": "anna"}}\'', param, ctx)
        if not isinstance(found, dict):
            self.fail(f'it must be an object such as {{"to": "anna"}}, not {text[:40]!r}', param, ctx)
        return found


class QueueName(click.ParamType[str]):
    """A name that a queue may have."""

    name = "queue"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_queue_name(str(value)):
            self.fail(f"{value!r} is no name of a queue: {QUEUE_RULE}", param, ctx)
        return str(value)


class Id(click.ParamType[str]):
    """The id of something: a number."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if not re.fullmatch(r"[1-9][0-9]{0,18}", text, re.ASCII):
            takes_filter = ctx is not None and any("--filter" in option.opts for option in ctx.command.params)
            hint = "; a filter is given by --filter" if takes_filter else ""
            self.fail(f"{value!r} is no id: ids are numbers such as 42{hint}.", param, ctx)
        return text


def seconds_of(text: str) -> float | None:
    """The seconds that a duration means; None for what is none."""
    text = text.strip()
    return float(text) if NUMBER.fullmatch(text) else with_units(text.lower())


def _read(text: str) -> str:
    if text == "-":
        return sys.stdin.read(MAX_BYTES)
    path = Path(text[1:])
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    return path.read_text(encoding="utf-8")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
