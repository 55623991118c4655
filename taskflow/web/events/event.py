"""An event as it is sent: encoded once for all streams that get it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from taskflow.store.events import TASK_EVENTS
from taskflow.web.http.encoding import encode

RESET = "stream.reset"
TEXT_FRAME = 0x81  # the whole of a text, RFC 6455 section 5.2
_TASK_EVENTS = frozenset(TASK_EVENTS)


class Event:
    """One message. `id` is its place in the order of all events, None where it has none and is never sent again.

    `queues` are those it belongs to: whoever may see none of them does not get it; None: it belongs to no queue.
    """

    __slots__ = ("data", "id", "name", "queues", "task_id", "timestamp")

    def __init__(
        self,
        name: str,
        data: Mapping[str, Any],
        *,
        id: str | None = None,
        timestamp: Any = None,
        queues: Sequence[str] | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.data = data
        self.timestamp = timestamp or datetime.now(UTC)
        self.task_id = data.get("task_id") if name in _TASK_EVENTS else None
        self.queues: Sequence[str] | None = queues if self.task_id is None else (data["queue"],)

    def message(self, data: Mapping[str, Any]) -> bytes:
        """The JSON of it, with what is shown of its data."""
        return encode({"type": self.name, "timestamp": self.timestamp, "data": data})


class Parcel:
    """Events on their way to streams that see the same: (id, JSON) each, put into frames when first needed."""

    __slots__ = ("_frames", "_lines", "messages")

    def __init__(self, messages: Iterable[tuple[str | None, bytes]]) -> None:
        self.messages = tuple(messages)
        self._lines: bytes | None = None
        self._frames: bytes | None = None

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def lines(self) -> bytes:
        """As server-sent events (WHATWG HTML, section 9.2)."""
        if self._lines is None:
            self._lines = b"".join(map(_lines, self.messages))
        return self._lines

    @property
    def frames(self) -> bytes:
        """As frames of a WebSocket, one a message."""
        if self._frames is None:
            self._frames = b"".join([_frame(message) for _, message in self.messages])
        return self._frames


def reset(why: str) -> Parcel:
    """Tells a client that events were missed, and that it had better fetch anew what it shows."""
    event = Event(RESET, {"reason": why})
    return Parcel([(None, event.message(event.data))])


def _lines(message: tuple[str | None, bytes]) -> bytes:
    place, text = message
    return b"data: %b\n\n" % text if place is None else b"id: %b\ndata: %b\n\n" % (place.encode(), text)


def _frame(text: bytes) -> bytes:
    size = len(text)
    if size < 126:
        return bytes((TEXT_FRAME, size)) + text
    if size < 65536:
        return bytes((TEXT_FRAME, 126)) + size.to_bytes(2, "big") + text
    return bytes((TEXT_FRAME, 127)) + size.to_bytes(8, "big") + text
