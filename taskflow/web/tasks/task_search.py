"""Which tasks a list shows: found in the live tasks, the dead letters and the history, each in its own way, and merged.

What lives and what is dead is small: one statement each. History may hold millions, and its planner's statistics are
of no help, so that the way is laid down here:

- The newest few thousand rows are walked in the order of the list. Most filters find a page there.
- What is too rare for that is looked for in windows, from the newest on, by the BRIN index that knows which values
  each 16 pages hold. A window that holds too much is made smaller, one that holds little makes the next one larger.

So neither a filter that fits everything nor one that fits nothing reads more than a small part of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from taskflow.store.filter_terms import LIVE
from taskflow.store.filters import Filter

WALKED_ROWS = 5_000
FIRST_IDS = 50_000
FIRST_TIME = timedelta(minutes=1)
SHORTEST_TIME = timedelta(milliseconds=1)
GROWTH = 8
MOST_IN_WINDOW = 2_000
FEW_ROWS = 20_000
# Upper estimates: of rows that no VACUUM has counted yet, by what they occupy.
SIZES = """
    SELECT (SELECT coalesce(sum(greatest(c.reltuples, pg_relation_size(c.oid) / 200)), 0)
            FROM pg_partition_tree(r.oid) p JOIN pg_class c ON c.oid = p.relid WHERE p.isleaf) AS rows, r.relname
    FROM pg_class r WHERE r.relnamespace = 'taskflow'::regnamespace AND r.relname = ANY (%(tables)s)"""

# Set for the transaction alone. The statements of the two ways differ in their text, so that neither is ever run with
# a plan that was made for the other.
GENERIC = "set_config('plan_cache_mode', 'force_generic_plan', true)"
PLAIN = (
    "SELECT set_config('plan_cache_mode', 'auto', true), set_config('enable_seqscan', 'on', true),"
    " set_config('enable_bitmapscan', 'on', true), set_config('enable_indexscan', 'on', true),"
    " set_config('enable_indexonlyscan', 'on', true), set_config('jit', 'off', true),"
    " set_config('max_parallel_workers_per_gather', '0', true)"
)
ALONG_THE_INDEX = (
    f"SELECT {GENERIC}, set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),"
    " set_config('enable_indexscan', 'on', true), set_config('enable_indexonlyscan', 'on', true)"
)
BY_SUMMARY = (
    f"SELECT {GENERIC}, set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'on', true),"
    " set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true)"
)


@dataclass(frozen=True, slots=True)
class Found:
    """A task of the list: its id, in which table it was, and when it had finished."""

    id: int
    table: str
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of all tasks: its table, and the states in it. `is_history`: see above."""

    table: str
    states: frozenset[str]
    is_history: bool = False


LIVE_PART = Part("tasks_live", frozenset(LIVE))
DEAD_PART = Part("tasks_dead", frozenset({"dead_letter"}))
# What is true of all live tasks in these states, and finds them by an index; the fewest come first. What runs is told
# by the claims.
LIVE_IN = {
    frozenset({"running"}): "t.id = ANY (ARRAY(SELECT unnest(c.task_ids) FROM taskflow.claims c))",
    frozenset({"blocked"}): "t.key_state = 'blocked'",
    frozenset({"retrying"}): "t.failures > 0",
    frozenset({"pending", "retrying", "running"}): "t.key_state IS DISTINCT FROM 'blocked'",
}
HISTORY = (
    Part("tasks_completed", frozenset({"completed"}), is_history=True),
    Part("tasks_ended", frozenset({"cancelled", "failed"}), is_history=True),
)
PARTS = (LIVE_PART, DEAD_PART, *HISTORY)


# The columns as the BRIN index has them and no other: a statement that asks for these is planned with it alone.
IN_SUMMARY = {"id": "(t.id + 0)", "finished_at": "(t.finished_at - timestamptz 'epoch')"}
AS_IN_SUMMARY = {"id": "CAST({} AS bigint)", "finished_at": "(CAST({} AS timestamptz) - timestamptz 'epoch')"}


@dataclass(frozen=True, slots=True)
class Order:
    """By what a list is ordered: ids in either direction, or the time of finishing, the latest first."""

    column: str  # id or finished_at
    descending: bool = True

    def by(self) -> str:
        direction = "DESC" if self.descending else "ASC"
        return f"t.id {direction}" if self.column == "id" else f"t.{self.column} {direction}, t.id {direction}"

    def key(self, found: Found) -> Any:
        return found.id if self.column == "id" else (found.finished_at, found.id)

    def place(self) -> str:
        """The condition for what follows the parameters `after_key` and `after_id`."""
        sign = "<" if self.descending else ">"
        if self.column == "id":
            return f"t.id {sign} CAST(%(after_id)s AS bigint)"
        return (
            f"t.finished_at {sign}= CAST(%(after_key)s AS timestamptz) AND (t.finished_at, t.id) {sign}"
            " (CAST(%(after_key)s AS timestamptz), CAST(%(after_id)s AS bigint))"
        )

    def in_window(self) -> str:
        """The condition for what lies between the parameters `low` and `high`."""
        column, value = IN_SUMMARY[self.column], AS_IN_SUMMARY[self.column]
        return f"{column} >= {value.format('%(low)s')} AND {column} <= {value.format('%(high)s')}"

    def place_in_summary(self) -> str:
        """`place` where `in_window` has cut off nearly all that came before."""
        if self.column == "id":
            return "true"
        key = AS_IN_SUMMARY[self.column].format("%(after_key)s")
        return f"({IN_SUMMARY[self.column]}, t.id + 0) {'<' if self.descending else '>'} ({key}, %(after_id)s)"


NEWEST, OLDEST = Order("id"), Order("id", descending=False)
LATEST_ENDED = Order("finished_at")


@dataclass(frozen=True, slots=True)
class After:
    """The place of the last task of the page before."""

    id: int
    key: datetime | None = None


class Search:
    """Searches in one transaction of `connection`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._run(PLAIN, {})
        self._way = PLAIN

    def first(
        self, wanted: Filter, order: Order, count: int, after: After | None = None, parts: Sequence[Part] = PARTS
    ) -> list[Found]:
        """The first `count` tasks that fit, in order, after that place; fewer if there are no more."""
        reached = [part for part in parts if part.states & wanted.stored_states]
        found: list[Found] = []
        for part in reached:
            if not part.is_history:
                found += self._small(part, wanted, order, count, after)
        history = [part for part in reached if part.is_history]
        small = self._small_ones() if history and not wanted.is_everything else ()
        for part in history:
            walked = self._walk(part, wanted, order, count, after, FEW_ROWS if part.table in small else WALKED_ROWS)
            if len(walked) < count and part.table not in small and not wanted.is_everything:
                walked = self._in_windows(part, wanted, order, count, after)
            found += walked
        self._go(PLAIN)
        return sorted(found, key=order.key, reverse=order.descending)[:count]

    def due_first(
        self, wanted: Filter, count: int, after: tuple[datetime, int] | None, parts: Sequence[Part] = PARTS
    ) -> list[Found]:
        """The first by (run_at, id), for which history has no index: for what is small."""
        condition = wanted.condition()
        parameters = {**condition.parameters, "count": count}
        place = "true"
        if after is not None:
            place = "(t.run_at, t.id) > (CAST(%(after_key)s AS timestamptz), CAST(%(after_id)s AS bigint))"
            parameters |= {"after_key": after[0], "after_id": after[1]}
        keyed: list[tuple[Any, Found]] = []
        for part in parts:
            if part.states & wanted.stored_states:
                rows = self._run(
                    f"SELECT t.id, t.finished_at, t.run_at FROM taskflow.{part.table} t WHERE {condition.sql}"
                    f" AND {_narrowed(part, wanted)} AND {place} AND {_since(condition.since, part)}"
                    " ORDER BY t.run_at, t.id LIMIT %(count)s",
                    parameters,
                )
                keyed += [((row[2], row[0]), Found(row[0], part.table, row[1])) for row in rows]
        return [found for _, found in sorted(keyed, key=lambda pair: pair[0])[:count]]

    def _small(self, part: Part, wanted: Filter, order: Order, count: int, after: After | None) -> list[Found]:
        condition = wanted.condition()
        return self._found(
            part,
            f"SELECT t.id, t.finished_at FROM taskflow.{part.table} t"
            f" WHERE {condition.sql} AND {_narrowed(part, wanted)} AND {_place(order, after)}"
            f" ORDER BY {order.by()} LIMIT %(count)s",
            condition.parameters | _after(after) | {"count": count},
        )

    def _small_ones(self) -> frozenset[str]:
        """The parts of history of which every row may be walked over."""
        tables = [part.table for part in HISTORY]
        return frozenset(table for rows, table in self._run(SIZES, {"tables": tables}) if rows <= FEW_ROWS)

    def _walk(
        self, part: Part, wanted: Filter, order: Order, count: int, after: After | None, most: int
    ) -> list[Found]:
        """What fits among the next `most` rows."""
        condition = wanted.condition()
        everything = wanted.is_everything
        self._go(ALONG_THE_INDEX)
        return self._found(
            part,
            "SELECT t.id, t.finished_at FROM ("
            f"SELECT * FROM taskflow.{part.table} t WHERE {_place(order, after)} AND {_since(condition.since, part)}"
            f" ORDER BY {order.by()} LIMIT %(walked)s) AS t"
            f" WHERE {condition.sql} ORDER BY {order.by()} LIMIT %(count)s",
            condition.parameters
            | _after(after)
            | {"count": count, "walked": count if everything else max(count, most)},
        )

    def _in_windows(self, part: Part, wanted: Filter, order: Order, count: int, after: After | None) -> list[Found]:
        self._go(ALONG_THE_INDEX)
        low, high = self._run(f"SELECT min(t.{order.column}), max(t.{order.column}) FROM taskflow.{part.table} t", {})[
            0
        ]
        if low is None:
            return []
        if after is not None:
            low, high = _beyond(order, after, low, high)
        condition = wanted.condition()
        statement = (
            f"SELECT t.id, t.finished_at FROM taskflow.{part.table} t WHERE {order.in_window()}"
            f" AND {'true' if after is None else order.place_in_summary()} AND {condition.sql}"
        )
        parameters = condition.parameters | _after(after)
        self._go(BY_SUMMARY)

        def look(low: Any, high: Any) -> list[Found] | None:
            window = parameters | {"low": low, "high": high}
            found = self._found(part, f"{statement} LIMIT {MOST_IN_WINDOW + 1}", window)
            if len(found) <= MOST_IN_WINDOW:
                return found
            if order.column == "finished_at" and high - low < SHORTEST_TIME:  # they all finished in one moment
                in_order = f"{statement} ORDER BY {order.by()} LIMIT %(count)s"
                return self._found(part, in_order, window | {"count": count})
            return None

        found: list[Found] = []
        for window in _windows(low, high, count, look, descending=order.descending):
            found += sorted(window, key=order.key, reverse=order.descending)
        return found[:count]

    def _found(self, part: Part, statement: str, parameters: dict[str, Any]) -> list[Found]:
        return [Found(row[0], part.table, row[1]) for row in self._run(statement, parameters)]

    def _go(self, way: str) -> None:
        if self._way != way:
            self._run(way, {})
            self._way = way

    def _run(self, statement: str, parameters: dict[str, Any]) -> Sequence[Any]:
        return self._connection.exec_driver_sql(statement, parameters).all()


def _windows(
    low: Any, high: Any, count: int, look: Callable[[Any, Any], list[Found] | None], *, descending: bool
) -> Iterator[list[Found]]:
    """What `look` finds in windows from `high` down to `low` (or up, from `low`), until there are `count`. `look` gives
    None where a window holds too much."""
    smallest: Any = 1 if isinstance(low, int) else timedelta(microseconds=1)
    width: Any = FIRST_IDS if isinstance(low, int) else FIRST_TIME
    too_full: Any = None  # the far end of a window that is known to hold too much
    missing = count
    while low <= high and missing > 0:
        start, end = (max(low, high - width), high) if descending else (low, min(high, low + width))
        found = look(start, end)
        if found is None:
            too_full = start if descending else end
            width = max((end - start) // 2, smallest)
            continue
        yield found
        missing -= len(found)
        low, high = (low, start - smallest) if descending else (end + smallest, high)
        if found:
            too_full = None
            width *= max(1, min(GROWTH, 2 * count // len(found)))
        elif too_full is None:
            width *= GROWTH
        else:  # it is all in the other half
            width = max(abs((high if descending else low) - too_full) // 2, smallest)


def _beyond(order: Order, after: After, low: Any, high: Any) -> tuple[Any, Any]:
    """The window from the place on: ids without that of the place itself; of times several may be the same."""
    if order.column == "id":
        return (low, min(high, after.id - 1)) if order.descending else (max(low, after.id + 1), high)
    assert after.key is not None
    return (low, min(high, after.key)) if order.descending else (max(low, after.key), high)


def _place(order: Order, after: After | None) -> str:
    return "true" if after is None else order.place()


def _after(after: After | None) -> dict[str, Any]:
    return {} if after is None else {"after_id": after.id, "after_key": after.key}


def _narrowed(part: Part, wanted: Filter) -> str:
    if part != LIVE_PART:
        return "true"
    return next((condition for states, condition in LIVE_IN.items() if wanted.live_states <= states), "true")


def _since(since: str | None, part: Part) -> str:
    """Leaves out the days that had passed; an hour is for clocks that were set. Whole days, since a walk that leaves
    out single rows would pass over any number of them."""
    if since is None or not part.is_history:
        return "true"
    return f"t.finished_at >= date_trunc('day', {since} - interval '1 hour', 'UTC')"
