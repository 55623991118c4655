"""Room in queues for tasks that are about to be created. A task whose unique key is taken creates none and needs none:
that is looked up only where a queue is full without it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY

from taskflow.web.access.backpressure import Place
from taskflow.web.http.problems import Problem
from taskflow.web.services import services

# One that has ended may have its key still, by unique_for.
TAKEN = text("""
SELECT k.type, k.unique_key FROM unnest(:types, :keys) AS k (type, unique_key)
WHERE EXISTS (SELECT FROM taskflow.tasks_live t WHERE t.type = k.type AND t.unique_key = k.unique_key)
   OR EXISTS (SELECT FROM taskflow.unique_windows w
              WHERE w.type = k.type AND w.unique_key = k.unique_key AND w.until > now())
""").bindparams(bindparam("types", type_=ARRAY(Text)), bindparam("keys", type_=ARRAY(Text)))

Key = tuple[str, str]
"""(type, unique_key)"""


def room_for(queue: str | None, keys: Sequence[Key | None]) -> Place:
    """Room for tasks with these keys, None being one without. Raises `Problem` 503 unless they all fit in."""
    backpressure = services().backpressure
    try:
        return backpressure.admit(queue, len(keys))
    except Problem:
        free = _free(keys)
        new = keys.count(None) + len({keys[at] for at in free} - {None})
        if new == len(keys):
            raise
    return backpressure.admit(queue, new)


def room_for_some(queue: str, keys: Sequence[Key | None]) -> tuple[Place, list[int], Problem | None]:
    """Room for as many of them as fit in; the places in `keys` of the others, and what is said of these."""
    try:
        return room_for(queue, keys), [], None
    except Problem as full:
        free = _free(keys)
        place = services().backpressure.admit_some(queue, len(free))
        return place, free[place.tasks :], full


def _free(keys: Sequence[Key | None]) -> list[int]:
    """Those that create a task."""
    asked = sorted({key for key in keys if key is not None})
    if not asked:
        return list(range(len(keys)))
    types, names = zip(*asked, strict=True)
    rows = services().database.fetch(TAKEN, {"types": list(types), "keys": list(names)})
    taken = {(row.type, row.unique_key) for row in rows}
    return [at for at, key in enumerate(keys) if key not in taken]
