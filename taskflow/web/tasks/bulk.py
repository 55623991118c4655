"""Many tasks in one request: read one by one, checked as each alone would be, and stored in few statements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from flask import request
from sqlalchemy import Connection
from werkzeug.exceptions import RequestEntityTooLarge

from taskflow.errors import FieldProblem, InvalidTask, QueueFull, WrongState
from taskflow.web.access.auth import principal, require_queue
from taskflow.web.access.backpressure import Place
from taskflow.web.http import bodies
from taskflow.web.http.encoding import encode
from taskflow.web.http.payload_size import check_encoded_size
from taskflow.web.http.problems import Problem, problem_of
from taskflow.web.models.tasks import TaskBody
from taskflow.web.services import services
from taskflow.web.tasks.lost_secrets import check_no_marks
from taskflow.web.tasks.rivals import rival_withheld, taken_elsewhere
from taskflow.web.tasks.room import room_for, room_for_some

MAX_TASKS = 10_000
MAX_BYTES = 32 * 1024 * 1024
MAX_LINE_BYTES = 2 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
# Decoded, a value takes up to thirty times its bytes: so many of a list, not of lines, are in memory at once.
MAX_VALUES = 3_000_000
LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
# One statement holds so much: what PostgreSQL keeps in memory for it, and how long it holds its locks.
STATEMENT_TASKS, STATEMENT_BYTES = 1_000, 4 * 1024 * 1024
# One that has ended may have its key still, by unique_for.
IN_OTHER_QUEUES = (
    "SELECT 1 FROM unnest(%s::bigint[]) AS f (id) CROSS JOIN LATERAL taskflow.find_task(f.id) AS t"
    " WHERE t.queue <> ALL (%s::text[]) LIMIT 1"
)
ENQUEUE_MANY = "SELECT index, id, created, state FROM taskflow.enqueue_many(CAST(%s AS jsonb))"

Stored = tuple[int, bool, str]
"""(id, created, state)"""


@dataclass(slots=True)
class Batch:
    """What a request asks for: `rows` are those that are right, as `taskflow.enqueue_many` takes them, by index, and
    `queues` where they go. `places`: the room that they have there."""

    rows: dict[int, bytes] = field(default_factory=dict)
    wrong: dict[int, Problem] = field(default_factory=dict)
    queues: dict[int, str] = field(default_factory=dict)
    ordered: list[tuple[str, str, int]] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    def refuse(self, index: int, problem: Problem) -> None:
        """This one is not to be stored, for that reason."""
        self.rows.pop(index, None)
        self.wrong[index] = _at(problem, index)


def read() -> Batch:
    """The tasks of the request under way. Raises `Problem` for a body that is no list of tasks, or is too long."""
    batch = Batch()
    checks = _Checks()
    for index, (value, looked_through) in enumerate(_values()):
        if index >= MAX_TASKS:
            raise _too_many()
        try:
            if isinstance(value, Problem):
                raise value
            _add(batch, checks, index, value, looked_through=looked_through)
        except Problem as problem:
            batch.refuse(index, problem)
    return batch


def refuse_wrong(batch: Batch) -> None:
    """Raises the first `Problem` of a batch of which all is to be right, with what else is wrong."""
    if not batch.wrong:
        return
    first, *others = batch.wrong.values()
    problems = [*first.problems, *(problem for other in others for problem in other.problems)]
    raise Problem(first.code, first.detail, problems=problems[: bodies.MAX_PROBLEMS], **first.more)


def prepare(batch: Batch, *, partial: bool) -> None:
    """Make sure that the queues exist. Raises `Problem` 503 where one is full; with `partial` those of its tasks are
    refused that do not fit in, which are its last."""
    keys = {index: (type_, key) for type_, key, index in batch.ordered if key}
    try:
        for queue, indexes in _by_queue(batch).items():
            wanted = [keys.get(index) for index in indexes]
            if not partial:
                batch.places.append(room_for(queue, wanted))
                continue
            place, others, full = room_for_some(queue, wanted)
            batch.places.append(place)
            if full is not None:
                for at in others:
                    batch.refuse(indexes[at], full)
        for queue in _by_queue(batch):
            services().queues.ensure(None if queue == "default" else queue)
    except BaseException:
        _settle(batch, {})
        raise


def store(batch: Batch) -> dict[int, Stored]:
    """Store all of them, or none. Raises the error of taskflow that the database's is."""
    stored: dict[int, Stored] = {}
    try:
        with rival_withheld(), services().database.transaction() as connection:
            stored = _insert(connection, batch, _in_order(batch))
    finally:
        _settle(batch, stored)
    return stored


def store_what_can(batch: Batch) -> dict[int, Stored]:
    """Store those that the database takes; it adds the others to `batch.wrong`."""
    stored: dict[int, Stored] = {}
    try:
        _store_parts(batch, stored)
    finally:
        _settle(batch, stored)
    return stored


def _store_parts(batch: Batch, stored: dict[int, Stored]) -> None:
    full: dict[str, Problem] = {}  # what does not take one takes none of the others either: they are not tried
    todo = [_in_order(batch)]
    while todo:
        part = []
        for index in todo.pop():
            if (problem := full.get(batch.queues[index])) is None:
                part.append(index)
            else:
                batch.refuse(index, problem)
        if not part:
            continue
        try:
            with rival_withheld(), services().database.transaction() as connection:
                stored |= _insert(connection, batch, part)
        except (InvalidTask, QueueFull, WrongState) as error:
            if len(part) > 1:
                todo += [part[len(part) // 2 :], part[: len(part) // 2]]
                continue
            reason = problem_of(error)
            batch.refuse(part[0], reason)
            if isinstance(error, QueueFull):
                full[batch.queues[part[0]]] = reason


def _settle(batch: Batch, stored: dict[int, Stored]) -> None:
    """Give the room back that was not needed."""
    created = Counter(batch.queues[index] for index, (_, new, _) in stored.items() if new)
    for place in batch.places:
        place.settle(created[place.queue])


class _Checks:
    """What each task is checked by: looked up once a request, since it is done ten thousand times."""

    def __init__(self) -> None:
        shared = services()
        self.types = shared.types
        self.largest = shared.settings.max_payload_bytes
        self._allowed: set[str] = set()

    def queue(self, name: str) -> None:
        """Raises `Problem` where the key may not put anything into it."""
        if name not in self._allowed:
            require_queue(name)
            self._allowed.add(name)


def _values() -> Iterator[tuple[Any, bool]]:
    """The tasks as they came, and whether each was looked through for what PostgreSQL cannot store; in the place of one
    that cannot be kept the `Problem` with it. Raises that of a body that is no JSON."""
    bodies.check_encoding()
    if request.mimetype in LINES:
        for number, line in _lines():
            yield _value(line, number), True
        return
    raw = request.get_data(cache=False)
    if request.content_length is None and len(raw) >= (request.max_content_length or len(raw) + 1):
        raise RequestEntityTooLarge
    if raw.strip() and not request.is_json:
        raise Problem(
            "unsupported_media_type", "Send JSON as application/json, or a task a line as application/x-ndjson."
        )
    if sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise Problem(
            "body_too_large",
            f"The body holds more than {MAX_VALUES:,} values: send the tasks in several requests, or one a line as"
            " application/x-ndjson.",
        )
    value = bodies.decode(raw) if raw.strip() else {}
    tasks = value.get("tasks") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(tasks, list) or len(value) > 1:
        problem = FieldProblem("/tasks", "required", "must be a list of tasks, and the only field of the body")
        raise Problem("invalid_request", f"/tasks: {problem.detail}", problems=[problem])
    if len(tasks) > MAX_TASKS:
        raise _too_many()
    no_escapes = b"\\u" not in raw
    for task in tasks:
        yield task, no_escapes and _is_flat(task)


def _is_flat(task: Any) -> bool:
    """Whether it is seen at once that it is not nested too deeply: the fields of the usual payload hold no others."""
    if not isinstance(task, dict):
        return False
    for value in task.values():
        if isinstance(value, dict):
            if any(isinstance(inner, dict | list) for inner in value.values()):
                return False
        elif isinstance(value, list):
            return False
    return True


def _value(line: bytes, number: int) -> Any:
    try:
        return bodies.parse(line, number)
    except Problem as problem:
        if problem.code == "invalid_json":
            raise
        return problem


def _lines() -> Iterator[tuple[int, bytes]]:
    """The lines of the body with their numbers, read as they come; empty ones are passed over."""
    length = number = 0
    rest = b""
    while chunk := request.stream.read(CHUNK_BYTES):
        length += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        if length > MAX_BYTES or len(rest) > MAX_LINE_BYTES:
            raise RequestEntityTooLarge
        for line in lines:
            number += 1
            if line.strip():
                yield number, line
    if rest.strip():
        yield number + 1, rest


def _add(batch: Batch, checks: _Checks, index: int, value: Any, *, looked_through: bool) -> None:
    if not looked_through:
        bodies.inspect(value)
    body = bodies.validate(TaskBody, value)
    queue = body.queue or "default"
    checks.queue(queue)
    payload = encode(body.payload)
    if len(payload) > checks.largest:
        check_encoded_size(len(payload))
    if body.on_conflict == "replace":
        check_no_marks(payload=body.payload)
    checks.types.check(body.type, body.payload)
    batch.rows[index] = orjson.dumps(_row(body, payload))
    batch.queues[index] = queue
    # Two that store the same keys take them in one order, or they would wait for each other.
    batch.ordered.append((body.type, body.unique_key, index) if body.unique_key else ("", "", index))


def _row(body: TaskBody, payload: bytes) -> dict[str, Any]:
    row = body.options()
    if "metadata" in row:
        row["metadata"] = orjson.Fragment(encode(row["metadata"]))
    row["type"] = body.type
    row["payload"] = orjson.Fragment(payload)
    for name, value in (("queue", body.queue), ("priority", body.priority), ("unique_key", body.unique_key)):
        if value is not None:
            row[name] = value
    if body.run_at is not None:
        row["run_at"] = body.run_at
    return row


def _in_order(batch: Batch) -> list[int]:
    return [index for _, _, index in sorted(batch.ordered) if index in batch.rows]


def _by_queue(batch: Batch) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index in batch.rows:
        found.setdefault(batch.queues[index], []).append(index)
    return found


def _insert(connection: Connection, batch: Batch, indexes: Sequence[int]) -> dict[int, Stored]:
    stored: dict[int, Stored] = {}
    for part in _statements(batch, indexes):
        text = (b"[" + b",".join(batch.rows[index] for index in part) + b"]").decode()
        for place, task_id, created, state in connection.exec_driver_sql(ENQUEUE_MANY, (text,)):
            stored[part[place]] = (task_id, created, state)
    _refuse_others(connection, stored)
    return stored


def _refuse_others(connection: Connection, stored: dict[int, Stored]) -> None:
    """Raises `UniqueConflict`, which undoes all of it, where a live task that has a unique key lies in a queue that
    whoever asks may not see: it is neither told of nor replaced."""
    queues = principal().queues
    found = [task_id for task_id, created, _ in stored.values() if not created]
    if queues is not None and found and connection.exec_driver_sql(IN_OTHER_QUEUES, (found, list(queues))).first():
        raise taken_elsewhere()


def _statements(batch: Batch, indexes: Sequence[int]) -> Iterator[list[int]]:
    part: list[int] = []
    size = 0
    for index in indexes:
        row = len(batch.rows[index])
        if part and (len(part) >= STATEMENT_TASKS or size + row > STATEMENT_BYTES):
            yield part
            part, size = [], 0
        part.append(index)
        size += row
    if part:
        yield part


def _at(problem: Problem, index: int) -> Problem:
    """The problem of a task as one of the request."""
    problems = [FieldProblem(f"/tasks/{index}{found.pointer}", found.code, found.detail) for found in problem.problems]
    if not problems:
        problems = [FieldProblem(f"/tasks/{index}", problem.code, problem.detail)]
    return Problem(problem.code, f"Task {index}: {problem.detail}", problems=problems, **problem.more)


def _too_many() -> Problem:
    detail = f"has more than {MAX_TASKS:,} tasks: send them in several requests"
    return Problem("invalid_request", f"/tasks {detail}", problems=[FieldProblem("/tasks", "too_long", detail)])
