"""What is said of a task that no worker would take as things are: its type may be misspelt."""

from __future__ import annotations

from typing import Any

from taskflow.cli.api import Api
from taskflow.cli.groups import nearest
from taskflow.errors import TaskflowError

NO_WORKER = ("no_worker_for_type", "no_worker_for_queue")
NOT_DUE = ("scheduled", "queue_paused", "blocked")  # of these `why` tells before it looks at workers


def unserved(api: Api, task: dict[str, Any]) -> str | None:
    """A sentence, where none of the workers that live knows the type of a new task, or serves its queue. None where
    none lives, and where the key may not ask."""
    try:
        why = api.get(f"/tasks/{task['id']}/why")
        if why["code"] not in NO_WORKER + NOT_DUE:
            return None
        return _unknown(api, task["type"]) or (why["reason"] if why["code"] in NO_WORKER else None)
    except TaskflowError:  # the task is created, and this was no more than a service
        return None


def unknown_type(api: Api, type_: str) -> str | None:
    """The same of a type alone."""
    try:
        return _unknown(api, type_)
    except TaskflowError:
        return None


def _unknown(api: Api, type_: str) -> str | None:
    known = [found["type"] for page in api.pages("/types") for found in page["types"] if found["workers"]]
    if not known or type_ in known:
        return None
    return f"No live worker knows {type_!r}; {nearest(type_, known) or 'its tasks wait for one that does.'}"
