"""/ws and /api/v1/events: what happens, as it happens."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, request

from taskflow.errors import TaskflowError
from taskflow.web.access.auth import principal, require_queue
from taskflow.web.events import sse, websocket
from taskflow.web.events.clock import StreamClock
from taskflow.web.events.selection import Selection
from taskflow.web.events.stream import Stream
from taskflow.web.events.wishes import Wishes, selection_of
from taskflow.web.http.encoding import answer, utc
from taskflow.web.http.operation import operation
from taskflow.web.models.events import EventsQuery, Ticket
from taskflow.web.services import redaction_for_caller, services

ERRORS = ("queue_not_allowed", "too_many_streams")

blueprint = Blueprint("events", __name__)


@blueprint.get(sse.PATH)
@operation("read", {200: None}, query=EventsQuery, errors=ERRORS, produces="text/event-stream")
def events(query: EventsQuery) -> Response:
    """Events, as server-sent events

    One JSON object a message: `{"type", "timestamp", "data"}`. A stream ends after some minutes; a client that comes
    back with `Last-Event-ID` goes on from there, or is told by `stream.reset` to fetch anew what it shows.
    """
    selection = _selection(query)
    if request.method == "HEAD":
        return Response(content_type=sse.CONTENT_TYPE, headers=sse.HEADERS)
    last_id = request.headers.get("Last-Event-ID") or query.last_event_id
    hub = services().hub
    stream = hub.attach(selection, last_id)
    lines = sse.lines(stream, _clock(), request.environ.get("gunicorn.socket"))
    response = Response(lines, content_type=sse.CONTENT_TYPE, headers=sse.HEADERS)
    response.call_on_close(lambda: hub.detach(stream))
    return response


@blueprint.get("/ws", websocket=True)
@operation("read", {101: None}, query=EventsQuery, errors=(*ERRORS, "not_implemented"))
def socket(query: EventsQuery) -> Response:
    """Events, over a WebSocket

    The same messages. A client chooses by the address, or by sending `{"action": "subscribe", "events": [...]}` or
    `"unsubscribe"`.
    """
    connection = websocket.connection_of_request()
    opening = websocket.handshake()
    shared = services()
    stream = shared.hub.attach(_selection(query), query.last_event_id)
    wishes = Wishes(stream, shared.hub.change, chosen=bool(query.events))
    conversation = websocket.Conversation(connection, stream, _clock(), wishes.hear)
    return websocket.WebSocketResponse(_until_the_end(conversation, opening, stream))


@blueprint.post("/api/v1/events/ticket")
@operation("read", {201: Ticket})
def create_ticket() -> Response:
    """Make a ticket for a stream

    For a browser, which cannot set headers on a stream: it passes the ticket as `?ticket=`.
    """
    ticket, expires_at = services().tickets.create(principal())
    return answer({"ticket": ticket, "expires_at": utc(expires_at)}, 201)


def _selection(query: EventsQuery) -> Selection:
    if query.queue is not None:
        require_queue(query.queue)
    return selection_of(query, principal(), redaction_for_caller())


def _clock() -> StreamClock:
    shared = services()
    client = principal().client
    keys = shared.keys

    def is_allowed() -> bool:
        try:
            return client is None or keys.of_client(client) is not None
        except TaskflowError:  # the database is away, and nothing is to be seen until it is back
            return True

    return StreamClock(shared.settings.stream_seconds, shared.closing, is_allowed)


def _until_the_end(conversation: websocket.Conversation, opening: bytes, stream: Stream) -> Callable[[], None]:
    hub = services().hub

    def run() -> None:
        try:
            conversation.run(opening)
        finally:
            hub.detach(stream)

    return run
