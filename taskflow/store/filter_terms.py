"""The conditions of a filter, and each as SQL. Whatever a client wrote becomes a parameter, never part of the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

Moment = datetime | timedelta
"""A point in time, or a distance from the database's now()."""

LIVE = ("pending", "retrying", "running", "blocked")
FINISHED = ("completed", "cancelled", "failed")
STORED_STATES = (*LIVE, *FINISHED, "dead_letter")


class Sql:
    """Where conditions put their parameters. `alias` is the table's; `state` the column with the stored state;
    `placeholder` makes the mark of a parameter out of its name, as the driver wants it."""

    def __init__(self, alias: str, state: str, placeholder: Callable[[str], str]) -> None:
        self.alias = alias
        self.state = f"{alias}.{state}"
        self.parameters: dict[str, Any] = {}
        self._placeholder = placeholder

    def column(self, name: str) -> str:
        return f"{self.alias}.{name}"

    def give(self, value: Any, type_: str) -> str:
        """`value` as a parameter of a type of PostgreSQL."""
        name = f"f{len(self.parameters)}"
        self.parameters[name] = value
        return f"CAST({self._placeholder(name)} AS {type_})"

    def moment(self, moment: Moment) -> str:
        if isinstance(moment, timedelta):
            return f"now() + make_interval(secs => {self.give(moment.total_seconds(), 'double precision')})"
        return self.give(moment, "timestamptz")


@dataclass(frozen=True, slots=True)
class StateIs:
    """The state that people see, see `taskflow.shown_state()`."""

    states: frozenset[str]

    @property
    def stored(self) -> frozenset[str]:
        """The states in the table that can be seen as one of these."""
        derived = {"scheduled": {"pending"}, "pending": {"pending", "retrying"}}
        return frozenset().union(*(derived.get(state, {state}) for state in self.states))

    def sql(self, sql: Sql) -> str:
        whole = sorted(self.states - {"pending", "scheduled", "retrying"})
        parts = [_in(sql.state, whole)] if whole else []
        parts += self._waiting(sql, "pending", due="pending", ahead="scheduled")
        parts += self._waiting(sql, "retrying", due="pending", ahead="retrying")
        return _any_of(parts)

    def _waiting(self, sql: Sql, stored: str, *, due: str, ahead: str) -> list[str]:
        if self.states >= {due, ahead}:
            return [_in(sql.state, [stored])]
        if due in self.states:
            return [f"({_in(sql.state, [stored])} AND {sql.column('run_at')} <= statement_timestamp())"]
        if ahead in self.states:
            return [f"({_in(sql.state, [stored])} AND {sql.column('run_at')} > statement_timestamp())"]
        return []


@dataclass(frozen=True, slots=True)
class OneOf:
    """A column has one of these values; `type_` is its type."""

    column: str
    type_: str
    values: tuple[str | int, ...]

    def sql(self, sql: Sql) -> str:
        if len(self.values) == 1:
            return f"{sql.column(self.column)} = {sql.give(self.values[0], self.type_)}"
        return f"{sql.column(self.column)} = ANY ({sql.give(list(self.values), self.type_ + '[]')})"


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, None: without an end; whether the ends themselves belong to it."""

    low: int | Moment | None = None
    high: int | Moment | None = None
    with_low: bool = True
    with_high: bool = True


@dataclass(frozen=True, slots=True)
class Within:
    """A column of numbers or times lies in one of these ranges."""

    column: str
    type_: str
    ranges: tuple[Range, ...]

    def sql(self, sql: Sql) -> str:
        return _any_of([self._range(sql, found) for found in self.ranges])

    @property
    def lowest(self) -> int | Moment | None:
        """The end below which nothing lies; None where there is none, or where the ends cannot be compared."""
        lows = [found.low for found in self.ranges]
        return lows[0] if len(lows) == 1 else None

    @property
    def is_bounded(self) -> bool:
        """Whether every range begins somewhere."""
        return all(found.low is not None for found in self.ranges)

    def _range(self, sql: Sql, found: Range) -> str:
        column = sql.column(self.column)
        parts = []
        if found.low is not None:
            parts.append(f"{column} {'>=' if found.with_low else '>'} {self._end(sql, found.low)}")
        if found.high is not None:
            parts.append(f"{column} {'<=' if found.with_high else '<'} {self._end(sql, found.high)}")
        return "(" + " AND ".join(parts) + ")"

    def _end(self, sql: Sql, end: int | Moment) -> str:
        return sql.give(end, self.type_) if isinstance(end, int) else sql.moment(end)


@dataclass(frozen=True, slots=True)
class JsonIs:
    """What lies at `path` of a JSON column is one of these, compared as text: 7 finds the number and the text."""

    column: str
    path: tuple[str, ...]
    values: tuple[str, ...]

    def sql(self, sql: Sql) -> str:
        found = f"{sql.column(self.column)} #>> {sql.give(list(self.path), 'text[]')}"
        return f"{found} = ANY ({sql.give(list(self.values), 'text[]')})"


@dataclass(frozen=True, slots=True)
class Contains:
    """A text contains one of these, in any case."""

    column: str
    values: tuple[str, ...]

    def sql(self, sql: Sql) -> str:
        text = f"lower({sql.column(self.column)})"
        return _any_of([f"strpos({text}, lower({sql.give(value, 'text')})) > 0" for value in self.values])


@dataclass(frozen=True, slots=True)
class Tagged:
    """The task has one of these tags."""

    tags: tuple[str, ...]

    def sql(self, sql: Sql) -> str:
        return f"CAST({sql.column('tags')} AS text[]) && {sql.give(list(self.tags), 'text[]')}"


Term = StateIs | OneOf | Within | JsonIs | Contains | Tagged


def _in(column: str, states: Sequence[str]) -> str:
    # Words of a closed list, written out: so the planner skips the partitions that cannot hold them.
    assert set(states) <= set(STORED_STATES)
    return f"{column} IN ({', '.join(repr(state) for state in states)})"


def _any_of(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else "(" + " OR ".join(parts) + ")"
