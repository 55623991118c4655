"""Very many tasks from lines of JSON: by COPY into the database, in one transaction; to a server in batches."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click
import orjson

from taskflow.cli.api import Api
from taskflow.cli.failures import ApiRefusal, Refusal
from taskflow.cli.output import echo_json, say
from taskflow.cli.progress import Progress

if TYPE_CHECKING:
    import psycopg

    from taskflow.tasks.new_task import NewTask

BATCH_TASKS = 2_000
BATCH_BYTES = 8 * 1024 * 1024
COPIED_TASKS = 5_000
# A task with one of these goes through taskflow.enqueue_many: COPY knows no unique keys that are taken.
NEVER_COPIED = frozenset({"delay", "on_conflict", "unique_for", "unique_key"})
# Class and object of the advisory lock of the one upload that stores unique keys; the class is that of the bells.
KEYS_LOCK = (1413567307, -3)


class Line(NamedTuple):
    """A line of the input: its number, counted from 1, and the task that it is."""

    number: int
    task: dict[str, Any]
    size: int


class Counted(NamedTuple):
    """What became of the lines: how many tasks there are now that were not, and how many had their key taken."""

    created: int
    existing: int


def enqueue_lines(
    api: Api, file: IO[bytes], *, type_: str | None, options: dict[str, Any], skip: int, as_json: bool
) -> None:
    """Create a task of each line after the first `skip`, with `options` where it has none of its own. With `type_` a
    line is a payload."""
    with Progress("tasks" if not _size(file) else "bytes", _size(file)) as progress:
        lines = _lines(file, type_, options, skip, progress)
        counted = _copied(lines) if api.is_direct else _sent(api, lines, skip)
    if as_json:
        echo_json(counted._asdict())
        return
    click.echo(f"{counted.created:,} task{'s' * (counted.created != 1)} created")
    if counted.existing:
        say(f"{counted.existing:,} were there already, by their unique keys.")


def _lines(
    file: IO[bytes], type_: str | None, options: dict[str, Any], skip: int, progress: Progress
) -> Iterator[Line]:
    by_bytes = _size(file) is not None
    for number, text in enumerate(file, 1):
        progress.advance(len(text) if by_bytes else 1)
        if number <= skip or not text.strip():
            continue
        try:
            value = orjson.loads(text)
        except ValueError as error:
            raise Refusal("invalid_input", f"line {number}: this is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise Refusal("invalid_input", f"line {number}: a line must be an object of JSON")
        task = {"type": type_, "payload": value} if type_ is not None else value
        if "type" not in task and "job_type" not in task:
            hint = 'give TYPE, or "type" in each line: {"type": "mail", "payload": {…}}'
            raise Refusal("invalid_input", f"line {number}: the task has no type", hint)
        yield Line(number, {**options, **task}, len(text))


def _copied(lines: Iterator[Line]) -> Counted:
    """Into the database, all or nothing."""
    from taskflow.cli.checking import Checker
    from taskflow.cli.terminal import database_url, open_database
    from taskflow.client import Client

    existing = count = 0
    alone = False
    try:
        client = Client(database_url())
        with closing(Checker()) as checker, open_database("enqueue") as connection, connection.transaction():
            for part in _parts(lines, COPIED_TASKS, BATCH_BYTES):
                tasks = [checker.new_task(line.number, line.task) for line in part]
                count += len(tasks)
                client.copy((task for task in tasks if _is_copied(task)), connection=connection)
                others = [task for task in tasks if not _is_copied(task)]
                if not alone and any("unique_key" in task.fields for task in others):
                    _wait_for_other_uploads(connection)
                    alone = True
                answers = client.enqueue_many(others, connection=connection) if others else []
                existing += sum(not answer.created for answer in answers)
    except Refusal as refusal:
        refusal.why += ("Nothing of the file was stored.",)
        raise
    return Counted(count - existing, existing)


def _wait_for_other_uploads(connection: psycopg.Connection[Any]) -> None:
    """Those with unique keys go one after the other: only the keys of one part are in an order, and two uploads that
    store the same ones would end in a deadlock."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", KEYS_LOCK).fetchone()
    if not (row and row[0]):
        say("Waiting for the end of another upload with unique keys.")
        connection.execute("SELECT pg_advisory_xact_lock(%s, %s)", KEYS_LOCK)


def _sent(api: Api, lines: Iterator[Line], skip: int) -> Counted:
    """To a server, batch after batch, each all or nothing."""
    created = total = 0
    done = skip
    for part in _parts(lines, BATCH_TASKS, BATCH_BYTES):
        body = b"\n".join(orjson.dumps(line.task) for line in part)
        try:
            answer = api.send_lines("/tasks/bulk", body, key=str(uuid.uuid4())).body
        except Refusal as refusal:
            if isinstance(refusal, ApiRefusal):
                refusal.why = tuple(_by_line(reason, part) for reason in refusal.why)
            if total:
                refusal.why += (f"The {total:,} tasks up to line {done:,} are stored.",)
                refusal.fix = f"Put it right, then go on with --skip {done}."
            raise
        created += answer["created"]
        total += len(part)
        done = part[-1].number
    return Counted(created, total - created)


def _by_line(reason: str, part: list[Line]) -> str:
    """`Task 3: …` and `/tasks/3/…` of a request, with the line that it was."""
    import re

    def line(found: re.Match[str]) -> str:
        index = int(found[1])
        return f"line {part[index].number}{found[2]}" if index < len(part) else found[0]

    return re.sub(r"^(?:Task |/tasks/)(\d+)(.)", line, reason)


def _parts(lines: Iterable[Line], most: int, most_bytes: int) -> Iterator[list[Line]]:
    part: list[Line] = []
    size = 0
    for line in lines:
        if part and (len(part) >= most or size + line.size > most_bytes):
            yield part
            part, size = [], 0
        part.append(line)
        size += line.size
    if part:
        yield part


def _is_copied(task: NewTask) -> bool:
    return NEVER_COPIED.isdisjoint(task.fields)


def _size(file: IO[bytes]) -> int | None:
    """How long a file is; None for a pipe."""
    try:
        return os.fstat(file.fileno()).st_size or None
    except OSError:
        return None
