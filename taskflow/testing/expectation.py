"""What a test expects to have been enqueued, and what it says where that is not so."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import orjson

from taskflow.tasks.handler import AnyHandler, Handler
from taskflow.tasks.limits import priority_of
from taskflow.tasks.payload import encode_payload
from taskflow.tasks.task import Task

if TYPE_CHECKING:
    from taskflow.tasks.payload import PayloadLike

NEAR_MISSES = 10
SHOWN_CHARACTERS = 200


class ExpectedFields(TypedDict, total=False):
    """What can be expected of a task beside its type and payload. `metadata` is a part of it, `state` the shown one."""

    queue: str
    state: str
    priority: int | str
    unique_key: str | None
    concurrency_key: str | None
    tags: list[str]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expectation:
    """A type, a part of the payload, and further fields; see `of`."""

    type: str
    parts: Mapping[str, Any]
    fields: Mapping[str, Any]

    @classmethod
    def of(
        cls, type: str | AnyHandler, payload: PayloadLike | None = None, fields: ExpectedFields | None = None
    ) -> Expectation:
        """Of a type or a handler. A mapping as payload need only be a part of the real one, at every depth; an instance
        of a model is all of it. Values are compared with `==`, so `unittest.mock.ANY` and `pytest.approx` do."""
        name = type.type if isinstance(type, Handler) else type
        given: dict[str, Any] = dict(fields or {})
        if unknown := given.keys() - ExpectedFields.__annotations__.keys():
            known = ", ".join(ExpectedFields.__annotations__)
            raise TypeError(f"a task is not looked for by {sorted(unknown)[0]!r}: use {known}, or the task returned")
        if "priority" in given:
            given["priority"] = priority_of(given["priority"])
        parts: dict[str, Any] = {}
        if payload is not None:
            whole = payload if isinstance(payload, Mapping) else orjson.loads(encode_payload(payload, name))
            parts["payload"] = whole
        if "metadata" in given:
            parts["metadata"] = given.pop("metadata")
        return cls(name, parts, given)

    def __str__(self) -> str:
        conditions = [f"{name} {_shown(value)}" for name, value in (*self.parts.items(), *self.fields.items())]
        return f"task {self.type!r}" + (f" with {' and '.join(conditions)}" if conditions else "")

    def met_by(self, task: Task) -> bool:
        """Whether the task is one of those meant."""
        return task.type == self.type and not any(self.differences(task))

    def differences(self, task: Task) -> Iterator[str]:
        """What is otherwise with a task of the type, a sentence each."""
        for name, part in self.parts.items():
            yield from _differences(part, getattr(task, name), name)
        for name, value in self.fields.items():
            if (actual := getattr(task, name)) != value:
                yield f"{name} is {_shown(actual)}, not {_shown(value)}"

    def missing(self, tasks: Sequence[Task], found: int, count: int | None) -> str:
        """Why the assertion failed that `count` of `tasks` (None: at least one) meet this, which `found` do."""
        if count is None:
            headline = f"no {self} was enqueued"
        else:
            headline = f"{found} instead of {count} were enqueued of: {self}"
        return "\n".join([headline, *self._explained(tasks)])

    def unexpected(self, found: Sequence[Task]) -> str:
        """Why the assertion failed that no task meets this."""
        return "\n".join([f"{self} was enqueued:", *(f"  {_named(task)}: {_shown(task.payload)}" for task in found)])

    def _explained(self, tasks: Sequence[Task]) -> Iterator[str]:
        same = [task for task in tasks if task.type == self.type]
        for task in sorted(same, key=lambda task: len(list(self.differences(task))))[:NEAR_MISSES]:
            yield f"  {_named(task)}: {'; '.join(self.differences(task)) or 'as expected'}"
        if len(same) > NEAR_MISSES:
            yield f"  and {len(same) - NEAR_MISSES} more of this type"
        others = Counter(task.type for task in tasks if task.type != self.type)
        if others:
            listed = ", ".join(f"{number} x {name!r}" for name, number in others.most_common(NEAR_MISSES))
            near = difflib.get_close_matches(self.type, others, n=1)
            yield f"  of other types: {listed}" + (f" (did you mean {near[0]!r}?)" if near and not same else "")
        if not tasks:
            yield "  nothing was enqueued at all; what a transaction has not committed is seen with connection=… alone"


def _differences(expected: Any, actual: Any, place: str) -> Iterator[str]:
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        for key, value in expected.items():
            if key in actual:
                yield from _differences(value, actual[key], f"{place}/{key}")
            else:
                yield f"{place} has no {key!r}"
    elif not expected == actual:  # noqa: SIM201  (ANY and approx define the one, not always the other)
        yield f"{place} is {_shown(actual)}, not {_shown(expected)}"


def _named(task: Task) -> str:
    return f"task {task.id} in queue {task.queue!r}, {task.state}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
