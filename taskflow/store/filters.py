"""The one filter language of API, CLI and dashboard, from text to SQL.

::

    state:failed,dead_letter type:mail queue:x priority:high metadata.user:7 payload.to:"a@b"
    error:timeout worker:3 created:<1h id:5..9

Conditions are separated by spaces and hold all together; the values of one, separated by commas, are alternatives. A
value with spaces, commas or quotes is quoted. Numbers and times take `5..9`, `5..`, `..9`, `<5`, `<=5`, `>5`, `>=5`. A
time is a date, an RFC 3339 time (UTC where it names no zone), or an age: `created:<1h` is what was created less than an
hour ago; for `scheduled` it is the time until then: `scheduled:<1h` is due within the hour.

::

    wanted = filters.parse('state:failed type:mail')
    wanted.check_breadth()                      # FilterTooBroad
    condition = wanted.condition("t")           # of the table tasks, or a partition, with this alias
    connection.execute(f"SELECT id FROM taskflow.tasks t WHERE {condition.sql}", condition.parameters)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from taskflow.errors import FilterTooBroad, InvalidFilter
from taskflow.store import filter_values as read
from taskflow.store.filter_terms import (
    FINISHED,
    LIVE,
    STORED_STATES,
    Contains,
    JsonIs,
    OneOf,
    Sql,
    StateIs,
    Tagged,
    Term,
    Within,
)
from taskflow.store.filter_words import Value, Word, quote, words

__all__ = ["Condition", "Filter", "combine", "parse", "quote"]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of SQL with its named parameters; `true` without any where the filter has no conditions. `since`:
    the moment, in SQL, before which nothing that fits has finished; None: that is not said."""

    sql: str
    parameters: dict[str, Any] = field(default_factory=dict)
    since: str | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that hold all together; none: every task."""

    terms: tuple[Term, ...] = ()

    @property
    def stored_states(self) -> frozenset[str]:
        """The states of the table in which a task can fit."""
        possible = frozenset(STORED_STATES)
        for term in self.terms:
            if isinstance(term, StateIs):
                possible &= term.stored
        return possible

    @property
    def live_states(self) -> frozenset[str]:
        """The states of `LIVE` in which a task can fit: only what runs has a worker."""
        by_worker = any(isinstance(term, OneOf | Within) and term.column == "worker_id" for term in self.terms)
        return self.stored_states & ({"running"} if by_worker else set(LIVE))

    @property
    def only_states(self) -> bool:
        """Whether nothing but the state, or nothing at all, is asked for."""
        return all(isinstance(term, StateIs) for term in self.terms)

    @property
    def is_everything(self) -> bool:
        """Whether nothing is asked for."""
        return not self.terms

    @property
    def asks_for_content(self) -> bool:
        """Whether payload, metadata, tags or error text must be read for it."""
        return any(isinstance(term, JsonIs | Contains | Tagged) for term in self.terms)

    @property
    def since(self) -> datetime | timedelta | None:
        """What fits was neither created nor finished before; None: that is not said."""
        for term in self.terms:
            if isinstance(term, Within) and term.column in ("created_at", "finished_at"):
                low = term.lowest
                if isinstance(low, datetime | timedelta):
                    return low
        return None

    def condition(
        self, alias: str = "t", *, state: str = "state", placeholder: Callable[[str], str] = "%({})s".format
    ) -> Condition:
        """The filter as SQL about the rows of `alias`: those of `tasks`, of one of its partitions, or, with
        `state="stored_state"`, of the view `task_list`.

        `placeholder` makes the mark of a parameter: psycopg's by default, `":{}".format` for SQLAlchemy's text().
        """
        sql = Sql(alias, state, placeholder)
        text = " AND ".join(term.sql(sql) for term in self.terms) or "true"
        since = None if self.since is None else sql.moment(self.since)
        return Condition(text, sql.parameters, since)

    def check_breadth(self) -> None:
        """Raises `FilterTooBroad` where it asks for payload, metadata or error text of all history."""
        by_content = [term for term in self.terms if isinstance(term, JsonIs | Contains | Tagged)]
        if not by_content or not self.stored_states & set(FINISHED):
            return
        if any(_narrows(term) for term in self.terms):
            return
        raise FilterTooBroad(
            f"to look for {_content(by_content[0])} in all finished tasks takes too long: add a time range such as"
            " created:<1d, or a state such as state:pending,retrying,running or state:dead_letter"
        )


def _content(term: Term) -> str:
    return term.column if isinstance(term, JsonIs | Contains) else "tags"


def _narrows(term: Term) -> bool:
    """Whether it leaves only a part of history, known beforehand, to be read."""
    if isinstance(term, Within):
        return term.column in ("id", "created_at", "finished_at") and term.is_bounded
    return isinstance(term, OneOf) and term.column == "id"


def parse(text: str) -> Filter:
    """Read a filter. Raises `InvalidFilter` with the position and what could have been meant; an empty text is every
    task."""
    terms: list[Term] = []
    seen: set[str] = set()
    for word in words(text):
        kind = FIELDS.get(ALIASES.get(word.name, word.name))
        if kind is None:
            raise _unknown(word)
        if word.path and kind.path != "needed":
            raise InvalidFilter(f"{word.name} has no keys: write {word.name}:{word.values[0].text}", word.position)
        if not word.path and kind.path == "needed":
            raise InvalidFilter(f"{word.name} needs a key: write {word.name}.KEY:VALUE", word.position)
        if kind.once and kind.name in seen:
            raise InvalidFilter(
                f"{word.name} is there twice, and nothing can be both; alternatives are written {word.name}:a,b",
                word.position,
            )
        seen.add(kind.name)
        terms.append(kind.read(word))
    return Filter(tuple(terms))


def combine(filters: Iterable[Filter]) -> Filter:
    """What fits all of these."""
    return Filter(tuple(term for found in filters for term in found.terms))


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    read: Callable[[Word], Term]
    path: str = "none"  # or "needed"
    once: bool = False  # two conditions about it could never both hold


def _one_of(column: str, type_: str, of: Callable[[Value], str | int], word: Word) -> Term:
    return OneOf(column, type_, tuple(dict.fromkeys(of(value) for value in word.values)))


def _numbers(column: str, type_: str, of: Callable[[Value], int], word: Word) -> Term:
    ranges = tuple(read.number_range(value, of) for value in word.values)
    if all(found.low == found.high for found in ranges):
        return OneOf(column, type_, tuple(dict.fromkeys(found.low for found in ranges if isinstance(found.low, int))))
    return Within(column, type_, ranges)


def _times(column: str, word: Word, *, ahead: bool = False) -> Term:
    ranges = tuple(read.time_range(value, ahead=ahead) for value in word.values)
    return Within(column, "timestamptz", ranges)


def _json(column: str, word: Word) -> Term:
    return JsonIs(column, word.path, tuple(value.text for value in word.values))


def _fields() -> Iterable[_Field]:
    yield _Field("state", lambda word: StateIs(frozenset(map(read.state, word.values))), once=True)
    for name in ("type", "queue", "unique_key", "concurrency_key", "created_by"):
        yield _Field(name, partial(_one_of, name, "text", read.text), once=True)
    yield _Field("priority", partial(_numbers, "priority", "smallint", read.priority))
    for name, column in (("id", "id"), ("worker", "worker_id"), ("schedule", "schedule_id")):
        yield _Field(name, partial(_numbers, column, "bigint", read.big))
    for name in ("attempt", "failures"):
        yield _Field(name, partial(_numbers, name, "integer", read.small))
    for name, column in (
        ("created", "created_at"),
        ("updated", "updated_at"),
        ("started", "started_at"),
        ("completed", "finished_at"),
    ):
        yield _Field(name, partial(_times, column))
    yield _Field("scheduled", partial(_times, "run_at", ahead=True))
    yield _Field("payload", partial(_json, "payload"), path="needed")
    yield _Field("metadata", partial(_json, "metadata"), path="needed")
    yield _Field("error", lambda word: Contains("error", tuple(value.text for value in word.values)))
    yield _Field("tag", lambda word: Tagged(tuple(value.text for value in word.values)))


FIELDS = {kind.name: kind for kind in _fields()}
ALIASES = {
    "status": "state",
    "worker_id": "worker",
    "schedule_id": "schedule",
    "created_at": "created",
    "updated_at": "updated",
    "started_at": "started",
    "completed_at": "completed",
    "finished": "completed",
    "scheduled_at": "scheduled",
    "tags": "tag",
    "job_type": "type",
    "task_id": "id",
}


def _unknown(word: Word) -> InvalidFilter:
    meant = difflib.get_close_matches(word.name, [*FIELDS, *ALIASES], n=1)
    hint = f"did you mean {meant[0]}?" if meant else f"the fields are {', '.join(FIELDS)}"
    return InvalidFilter(f"there is no field {word.name}: {hint}", word.position)
