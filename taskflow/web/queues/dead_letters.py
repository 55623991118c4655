"""Dead letters: which are meant, and what is done to many of them, in batches with a transaction and a record each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BigInteger, Connection, Double, Integer, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from taskflow.errors import TaskNotFound
from taskflow.store.filter_terms import StateIs
from taskflow.store.filters import Filter
from taskflow.web.access import audit
from taskflow.web.http import params
from taskflow.web.models.base import CENTURY_SECONDS
from taskflow.web.models.dead_letters import DeadLetterFilter
from taskflow.web.models.task_lists import TaskListQuery
from taskflow.web.services import LONGEST_REQUEST_SECONDS, services
from taskflow.web.tasks import filtering
from taskflow.web.tasks.rivals import rival_withheld

DEAD = Filter((StateIs(frozenset({"dead_letter"})),))
BATCH = 1000
# Dead letters from before there were fingerprints.
NO_FINGERPRINT = "none"
IDS = bindparam("ids", type_=ARRAY(BigInteger))
RETRY = select(
    func.taskflow.retry_dead_letters(
        IDS,
        bindparam("options", type_=JSONB),
        bindparam("first", type_=Double),
        bindparam("step", type_=Double),
        type_=Integer,
    )
)
RETRY_ONE = text(
    "SELECT s.state FROM taskflow.retry_task(:id, :options) AS s (state) WHERE s.state IS NOT NULL"
).bindparams(bindparam("id", type_=BigInteger), bindparam("options", type_=JSONB))
REMOVE = select(func.taskflow.remove_dead_letters(IDS, type_=Integer))


@dataclass(frozen=True, slots=True)
class Selection:
    """Some of the dead letters that whoever asks may see. `more`: conditions of SQL beyond the filter, on `t`.

    The SQL does not say that they are dead letters, since all of `tasks_dead` are: no index tells the state.
    """

    filter: Filter
    more: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)

    def condition(self) -> tuple[str, dict[str, Any]]:
        """As SQL about rows of `tasks_dead` called `t`, with its parameters."""
        terms = tuple(term for term in self.filter.terms if term not in DEAD.terms)
        found = Filter(terms).condition("t", placeholder=":{}".format)
        return " AND ".join((found.sql, *self.more)), {**found.parameters, **self.parameters}


def everything() -> Selection:
    """All of them."""
    return of_text("")


def of_text(wanted: str) -> Selection:
    """Those that fit a filter which stands in a body. Raises `Problem` 422."""
    return Selection(filtering.of_text(wanted, "/filter", DEAD))


def of_query(query: DeadLetterFilter) -> Selection:
    """Those that the parameters ask for, all together. Raises `Problem` 422."""
    given = query.model_dump(include=DeadLetterFilter.model_fields.keys() & TaskListQuery.model_fields.keys())
    chosen = filtering.of_query(TaskListQuery.model_construct(**given), DEAD)
    more: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}
    if query.dead_letter_queue is not None:
        more += ("t.queue IN (SELECT q.name FROM taskflow.queues q WHERE q.dead_letter_queue = :dead_letter_queue)",)
        parameters["dead_letter_queue"] = query.dead_letter_queue
    if query.group is not None:
        condition, values = _is_of_group(query.group)
        more, parameters = (*more, condition), {**parameters, **values}
    return Selection(chosen, more, parameters)


def of_group(fingerprint: str) -> Selection:
    """Those of a group."""
    condition, parameters = _is_of_group(fingerprint)
    return Selection(everything().filter, (condition,), parameters)


def of_ids(ids: list[str]) -> Selection:
    """Those with these ids; what is no id is none of them."""
    numbers = sorted({number for text in ids if (number := params.number(text)) is not None})
    return Selection(everything().filter, ("t.id = ANY (CAST(:ids AS bigint[]))",), {"ids": numbers})


def is_chosen(query: DeadLetterFilter) -> bool:
    """Whether the parameters ask for anything less than all: a blank filter does not."""
    given = query.model_copy(update={"q": query.q.strip()})
    return bool(given.model_dump(include=set(DeadLetterFilter.model_fields), exclude_defaults=True))


def count(selection: Selection) -> int:
    """How many there are."""
    condition, parameters = selection.condition()
    statement = text(f"SELECT count(*) FROM taskflow.tasks_dead t WHERE {condition}")
    found: int = services().database.fetch(statement, parameters)[0][0]
    return found


def types(selection: Selection) -> list[str]:
    """The types that there are among them."""
    condition, parameters = selection.condition()
    statement = text(f"SELECT DISTINCT t.type::text FROM taskflow.tasks_dead t WHERE {condition}")
    return [row[0] for row in services().database.fetch(statement, parameters)]


def retry_one(number: int, options: dict[str, Any]) -> None:
    """Make one ended task pending again. Raises `TaskNotFound`, `WrongState` or `UniqueConflict`."""
    with rival_withheld():
        found = audit.change(RETRY_ONE, {"id": number, "options": options}, action="dlq.retry", target=str(number))
    if not found:
        raise TaskNotFound(number)


def retry(selection: Selection, *, payload: dict[str, Any] | None, per_second: float | None, target: str) -> int:
    """Make them pending again; returns how many. Passed over is one whose unique key a live task has."""
    step = 0.0 if per_second is None else min(1 / per_second, CENTURY_SECONDS)
    options = {} if payload is None else {"payload": payload}
    done = 0

    def batch(connection: Connection, ids: list[int]) -> int:
        nonlocal done
        parameters = {"ids": ids, "options": options, "first": done * step, "step": step}
        retried: int = connection.execute(RETRY, parameters).scalar_one()
        done += retried
        return retried

    return _in_batches(selection, batch, action="dlq.retry", target=target, counted="retried_count")


def remove(selection: Selection, *, target: str) -> int:
    """Remove them with their executions; returns how many."""

    def batch(connection: Connection, ids: list[int]) -> int:
        removed: int = connection.execute(REMOVE, {"ids": ids}).scalar_one()
        return removed

    return _in_batches(selection, batch, action="dlq.clear", target=target, counted="deleted_count")


def _in_batches(
    selection: Selection, batch: Callable[[Connection, list[int]], int], *, action: str, target: str, counted: str
) -> int:
    began, done = time.monotonic(), 0
    for ids in _ids(selection):
        if time.monotonic() - began > LONGEST_REQUEST_SECONDS or services().closing.is_set():
            break
        with services().database.transaction() as connection:
            number = batch(connection, ids)
            if number:
                audit.record(connection, action=action, target=target, details={counted: number})
        done += number
    return done


def _ids(selection: Selection) -> Iterator[list[int]]:
    """Their ids in ascending order: those that there were at the beginning."""
    condition, parameters = selection.condition()
    newest = text("SELECT coalesce(max(id), 0) FROM taskflow.tasks_dead")
    page = text(
        f"SELECT t.id FROM taskflow.tasks_dead t WHERE t.id > :after AND t.id <= :newest AND {condition}"
        f" ORDER BY t.id LIMIT {BATCH}"
    )
    parameters |= {"after": 0, "newest": services().database.fetch(newest)[0][0]}
    while found := [row[0] for row in services().database.fetch(page, parameters)]:
        yield found
        parameters["after"] = found[-1]


def _is_of_group(fingerprint: str) -> tuple[str, dict[str, Any]]:
    if fingerprint == NO_FINGERPRINT:
        return "t.fingerprint IS NULL", {}
    return "t.fingerprint = :fingerprint", {"fingerprint": fingerprint}
