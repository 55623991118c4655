"""What the client asks of the database: every statement with its parameters and what its rows mean.

One object a request, made here and nowhere else, so that the synchronous and the asynchronous client cannot differ.
Placeholders are psycopg's; values that may be NULL are cast, since drivers send those without a type. JSON travels as
text in both directions, so that the adapters of the caller's connection have no say in it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

import orjson

from taskflow.errors import InvalidTask, TaskNotFound
from taskflow.tasks.execution import Execution
from taskflow.tasks.new_task import Enqueued, NewTask
from taskflow.tasks.task import Priority, Task

Row = Sequence[Any]
Answer = TypeVar("Answer")

MANY_TASKS = 1_000  # a call of enqueue_many
MANY_BYTES = 16 * 1024 * 1024  # jsonb ends at 256 MiB, and a server's memory before that
LARGEST_ID = 2**63 - 1
COPY_LOOKAHEAD = 1_000  # tasks that are looked at before the columns of a COPY are chosen


@dataclass(frozen=True, slots=True)
class Operation(Generic[Answer]):
    """A statement, its parameters, and the function that reads its rows."""

    sql: str
    parameters: tuple[Any, ...]
    decode: Callable[[Sequence[Row]], Answer]


_ENQUEUE = (
    "SELECT id, created, state FROM taskflow.enqueue(CAST(%s AS text), CAST(%s AS jsonb), CAST(%s AS text), "
    "CAST(%s AS integer), CAST(%s AS timestamptz), CAST(%s AS text), CAST(%s AS jsonb))"
)
_ENQUEUE_MANY = "SELECT index, id, created, state FROM taskflow.enqueue_many(CAST(%s AS jsonb))"
_ENQUEUE_PLAIN = "SELECT id, created, state FROM taskflow.enqueue_many(CAST(%s AS jsonb))"
_TASK = """id, type, queue, payload::text, priority, state, attempt, failures, max_attempts, timeout, progress,
    progress_message, result::text, error, metadata::text, tags, unique_key, concurrency_key, worker_id, created_at,
    created_by, updated_at, run_at, started_at, finished_at, cancel_requested, schedule_id, version"""
_GET = f"SELECT {_TASK} FROM taskflow.read_task(CAST(%s AS bigint))"
_LATEST = f"SELECT {_TASK} FROM taskflow.task_list ORDER BY id DESC LIMIT %s"
_EXECUTIONS = """SELECT task_id, attempt, status, worker_id, started_at, finished_at, error, traceback, logs::text
FROM taskflow.task_attempts(CAST(%s AS bigint))"""
_CANCEL = "SELECT taskflow.cancel(CAST(%s AS bigint))"
_RETRY = "SELECT taskflow.retry_task(CAST(%s AS bigint), CAST(%s AS jsonb))"


def enqueue(task: NewTask) -> Operation[Enqueued]:
    """Create one task."""
    fields = task.fields
    options = "{}"
    if fields:
        rest = {
            name: value for name, value in fields.items() if name not in ("queue", "priority", "run_at", "unique_key")
        }
        if rest:
            options = orjson.dumps(rest).decode()
    parameters = (
        task.type,
        task.encoded_payload,
        fields.get("queue"),
        fields.get("priority"),
        fields.get("run_at"),
        fields.get("unique_key"),
        options,
    )
    return Operation(_ENQUEUE, parameters, _enqueued)


@dataclass(frozen=True, slots=True)
class ManyTasks:
    """Operations for one transaction that together create tasks, and the place of each task in what was given."""

    operations: list[Operation[list[Enqueued]]]
    places: Sequence[int]

    def in_order(self, answers: Iterable[list[Enqueued]]) -> list[Enqueued]:
        """What the operations have answered, in the order in which the tasks were given."""
        found = list(itertools.chain.from_iterable(answers))
        if isinstance(self.places, range):
            return found
        return [enqueued for _, enqueued in sorted(zip(self.places, found, strict=True))]


def enqueue_many(tasks: Sequence[NewTask]) -> ManyTasks:
    """Create tasks, all or none.

    Those with a unique key are in the order of their keys, as within the database's function: two callers with the same
    keys then wait for each other instead of ending in a deadlock.
    """
    places: Sequence[int] = range(len(tasks))
    if any("unique_key" in task.fields for task in tasks):
        places = sorted(places, key=lambda place: (tasks[place].type, tasks[place].fields.get("unique_key", "")))
    return ManyTasks([_many(rows) for rows in _chunks(map(tasks.__getitem__, places))], places)


def enqueue_plain(encoded: Iterable[str], count: int) -> ManyTasks:
    """Create `count` tasks that say no more than their type, payload, queue and priority, given as JSON arrays; the
    function answers those in their order.
    """
    return ManyTasks([Operation(_ENQUEUE_PLAIN, (tasks,), _all_enqueued) for tasks in encoded], range(count))


def _chunks(tasks: Iterable[NewTask]) -> Iterator[list[str]]:
    rows: list[str] = []
    size = 0
    for task in tasks:
        row = _row(task)
        length = len(row) if row.isascii() else len(row.encode())
        if len(rows) == MANY_TASKS or (rows and size + length > MANY_BYTES):
            yield rows
            rows, size = [], 0
        rows.append(row)
        size += length
    if rows:
        yield rows


def _row(task: NewTask) -> str:
    """A task as JSON: put together, since the payload is JSON already and seldom there are any fields."""
    row = f'{{"type":{_json_text(task.type)},"payload":{task.encoded_payload}'
    return f"{row},{orjson.dumps(task.fields).decode()[1:]}" if task.fields else f"{row}}}"


@lru_cache
def _json_text(text: str) -> str:
    return orjson.dumps(text).decode()


def _many(rows: list[str]) -> Operation[list[Enqueued]]:
    def decode(answer: Sequence[Row]) -> list[Enqueued]:
        found: list[Any] = [None] * len(rows)
        for index, id, created, state in answer:
            found[index] = Enqueued(id, created, state)
        return found

    return Operation(_ENQUEUE_MANY, (f"[{','.join(rows)}]",), decode)


def _id(given: object) -> int:
    """An id as it is, or as the REST API writes it. Raises `InvalidTask` for anything else, and `TaskNotFound` for what
    is too large to be one."""
    number = int(given) if isinstance(given, str) and given.isdecimal() and len(given) < 100 else given
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidTask(f"a task's id is a whole number, not {given!r:.100}")
    if abs(number) > LARGEST_ID:
        raise TaskNotFound(number)
    return number


def get(task_id: int) -> Operation[Task]:
    """One task as it is now; its decoder raises `TaskNotFound`."""
    return Operation(_GET, (_id(task_id),), lambda rows: _task(_only(rows, task_id)))


def latest(limit: int) -> Operation[list[Task]]:
    """The tasks that were created last, in the order of their ids: for tests, where there are few."""
    return Operation(_LATEST, (limit,), lambda rows: [_task(row) for row in reversed(rows)])


def executions(task_id: int) -> Operation[list[Execution]]:
    """Every attempt of a task, the one under way included, in order."""
    return Operation(_EXECUTIONS, (_id(task_id),), lambda rows: [_execution(row) for row in rows])


def cancel(task_id: int) -> Operation[str]:
    """Cancel a task; the state after it. Its decoder raises `TaskNotFound`."""
    return Operation(_CANCEL, (_id(task_id),), lambda rows: _state(rows, task_id))


def retry(task_id: int, options: dict[str, Any]) -> Operation[str]:
    """Make a task that has ended pending again; its state. The decoder raises `TaskNotFound`."""
    return Operation(_RETRY, (_id(task_id), orjson.dumps(options).decode()), lambda rows: _state(rows, task_id))


# What a column that is not given gets, in the text form of COPY: it has no per-row defaults before PostgreSQL 16.
# 'now' is what PostgreSQL reads as the start of the transaction, which is the column's default.
_COPY_DEFAULTS: dict[str, Any] = {"queue": "default", "priority": 1, "run_at": "now", "metadata": "{}", "tags": []}


def copy(tasks: Iterable[NewTask]) -> Iterator[tuple[str, Iterator[tuple[Any, ...]]]]:
    """COPY statements, each with its rows, for one transaction; take all rows of one before asking for the next.

    A statement names only the columns that its tasks use, since fewer are faster: those of the first `COPY_LOOKAHEAD`
    tasks, and it ends where a later one needs another. Rows are made as they are sent, while the server stores those
    before. Raises `InvalidTask` for what only `taskflow.enqueue` can do.
    """
    remaining = iter(tasks)
    while ahead := list(itertools.islice(remaining, COPY_LOOKAHEAD)):
        names = sorted(set().union(*(task.fields for task in ahead)))
        _refuse_in_copy(names)
        rest: list[NewTask] = []  # the task that needs another column, for the next statement
        columns = ", ".join(["type", "payload", *names])
        yield (
            f"COPY taskflow.tasks ({columns}) FROM STDIN",
            _copied_rows(itertools.chain(ahead, remaining), names, rest),
        )
        remaining = itertools.chain(rest, remaining)


def _refuse_in_copy(names: list[str]) -> None:
    for name in ("delay", "on_conflict", "unique_for"):
        if name in names:
            raise InvalidTask(f"COPY cannot do {name}: use {'run_at' if name == 'delay' else 'enqueue_many'}")


def _copied_rows(tasks: Iterable[NewTask], names: list[str], rest: list[NewTask]) -> Iterator[tuple[Any, ...]]:
    known = set(names)
    for task in tasks:
        if not known.issuperset(task.fields):
            rest.append(task)
            return
        yield _copied(task, names)


def _copied(task: NewTask, names: list[str]) -> tuple[Any, ...]:
    if not names:
        return task.type, task.encoded_payload
    fields = task.fields
    values = (fields.get(name, _COPY_DEFAULTS.get(name)) for name in names)
    texts = (_text(value) if isinstance(value, orjson.Fragment) else value for value in values)
    return task.type, task.encoded_payload, *texts


def _text(json: orjson.Fragment) -> str:
    return orjson.dumps(json).decode()


def _enqueued(rows: Sequence[Row]) -> Enqueued:
    return Enqueued(*rows[0])


def _all_enqueued(rows: Sequence[Row]) -> list[Enqueued]:
    return list(itertools.starmap(Enqueued, rows))


def _only(rows: Sequence[Row], task_id: int) -> Row:
    if not rows:
        raise TaskNotFound(task_id)
    return rows[0]


def _state(rows: Sequence[Row], task_id: int) -> str:
    state = rows[0][0]
    if state is None:
        raise TaskNotFound(task_id)
    return str(state)


def _utc(time: datetime | None) -> Any:
    return None if time is None else time.astimezone(UTC)


def _json(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def _task(row: Row) -> Task:
    fields = dict(zip(Task.__dataclass_fields__, row, strict=True))
    for name in ("payload", "result", "metadata"):
        fields[name] = _json(fields[name])
    for name in ("created_at", "updated_at", "run_at", "started_at", "finished_at"):
        fields[name] = _utc(fields[name])
    return Task(**{**fields, "priority": Priority(fields["priority"])})


def _execution(row: Row) -> Execution:
    task_id, attempt, status, worker_id, started_at, finished_at, error, traceback, logs = row
    return Execution(
        task_id, attempt, status, worker_id, _utc(started_at), _utc(finished_at), error, traceback, _json(logs) or []
    )
