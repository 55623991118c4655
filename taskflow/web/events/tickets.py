"""Tickets: what a browser, which cannot set headers on a stream, shows instead of its key; for a minute."""

from __future__ import annotations

import secrets
from datetime import datetime

from flask import request
from sqlalchemy import Double, LargeBinary, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from taskflow.store.api_keys import digest
from taskflow.web.access.keys import ApiKey, KeyRing
from taskflow.web.access.principal import Principal
from taskflow.web.database import Database

SECONDS = 60.0
PARAMETER = "ticket"
# Nothing else is opened by a ticket: it travels in addresses, which proxies log.
PATHS = frozenset({"/ws", "/api/v1/events"})
CREATE = text("SELECT taskflow.create_event_ticket(:digest, :holder, :seconds)").bindparams(
    bindparam("digest", type_=LargeBinary), bindparam("holder", type_=JSONB), bindparam("seconds", type_=Double)
)
HOLDER = text("SELECT taskflow.event_ticket_holder(:digest)").bindparams(bindparam("digest", type_=LargeBinary))


class Tickets:
    """Kept in the database, so that every server takes those of every other. One that somebody's key has is of no use
    after that key is revoked."""

    def __init__(self, database: Database, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys

    def create(self, whose: Principal) -> tuple[str, datetime]:
        """A ticket for whoever asks, and until when it is valid."""
        ticket = secrets.token_urlsafe(32)
        holder = {"client": whose.client}
        row = self._database.call(CREATE, {"digest": digest(ticket.encode()), "holder": holder, "seconds": SECONDS})[0]
        return ticket, row[0]

    def of_request(self) -> str | None:
        """The ticket that the request under way shows, where one opens anything."""
        return request.args.get(PARAMETER) or None if request.path in PATHS else None

    def key_of(self, ticket: str) -> ApiKey | None:
        """The key behind a ticket; None if it is not valid."""
        holder = self._database.fetch(HOLDER, {"digest": digest(ticket.encode("utf-8", "replace"))})[0][0]
        return None if holder is None else self._keys.of_client(holder["client"])
