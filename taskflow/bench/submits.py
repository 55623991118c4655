"""Submitting tasks as fast as a number of connections can, or at a rate, and asking afterwards when each has ended."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from taskflow.bench.target import LostRequest, RefusedRequest, Target, TargetClient
from taskflow.errors import TaskflowError
from taskflow.stop_flag import StopFlag
from taskflow.tasks.task import FINISHED_STATES

PATH = "/api/v1/tasks"
PER_PAGE = 200
"""How many tasks are asked about in one request: the most that a list has."""
PAUSE_SECONDS = 0.2
"""Between two looks at tasks that have not ended."""
JOIN_SECONDS = 0.2
LOST_PAUSE_SECONDS = 0.1
"""After a request without an answer: where nobody listens, failing costs nothing, and all would fail at once."""


@dataclass(slots=True)
class Submits:
    """What the clients have seen. `seconds` is each accepted request: from its sending, or from when it was due."""

    ids: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    took: float = 0.0
    """Seconds from the first request to the last answer."""
    cpu: float = 0.0
    """The share of one core that this process used meanwhile."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to submit: `jobs` tasks with this body by `clients` connections at once; all as fast as they are answered,
    or one every 1 / `rate` seconds. None is sent after `until` (monotonic)."""

    target: Target
    body: bytes
    jobs: int
    clients: int
    rate: float | None
    until: float


class Ended(NamedTuple):
    """Of one task, by the clock of the database: seconds from its creation to its handler and to its end."""

    state: str
    pickup: float | None
    completed: float
    created_at: datetime
    ended_at: datetime


def submit(order: Order, stopped: StopFlag) -> Submits:
    """Send them all; a request under way is waited for also when `stopped` is set."""
    seen, numbers = Submits(), itertools.count()
    began, cpu = time.monotonic(), time.process_time()
    clients = [
        threading.Thread(target=_client, args=(order, seen, numbers, began, stopped), name=f"load-{n}", daemon=True)
        for n in range(min(order.clients, order.jobs))
    ]
    for client in clients:
        client.start()
    for client in clients:
        while client.is_alive():  # a signal that another thread has got is handled between two waits
            client.join(JOIN_SECONDS)
    seen.took = max(time.monotonic() - began, 1e-9)
    seen.cpu = (time.process_time() - cpu) / seen.took
    return seen


def _client(order: Order, seen: Submits, numbers: Any, start: float, stopped: StopFlag) -> None:
    client = TargetClient(order.target)
    while not stopped.is_set() and (number := next(numbers)) < order.jobs:
        began = time.monotonic()
        if order.rate is not None:
            # From when it was due, not from when this client came to it: a server that is slow for a second is slow
            # for all requests of that second.
            due = start + number / order.rate
            if due > order.until or (due > began and stopped.wait(due - began)):
                break
            began = due
        elif began > order.until:
            break
        try:
            content = client.request("POST", PATH, order.body)
        except RefusedRequest as error:
            seen.errors[error.kind] += 1
        except LostRequest as error:
            seen.errors[error.kind] += 1
            stopped.wait(LOST_PAUSE_SECONDS)
        else:
            seconds = time.monotonic() - began
            try:
                seen.ids.append(orjson.loads(content)["id"])
            except (orjson.JSONDecodeError, KeyError, TypeError):
                seen.errors["no task in the answer"] += 1
            else:
                seen.seconds.append(seconds)
    client.close()


def ends(target: Target, ids: Sequence[str], *, until: float, stopped: StopFlag) -> list[Ended]:
    """Wait until all of them have ended, but not beyond `until`, and with `stopped` only for one look at each."""
    client, found = TargetClient(target), list[Ended]()
    waiting = sorted(ids, key=int)
    while waiting:
        page = waiting[:PER_PAGE]
        tasks = _read(client, page)
        over = {task["id"]: _ended(task) for task in tasks if task["state"] in FINISHED_STATES}
        found += over.values()
        left = [task_id for task_id in page if task_id not in over]
        if left and (stopped.is_set() or time.monotonic() > until):
            # The rest is looked at once, for the figures so far.
            waiting = waiting[PER_PAGE:]
            continue
        waiting = [*left, *waiting[PER_PAGE:]]
        if left and stopped.wait(PAUSE_SECONDS):
            continue
    client.close()
    return found


def _read(client: TargetClient, ids: Sequence[str]) -> list[dict[str, Any]]:
    for last in (False, False, True):
        try:
            tasks: list[dict[str, Any]] = client.get(f"{PATH}?limit={PER_PAGE}&q=id:{','.join(ids)}")["tasks"]
            return tasks
        except (RefusedRequest, LostRequest) as error:
            if last:
                raise TaskflowError(f"What became of the tasks cannot be read: {error}.") from error
            time.sleep(PAUSE_SECONDS)
    raise AssertionError("the last try returns or raises")


def _ended(task: dict[str, Any]) -> Ended:
    created, ended = _time(task["created_at"]), _time(task["completed_at"])
    started = _time(task["started_at"]) if task["started_at"] else None
    pickup = (started - created).total_seconds() if started else None
    return Ended(task["state"], pickup, (ended - created).total_seconds(), created, ended)


_time: Callable[[str], datetime] = datetime.fromisoformat
