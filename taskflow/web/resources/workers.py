"""/api/v1/workers and /admin/workers: which processes run tasks, and what an operator wants of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import BigInteger, Text, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from taskflow.web.access import audit
from taskflow.web.access.auth import principal
from taskflow.web.http import params
from taskflow.web.http.encoding import answer, utc
from taskflow.web.http.lists import cursor_after, page, place_of
from taskflow.web.http.operation import operation
from taskflow.web.http.problems import Problem
from taskflow.web.models.base import Page
from taskflow.web.models.workers import Worker, WorkerDraining, WorkerPaused, WorkerResumed, Workers
from taskflow.web.services import services

# Name of the blueprint → prefix.
MOUNTS = {"workers": "/api/v1/workers", "admin_workers": "/admin/workers"}
MAX_RUNNING = 100
CHANGE_ERRORS = ("worker_not_found", "queue_not_allowed")

# What a worker has is asked of the tasks, since its last heartbeat may be seconds old. It holds some ready beyond its
# slots, and all of them are claimed: no more of them run than it has slots, those that were claimed first.
# :queues is what a key is limited to, NULL where it is not: a worker that serves none of these does not exist for it.
READ = text(f"""
SELECT w.id, w.state, w.hostname, w.pid, w.queues, w.types, w.concurrency, w.started_at, w.last_heartbeat, w.version,
       held.ids, held.type_of, held.since, least(held.count, w.concurrency) AS active
FROM taskflow.workers w
CROSS JOIN LATERAL (
    SELECT coalesce(max(h.total), 0) AS count, array_agg(h.id ORDER BY h.place) AS ids,
           array_agg(h.type ORDER BY h.place) AS type_of, array_agg(h.since ORDER BY h.place) AS since
    FROM (
        SELECT t.id, t.type::text AS type, coalesce(t.started_at, t.claimed_at) AS since, count(*) OVER () AS total,
               row_number() OVER (ORDER BY t.started_at, t.claimed_at, t.id) AS place
        FROM taskflow.tasks_live t
        WHERE t.id = ANY (ARRAY(SELECT unnest(c.task_ids) FROM taskflow.claims c WHERE c.worker_id = w.id))
          AND t.worker_id = w.id AND t.state = 'running' AND (:queues IS NULL OR t.queue::text = ANY (:queues))
        ORDER BY place LIMIT least(w.concurrency, {MAX_RUNNING})) AS h) AS held
WHERE w.id > :after AND w.id <= :last AND (:queues IS NULL OR w.queues IS NULL OR w.queues && :queues)
ORDER BY w.id LIMIT :limit
""").bindparams(
    bindparam("queues", type_=ARRAY(Text)), bindparam("after", type_=BigInteger), bindparam("last", type_=BigInteger)
)
SET_STATE = select(func.taskflow.set_worker_state(bindparam("id", type_=BigInteger), bindparam("state", type_=Text)))

blueprint = Blueprint("workers", __name__)


@blueprint.get("")
@operation("read", {200: Workers}, query=Page)
def index(query: Page) -> Response:
    """The workers

    By id, which grows: the one started last comes last. One that was killed is listed until the leader has given its
    tasks to others; `last_heartbeat` tells it.
    """
    place = place_of(query.cursor, int)
    rows = _fetch(after=place[0] if place else 0, limit=query.limit + 1)
    found, more = rows[: query.limit], len(rows) > query.limit
    return page("workers", [_body(row) for row in found], cursor_after(found[-1]["id"]) if more else None)


@blueprint.get("/<worker_id>")
@operation("read", {200: Worker}, errors=("worker_not_found",))
def show(worker_id: str) -> Response:
    """A worker"""
    return answer(_body(_read(worker_id)))


@blueprint.post("/<worker_id>/pause")
@operation("operate", {200: WorkerPaused}, errors=(*CHANGE_ERRORS, "wrong_state"))
def pause(worker_id: str) -> Response:
    """Have a worker claim nothing

    What runs goes on; what it holds ready beyond that goes back to its queue. 409 for a worker that drains.
    """
    return _change(worker_id, "paused", "worker.pause", "worker paused")


@blueprint.post("/<worker_id>/resume")
@operation("operate", {200: WorkerResumed}, errors=(*CHANGE_ERRORS, "wrong_state"))
def resume(worker_id: str) -> Response:
    """Have a paused worker claim again

    409 for a worker that drains: it is about to end.
    """
    return _change(worker_id, "running", "worker.resume", "worker resumed")


@blueprint.post("/<worker_id>/drain")
@operation("operate", {200: WorkerDraining}, errors=CHANGE_ERRORS)
def drain(worker_id: str) -> Response:
    """Have a worker finish what runs, and end

    As SIGTERM does. A supervisor does not start another one in its place; what else watches over it may.
    """
    return _change(worker_id, "draining", "worker.drain", "worker draining")


def _change(worker_id: str, state: str, action: str, message: str) -> Response:
    worker = _read(worker_id)
    _require_all_queues(worker)
    changed = audit.change(SET_STATE, {"id": worker["id"], "state": state}, action=action, target=str(worker["id"]))
    if not changed:
        _read(worker_id)  # it has ended meanwhile
        raise Problem("wrong_state", f"Worker {worker_id} drains: it is about to end.", state="draining")
    return answer({"message": message, "worker_id": str(worker["id"])})


def _require_all_queues(worker: Mapping[str, Any]) -> None:
    """What a worker does about all its queues is decided only by who may decide about each of them."""
    allowed = principal().queues
    if allowed is not None and (worker["queues"] is None or not allowed.issuperset(worker["queues"])):
        raise Problem("queue_not_allowed", "This worker serves queues beyond those that this key is limited to.")


def _read(worker_id: str) -> Mapping[str, Any]:
    number = params.number(worker_id)
    rows = _fetch(after=number - 1, last=number) if number is not None else []
    if not rows:
        raise Problem("worker_not_found", f"There is no worker {params.shown(worker_id)}.")
    return rows[0]


def _fetch(*, after: int, last: int = params.LARGEST_ID, limit: int = 1) -> list[Mapping[str, Any]]:
    allowed = principal().queues
    parameters = {
        "after": after,
        "last": last,
        "limit": limit,
        "queues": sorted(allowed) if allowed is not None else None,
    }
    return [row._asdict() for row in services().database.fetch(READ, parameters)]


def _body(row: Mapping[str, Any]) -> dict[str, Any]:
    allowed, queues = principal().queues, row["queues"]
    held = zip(row["ids"] or (), row["type_of"] or (), row["since"] or (), strict=True)
    return {
        "id": str(row["id"]),
        "state": row["state"] if row["state"] != "running" else "busy" if row["active"] else "idle",
        "hostname": row["hostname"],
        "pid": row["pid"],
        "queues": [name for name in queues if allowed is None or name in allowed] if queues is not None else None,
        "types": row["types"],
        "concurrency": row["concurrency"],
        "active_tasks": row["active"],
        "running": [{"id": str(id), "type": type, "since": utc(since)} for id, type, since in held],
        "started_at": utc(row["started_at"]),
        "last_heartbeat": utc(row["last_heartbeat"]),
        "version": row["version"],
    }
