"""The filter language in requests: in `q`, in single parameters, and in bodies."""

from __future__ import annotations

from collections.abc import Iterator

from taskflow.errors import FieldProblem, FilterTooBroad, InvalidFilter
from taskflow.store import filters
from taskflow.store.filter_terms import JsonIs, OneOf
from taskflow.store.filters import Filter, quote
from taskflow.web.access.auth import principal
from taskflow.web.http.problems import Problem
from taskflow.web.models.task_lists import TaskListQuery
from taskflow.web.services import redaction_for_caller


def of_text(text: str, pointer: str, *more: Filter) -> Filter:
    """A filter as a client wrote it, narrowed to the queues that it may see, and by `more`. `pointer`: where it stands
    (`/filter`, `?q`). Raises `Problem` 422 with the place where it cannot be read, or if it would read all history."""
    wanted = filters.combine([parsed(text, pointer), visible(), *more])
    check_breadth(wanted, pointer)
    return wanted


def of_query(query: TaskListQuery, *more: Filter) -> Filter:
    """What the parameters of a list ask for, all together, narrowed by `more`. Raises `Problem` as `of_text` does."""
    parts = [(pointer, parsed(text, pointer)) for pointer, text in (("?q", query.q), *_single(query))]
    wanted = filters.combine([*(part for _, part in parts), visible(), *more])
    # What is too broad asks for content: the first that does has to be narrowed.
    check_breadth(wanted, next((pointer for pointer, part in parts if part.asks_for_content), "?q"))
    return wanted


def visible() -> Filter:
    """What whoever asks may see."""
    queues = principal().queues
    return Filter() if queues is None else Filter((OneOf("queue", "text", tuple(sorted(queues))),))


def check_breadth(wanted: Filter, pointer: str) -> None:
    """Raises `Problem` 422 where the filter would read the content of all history."""
    try:
        wanted.check_breadth()
    except FilterTooBroad as error:
        raise too_broad(pointer, str(error)) from error


def too_broad(pointer: str, detail: str) -> Problem:
    """422: it would read all history."""
    return Problem("filter_too_broad", detail, problems=[FieldProblem(pointer, "filter_too_broad", detail)])


def parsed(text: str, pointer: str) -> Filter:
    """A filter as a client wrote it. Raises `Problem` 422, and 403 where it would tell what is hidden from them."""
    try:
        found = filters.parse(text)
    except InvalidFilter as error:
        detail = str(error)
        problem = FieldProblem(pointer, "invalid_filter", detail)
        position = error.position
        raise Problem("invalid_filter", f"{pointer}: {detail}", problems=[problem], position=position) from error
    redaction = redaction_for_caller()
    for term in found.terms:
        if redaction is not None and isinstance(term, JsonIs) and redaction.hides(term.path, term.values):
            # Who may try values until a task is found has read what is hidden from them.
            detail = (
                f"{term.column}.{'.'.join(term.path)} is shown to keys with the scope 'admin' alone, and found by them."
            )
            raise Problem("forbidden", detail, problems=[FieldProblem(pointer, "forbidden", detail)])
    return found


def _single(query: TaskListQuery) -> Iterator[tuple[str, str]]:
    """The single parameters, each in the words of the language. A value is quoted: nothing in it has a meaning."""
    if query.state:
        yield "?state", "state:" + ",".join(quote(state) for part in query.state for state in part.split(","))
    for name, value in (("type", query.type), ("queue", query.queue), ("priority", query.priority)):
        if value is not None:
            yield f"?{name}", f"{name}:{quote(value)}"
    if query.worker_id is not None:
        yield "?worker_id", f"worker:{quote(query.worker_id)}"
    if query.created_after is not None:
        yield "?created_after", f"created:>={query.created_after.isoformat()}"
    if query.created_before is not None:
        yield "?created_before", f"created:<{query.created_before.isoformat()}"
    for key, value in query.metadata.items():
        yield f"?metadata[{key}]", f"metadata.{quote(key)}:{quote(value)}"
