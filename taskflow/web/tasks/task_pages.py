"""One page of a list of tasks: found, read, and where the next one begins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from taskflow.errors import FieldProblem
from taskflow.store import filters
from taskflow.store.filter_terms import OneOf
from taskflow.store.filters import Filter
from taskflow.web.http.lists import cursor_after, place_of
from taskflow.web.http.problems import Problem
from taskflow.web.tasks.task_search import (
    DEAD_PART,
    FEW_ROWS,
    HISTORY,
    LATEST_ENDED,
    LIVE_PART,
    NEWEST,
    OLDEST,
    PARTS,
    SIZES,
    After,
    Found,
    Search,
)

ENDED_PARTS = (DEAD_PART, *HISTORY)
MOST_COUNTED = 10_000
PRIORITIES = (3, 2, 1, 0)


@dataclass(frozen=True, slots=True)
class Page:
    """`rows` of `task_list` in order; `more`: whether others follow; `place`: the cursor for them."""

    rows: list[dict[str, Any]]
    more: bool
    place: str | None


def read_page(connection: Connection, wanted: Filter, sort: str, cursor: str | None, offset: int, limit: int) -> Page:
    """The page after `cursor`, `offset` tasks further. Raises `Problem` 422 for a cursor of another order."""
    found = _find(connection, wanted, sort, cursor, offset + limit + 1)
    shown = found[offset : offset + limit]
    rows = _read(connection, shown)
    there = [task for task in shown if task.id in rows]  # what was removed meanwhile is not
    in_order = [rows[task.id] for task in there]
    more = len(found) > offset + limit
    place = _place(sort, there[-1], rows[there[-1].id]) if more and there else None
    if sort == "-created_at":
        # Ids are given in the order of creation, but a transaction that had begun before may have got the later one.
        in_order.sort(key=lambda row: (row["created_at"], row["id"]), reverse=True)
    return Page(in_order, more, place)


def total(connection: Connection, wanted: Filter, at_least: int) -> tuple[int, bool]:
    """How many tasks fit, `at_least` so many, and whether that is the planner's estimate: where they are many, or hard
    to find."""
    condition = wanted.condition()
    rows = f"FROM taskflow.tasks t WHERE {condition.sql}"
    if wanted.only_states or _is_small(connection, wanted):
        counted = connection.exec_driver_sql(
            f"SELECT count(*) FROM (SELECT {rows} LIMIT {MOST_COUNTED + 1}) AS few", condition.parameters
        ).scalar_one()
        if counted <= MOST_COUNTED:
            return counted, False
        at_least = counted
    return max(at_least, _estimate(connection, rows, condition.parameters)), True


def _is_small(connection: Connection, wanted: Filter) -> bool:
    """Whether all rows that could fit may be looked at for a count."""
    tables = [part.table for part in PARTS if part.states & wanted.stored_states]
    rows: int = sum(connection.exec_driver_sql(SIZES, {"tables": tables}).scalars())
    return rows <= FEW_ROWS


def _estimate(connection: Connection, rows: str, parameters: dict[str, Any]) -> int:
    plan = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) SELECT {rows}", parameters).scalar_one()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    return int(plan[0]["Plan"]["Plan Rows"])


def _find(connection: Connection, wanted: Filter, sort: str, cursor: str | None, count: int) -> list[Found]:
    search = Search(connection)
    match sort:
        case "-id" | "-created_at" | "id":
            after = _place_of(cursor, sort, int)
            order = OLDEST if sort == "id" else NEWEST
            return search.first(wanted, order, count, None if after is None else After(after[0]))
        case "-priority":
            return _by_priority(search, wanted, _place_of(cursor, sort, int, int), count)
        case "-completed_at":
            return _by_end(search, wanted, _place_of(cursor, sort, str, int), count)
        case _:
            after = _place_of(cursor, sort, str, int)
            _check_sortable(connection, wanted)
            return search.due_first(wanted, count, None if after is None else (_time(after[0]), after[1]))


def _by_priority(search: Search, wanted: Filter, after: Sequence[Any] | None, count: int) -> list[Found]:
    """The highest priority first; in each the newest."""
    found: list[Found] = []
    for priority in PRIORITIES:
        if len(found) >= count or (after is not None and priority > after[0]):
            continue
        here = After(after[1]) if after is not None and after[0] == priority else None
        of_it = filters.combine([wanted, Filter((OneOf("priority", "smallint", (priority,)),))])
        found += search.first(of_it, NEWEST, count - len(found), here)
    return found


def _by_end(search: Search, wanted: Filter, after: Sequence[Any] | None, count: int) -> list[Found]:
    """What has ended, the latest first; then what has not, the newest first: its place has an empty time."""
    found: list[Found] = []
    if after is None or after[0]:
        place = None if after is None else After(after[1], _time(after[0]))
        found = search.first(wanted, LATEST_ENDED, count, place, ENDED_PARTS)
        after = None
    if len(found) < count:
        place = None if after is None else After(after[1])
        found += search.first(wanted, NEWEST, count - len(found), place, (LIVE_PART,))
    return found


def _check_sortable(connection: Connection, wanted: Filter) -> None:
    """History has no index on scheduled_at: where it is long it is not sorted by it, unless a time range makes it
    short."""
    tables = [part.table for part in HISTORY if part.states & wanted.stored_states]
    if not tables or wanted.since is not None:
        return
    rows = sum(connection.exec_driver_sql(SIZES, {"tables": tables}).scalars())
    if rows > 5 * FEW_ROWS:
        detail = (
            "to sort all finished tasks by scheduled_at takes too long: add a state that waits, such as"
            " state:pending,scheduled,retrying, or a time range such as created:<1d"
        )
        raise Problem("filter_too_broad", detail, problems=[FieldProblem("?sort", "filter_too_broad", detail)])


def _read(connection: Connection, found: Sequence[Found]) -> dict[int, dict[str, Any]]:
    """The rows by their ids. What has moved meanwhile is looked for again where it went."""
    rows: dict[int, dict[str, Any]] = {}
    for part in PARTS:
        here = [task for task in found if task.table == part.table]
        if not here:
            continue
        states = ", ".join(f"'{state}'" for state in sorted(part.states))
        statement = f"SELECT * FROM taskflow.task_list t WHERE t.stored_state IN ({states}) AND t.id = ANY (%(ids)s)"
        parameters: dict[str, Any] = {"ids": [task.id for task in here]}
        if part.is_history:
            times = [task.finished_at for task in here if task.finished_at is not None]
            statement += " AND t.finished_at BETWEEN %(first)s AND %(last)s"
            parameters |= {"first": min(times), "last": max(times)}
        rows |= _by_id(connection, statement, parameters)
    for task_id in [task.id for task in found if task.id not in rows]:
        rows |= _by_id(connection, "SELECT * FROM taskflow.read_task(%(id)s)", {"id": task_id})
    return rows


def _by_id(connection: Connection, statement: str, parameters: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {row["id"]: dict(row) for row in connection.exec_driver_sql(statement, parameters).mappings()}


def _place(sort: str, last: Found, row: dict[str, Any]) -> str:
    match sort:
        case "-priority":
            return cursor_after(sort, row["priority"], last.id)
        case "-completed_at":
            return cursor_after(sort, last.finished_at.isoformat() if last.finished_at else "", last.id)
        case "scheduled_at":
            return cursor_after(sort, row["run_at"].isoformat(), last.id)
        case _:
            return cursor_after(sort, last.id)


def _place_of(cursor: str | None, sort: str, *kinds: type) -> Sequence[Any] | None:
    place = place_of(cursor, str, *kinds)
    if place is None:
        return None
    if place[0] != sort:
        raise _other_order()
    return place[1:]


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise _other_order() from None
    if time.tzinfo is None or not 1900 <= time.year <= 2200:
        raise _other_order()
    return time


def _other_order() -> Problem:
    detail = "is none that this list has given in this order"
    return Problem(
        "invalid_request", f"?cursor: {detail}", problems=[FieldProblem("?cursor", "invalid_cursor", detail)]
    )
