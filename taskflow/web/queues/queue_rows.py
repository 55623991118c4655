"""The rows of queues as the API reads and writes them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Connection, Row, Select, Text, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from taskflow.schema import queues
from taskflow.web.access.auth import principal
from taskflow.web.http import params
from taskflow.web.http.conditional import expected_versions, precondition_failed
from taskflow.web.http.encoding import utc
from taskflow.web.http.problems import Problem
from taskflow.web.services import services

ALLOWED = bindparam("allowed", type_=ARRAY(Text))
NAME = bindparam("wanted", type_=Text)
# None: whatever the version is.
VERSIONS = bindparam("versions", type_=ARRAY(BigInteger))
AS_KNOWN = (queues.c.name == NAME) & (or_(VERSIONS.is_(None), queues.c.version == any_(VERSIONS)))
CHANGED: dict[Any, Any] = {queues.c.version: queues.c.version + 1, queues.c.updated_at: func.now()}
READ = select(queues).where(queues.c.name == NAME)
LOCK_AS_KNOWN = select(queues.c.name).where(AS_KNOWN).with_for_update(read=True)
ADOPT = select(func.taskflow.adopt_queues())


def visible(statement: Select[Any]) -> tuple[Select[Any], dict[str, Any]]:
    """A statement about `queues` for whoever asks, and its parameter: those that they may see."""
    allowed = principal().queues
    return (
        statement.where(or_(ALLOWED.is_(None), queues.c.name == any_(ALLOWED))),
        {"allowed": None if allowed is None else sorted(allowed)},
    )


def adopt() -> None:
    """Create the queues of which there are tasks and no rows yet: any producer may name a new one."""
    services().database.call(ADOPT, {})


def read(name: str) -> Row[Any]:
    """The row of a queue. Raises `Problem` 404 if there is none that the caller may see."""
    if principal().sees(name) and "\x00" not in name:
        for is_last in (False, True):
            rows = services().database.fetch(READ, {"wanted": name})
            if rows:
                return rows[0]
            if not is_last:
                adopt()
    raise Problem("queue_not_found", f"There is no queue {params.shown(name)}.")


def check_version(connection: Connection, name: str) -> None:
    """Keep others from changing the queue until the transaction ends, where the request has `If-Match`. Raises
    `Problem` 412 if it is another version."""
    versions = expected_versions()
    if versions is None:
        return
    if connection.execute(LOCK_AS_KNOWN, {"wanted": name, "versions": versions}).first() is None:
        raise precondition_failed()


def not_changed(name: str) -> Problem:
    """Why a change of a queue has found no row: it is not there, which is raised, or not as the client knows it."""
    read(name)
    return precondition_failed()


def body(row: Row[Any]) -> dict[str, Any]:
    """A queue as every endpoint answers it."""
    found = {name: value for name, value in row._asdict().items() if name != "limited_at"}  # the claims' own business
    times = {name: utc(found[name]) for name in ("created_at", "updated_at")}
    return {**found, **times}
