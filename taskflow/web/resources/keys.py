"""/api/v1/keys: who may use the API."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, url_for
from sqlalchemy import BigInteger, bindparam, func, insert, select, update

from taskflow.schema import api_keys
from taskflow.store.api_keys import new_key
from taskflow.store.roles import API_KEY_COLUMNS
from taskflow.web.access import audit
from taskflow.web.access.auth import require_every_queue
from taskflow.web.access.idempotency import keep_instead
from taskflow.web.http import params
from taskflow.web.http.encoding import answer, utc
from taskflow.web.http.lists import cursor_after, page, place_of
from taskflow.web.http.operation import operation
from taskflow.web.http.problems import Problem
from taskflow.web.models.base import Page
from taskflow.web.models.keys import Key, KeyBody, KeyRevoked, Keys, NewKey
from taskflow.web.services import services

SHOWN = [api_keys.c[name] for name in API_KEY_COLUMNS if name != "from_environment"]
ID = bindparam("key_id", type_=BigInteger)
CREATE = insert(api_keys).returning(*SHOWN)
LIST = select(*SHOWN).where(api_keys.c.id < ID).order_by(api_keys.c.id.desc()).limit(bindparam("how_many"))
READ = select(*SHOWN).where(api_keys.c.id == ID)
REVOKE = (
    update(api_keys)
    .where(api_keys.c.id == ID)
    .values(revoked_at=func.coalesce(api_keys.c.revoked_at, func.now()))
    .returning(*SHOWN)
)

blueprint = Blueprint("keys", __name__, url_prefix="/api/v1/keys")


@blueprint.post("")
@operation("admin", {201: NewKey}, body=KeyBody, idempotent=True)
def create(body: KeyBody) -> Response:
    """Create an API key

    The answer holds the key itself, once: only its hash is stored.
    """
    require_every_queue()
    made = new_key()
    values = {
        "name": body.name,
        "prefix": made.prefix,
        "hash": made.hash,
        "scopes": sorted(set(body.scopes)),
        "queues": None if body.queues is None else sorted(set(body.queues)),
        "expires_at": body.end,
    }
    with services().database.transaction() as connection:
        row = connection.execute(CREATE, values).one()._asdict()
        details = {"name": row["name"], "scopes": row["scopes"], "queues": row["queues"]}
        audit.record(connection, action="key.create", target=str(row["id"]), details=details)
    document = _body(row)
    place = {"Location": url_for(".show", key_id=document["id"])}
    keep_instead(answer(document | {"key": None}, 201, place))
    return answer(document | {"key": made.text}, 201, place)


@blueprint.get("")
@operation("admin", {200: Keys}, query=Page)
def index(query: Page) -> Response:
    """The API keys, the newest first

    Revoked and expired ones too. The keys themselves are stored nowhere.
    """
    require_every_queue()
    place = place_of(query.cursor, int)
    before = place[0] if place else params.LARGEST_ID
    rows = services().database.fetch(LIST, {"key_id": before, "how_many": query.limit + 1})
    found = [_body(row._asdict()) for row in rows[: query.limit]]
    return page("keys", found, cursor_after(int(found[-1]["id"])) if len(rows) > query.limit else None)


@blueprint.get("/<key_id>")
@operation("admin", {200: Key}, errors=("key_not_found",))
def show(key_id: str) -> Response:
    """An API key, without the key itself"""
    require_every_queue()
    rows = services().database.fetch(READ, {"key_id": _number(key_id)})
    if not rows:
        raise _not_found(key_id)
    return answer(_body(rows[0]._asdict()))


@blueprint.delete("/<key_id>")
@operation("admin", {200: KeyRevoked}, errors=("key_not_found",))
def revoke(key_id: str) -> Response:
    """Revoke an API key

    It opens nothing a second later. A key that is revoked stays in the list; to revoke it again changes nothing.
    """
    require_every_queue()
    rows = audit.change(REVOKE, {"key_id": _number(key_id)}, action="key.revoke", target=key_id)
    if not rows:
        raise _not_found(key_id)
    return answer({"message": "key revoked", "id": key_id})


def _number(text: str) -> int:
    if params.DIGITS.fullmatch(text) and int(text) <= params.LARGEST_ID:
        return int(text)
    raise _not_found(text)


def _not_found(text: str) -> Problem:
    return Problem("key_not_found", f"There is no API key {text[:100]!a}.")


def _body(row: Mapping[str, Any]) -> dict[str, Any]:
    document = dict(row) | {"id": str(row["id"]), "state": _state(row)}
    return {name: utc(value) if isinstance(value, datetime) else value for name, value in document.items()}


def _state(row: Mapping[str, Any]) -> str:
    if row["revoked_at"] is not None:
        return "revoked"
    return "expired" if row["expires_at"] is not None and row["expires_at"] <= datetime.now(UTC) else "active"
