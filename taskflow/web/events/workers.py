"""Workers that come, go, pause and go on: found by comparing, so that one that was killed is noticed as well."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from taskflow.store.events import Connection

READ = "SELECT id, state, active_tasks, concurrency, queues FROM taskflow.workers"


class KnownWorker(NamedTuple):
    """What was last seen of one."""

    state: str
    active_tasks: int
    concurrency: int
    queues: list[str] | None


class WorkerBook:
    """Who was there at the last look. The process that does not watch follows what the other one tells."""

    def __init__(self, connection: Connection) -> None:
        self._known = _read(connection)

    def changes(self, connection: Connection) -> list[dict[str, Any]]:
        """What has changed since the last look, as events."""
        before, self._known = self._known, _read(connection)
        found = []
        for worker_id, worker in self._known.items():
            old = before.get(worker_id)
            if old is None:
                found.append(_event("worker.joined", worker_id, worker))
            if worker.state == "paused" and (old is None or old.state != "paused"):
                found.append(_event("worker.paused", worker_id, worker))
            elif worker.state == "running" and old is not None and old.state == "paused":
                found.append(_event("worker.resumed", worker_id, worker))
        gone = before.keys() - self._known.keys()
        found += [_event("worker.left", worker_id, before[worker_id]) for worker_id in sorted(gone)]
        return found

    def hear(self, event: dict[str, Any]) -> None:
        """Somebody else has told of a change."""
        data = event["data"]
        worker_id = int(data["worker_id"])
        if event["type"] == "worker.left":
            self._known.pop(worker_id, None)
            return
        state = data["state"] if data["state"] in ("paused", "draining") else "running"
        self._known[worker_id] = KnownWorker(state, data["active_tasks"], data["concurrency"], event["queues"])


def _read(connection: Connection) -> dict[int, KnownWorker]:
    return {row[0]: KnownWorker._make(row[1:]) for row in connection.execute(READ)}


def _event(name: str, worker_id: int, worker: KnownWorker) -> dict[str, Any]:
    shown = worker.state
    if shown == "running":
        shown = "busy" if worker.active_tasks else "idle"
    return {
        "type": name,
        "timestamp": datetime.now(UTC),
        "data": {
            "worker_id": str(worker_id),
            "state": shown,
            "active_tasks": worker.active_tasks,
            "concurrency": worker.concurrency,
        },
        "queues": worker.queues,
    }
