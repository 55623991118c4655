"""What a client wishes to hear of: in its address, and later over the WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from taskflow.errors import FieldProblem
from taskflow.web.access.principal import Principal
from taskflow.web.access.redaction import Redaction
from taskflow.web.events.event import Event
from taskflow.web.events.selection import EVERYTHING, Selection, UnknownEvent, names_of
from taskflow.web.events.stream import Stream
from taskflow.web.http import bodies
from taskflow.web.http.problems import Problem
from taskflow.web.models.events import EventsQuery, Wish


def selection_of(query: EventsQuery, whose: Principal, redaction: Redaction | None) -> Selection:
    """What a stream with this address is to get. Raises `Problem` 422 for an event that there is not."""
    patterns = [pattern.strip() for text in query.events or () for pattern in text.split(",") if pattern.strip()]
    return Selection(
        names=_names(patterns, "?events") if patterns else EVERYTHING,
        task_id=query.task_id,
        queue=query.queue,
        allowed=whose.queues,
        redaction=redaction,
    )


class Wishes:
    """What one client has said over its WebSocket. `chosen`: its address named events; if not, it gets all of them
    until it first subscribes to some."""

    def __init__(self, stream: Stream, change: Callable[[Stream, Selection], None], *, chosen: bool) -> None:
        self._stream = stream
        self._change = change
        self._chosen = chosen

    def hear(self, text: bytes) -> bytes:
        """Do what the client asks for; returns what to answer. Nothing that it sends raises."""
        try:
            wish = bodies.validate(Wish, bodies.parse(text))
            patterns = [*(wish.events or ()), *(wish.event_types or ())]
            if not patterns:
                problem = FieldProblem("/events", "required", "is required")
                raise Problem("invalid_request", "/events: is required", problems=[problem])
            self._follow(wish.action, _names(patterns, "/events"))
        except Problem as problem:
            return _message("stream.error", {"code": problem.code, "detail": problem.detail})
        return _message("stream.subscribed", {"events": sorted(self._stream.selection.names)})

    def _follow(self, action: str, names: frozenset[str]) -> None:
        selection = self._stream.selection
        if action == "unsubscribe":
            wanted = selection.names - names
        else:
            wanted = selection.names | names if self._chosen else names
        self._chosen = True
        self._change(self._stream, replace(selection, names=wanted))


def _names(patterns: Iterable[str], pointer: str) -> frozenset[str]:
    try:
        return names_of(patterns)
    except UnknownEvent as error:
        detail = f"there is no event {str(error)!r}"
        problem = FieldProblem(pointer, "unknown_event", detail)
        raise Problem("invalid_request", f"{pointer}: {detail}", problems=[problem]) from None


def _message(name: str, data: dict[str, Any]) -> bytes:
    return Event(name, data).message(data)
