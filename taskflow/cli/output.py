"""What commands print: tables and fields for people at a terminal, lines with tabs for programs, and JSON.

Results go to stdout; what is said about them goes to stderr. `rich` is loaded on a terminal only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from taskflow.cli.failures import Refusal
from taskflow.cli.plain import as_json, clean, color, one_line

if TYPE_CHECKING:
    from rich.console import Console

STATE_STYLES = {
    "completed": "green",
    "succeeded": "green",
    "running": "cyan",
    "busy": "cyan",
    "started": "cyan",
    "active": "green",
    "retrying": "yellow",
    "blocked": "yellow",
    "paused": "yellow",
    "draining": "yellow",
    "snoozed": "yellow",
    "failed": "red",
    "timed_out": "red",
    "lost": "red",
    "dead_letter": "bold red",
    "expired": "red",
    "revoked": "red",
    "cancelled": "dim",
}
GAP, SHORTEST = 2, 12


class Column(NamedTuple):
    """A column: its name, and where its value is found in an item; `shown` makes of that what people read on a
    terminal. A `long` one is cut where the terminal ends; a `spare` one is left out where it is narrow. Programs read
    the value itself, in a `unit` that the name of their column ends in."""

    name: str
    value: Callable[[Any], Any]
    shown: Callable[[Any], Any] | None = None
    right: bool = False
    long: bool = False
    is_state: bool = False
    spare: bool = False
    unit: str = ""

    @property
    def plain_name(self) -> str:
        """Its name for programs."""
        return "_".join(filter(None, (*self.name.split(), self.unit)))


def column(name: str, key: str | None = None, **how: Any) -> Column:
    """A column with the member `key` of an item, by default that of its name."""
    place = key or name.replace(" ", "_")
    return Column(name, lambda item: item[place], **how)


def is_terminal() -> bool:
    """Whether people look at stdout."""
    return sys.stdout.isatty()


def say(text: str) -> None:
    """Something about the result, on stderr."""
    click.echo(clean(text), err=True)


def echo_json(value: Any) -> None:
    """One line of JSON; several, below each other, for people."""
    if is_terminal():
        import json

        click.echo(clean(json.dumps(value, indent=2, ensure_ascii=False)))
    else:
        click.echo(as_json(value))


def echo_line(value: Any) -> None:
    """A line of a stream of JSON."""
    click.echo(as_json(value))


def echo_items(columns: Sequence[Column], items: Iterable[Any], *, empty: str = "There is none.") -> None:
    """Items below the names of the columns; without one, `empty` is said to people."""
    found = list(items)
    if not is_terminal():
        click.echo("\t".join(column.plain_name for column in columns))
        for item in found:
            click.echo("\t".join(one_line(column.value(item)) for column in columns))
        return
    if not found:
        say(empty)
        return
    console().print(table(columns, found))


def table(columns: Sequence[Column], items: Iterable[Any]) -> Any:
    """A table of rich. The long columns share what the others leave of the terminal's width."""
    from rich.table import Table

    found, width = list(items), console().width
    while (taken := _width(columns, found)) > width and any(column.spare for column in columns):
        last = max(place for place, column in enumerate(columns) if column.spare)
        columns = [column for place, column in enumerate(columns) if place != last]
    rows = [[_cell(column, item) for column in columns] for item in found]
    long = [place for place, column in enumerate(columns) if column.long]
    room = SHORTEST + max(0, width - taken) // max(1, len(long))
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column.name, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        for place in long:
            row[place].truncate(room, overflow="ellipsis")
        made.add_row(*row)
    return made


def echo_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """Names with their values, one below the other; None is left out at a terminal."""
    found = list(fields)
    if not is_terminal():
        for name, value in found:
            click.echo(f"{name.replace(' ', '_')}\t{one_line(value)}")
        return
    width = max(len(name) for name, _ in found)
    for name, value in found:
        if value is None:
            continue
        text = clean(value, indent=width + 2) if isinstance(value, str) else one_line(value)
        label = click.style(name.rjust(width), dim=True)
        click.echo(f"{label}  {coloured_state(text)}", color=color())


def coloured_state(text: str) -> str:
    """A state in its colour; any other text as it is."""
    style = STATE_STYLES.get(text, "").split()
    if not style:
        return text
    colours = [word for word in style if word not in ("bold", "dim")]
    return click.style(
        text, fg=colours[0] if colours else None, bold="bold" in style or None, dim="dim" in style or None
    )


def heading(text: str) -> None:
    """A title within what a command shows people."""
    click.echo("\n" + click.style(clean(text), bold=True), color=color())


def console(*, stderr: bool = False) -> Console:
    """A console of rich on stdout."""
    from rich.console import Console

    return Console(file=sys.stderr if stderr else sys.stdout, highlight=False, markup=False, emoji=False)


def can_be_asked() -> bool:
    """Whether somebody sits at a terminal who can answer."""
    return sys.stdin.isatty()


def confirm(question: str, *, yes: bool) -> None:
    """Return if `yes`, or if somebody at the terminal says so. Raises `Refusal`."""
    if yes:
        return
    if not can_be_asked():
        raise Refusal("confirmation_needed", question)
    if not click.confirm(clean(question), err=True):
        raise Refusal("not_confirmed")


def _width(columns: Sequence[Column], items: Sequence[Any]) -> int:
    """The width of a table whose long columns are as short as they may be."""
    cells = [[_cell(column, item).cell_len for item in items] for column in columns]
    widths = (max([len(column.name), *lengths]) for column, lengths in zip(columns, cells, strict=True))
    needed = (min(width, SHORTEST) if column.long else width for column, width in zip(columns, widths, strict=True))
    return int(sum(needed)) + GAP * (len(columns) - 1)


def _cell(column: Column, item: Any) -> Any:
    from rich.text import Text

    value = column.value(item)
    shown = column.shown(value) if column.shown is not None else value
    text = "-" if shown is None or shown == "" else one_line(shown)
    return Text(text, style=STATE_STYLES.get(text, "") if column.is_state else "")
