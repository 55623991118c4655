"""Which recipients earlier attempts of a task have served, so that a retry leaves them alone.

An attempt that fails because some recipients have to wait leaves the others in its log, which is stored by the
statement that ends it. A worker that dies before that leaves nothing: then everybody gets the mail again, with the same
Message-ID.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from taskflow import Context
from taskflow.handlers._smtp import Reply

MESSAGE = "the mail was taken for some recipients, the others have to wait"
ATTEMPTS = "SELECT status, logs FROM taskflow.task_attempts(%s) WHERE attempt < %s ORDER BY attempt DESC"


def remember(context: Context, key: str, accepted: Iterable[str], waiting: Mapping[str, Reply]) -> None:
    """Write down who has the mail of this `key`; the attempt has to fail now."""
    replies = {address: str(reply) for address, reply in waiting.items()}
    context.log(MESSAGE, level="warning", key=key, accepted=list(accepted), waiting=replies)


def served_before(context: Context, key: str) -> frozenset[str]:
    """Who got the mail of this `key` from attempts that failed since the task last succeeded."""
    if context.attempt == 1:
        return frozenset()
    served: set[str] = set()
    with context.connection() as connection:
        for status, logs in connection.execute(ATTEMPTS, (context.task_id, context.attempt)):
            if status == "succeeded":  # somebody had it sent again, to everybody
                break
            served.update(*(_accepted(entry, key) for entry in logs or ()))
    return frozenset(served)


def _accepted(entry: Mapping[str, Any], key: str) -> Iterable[str]:
    return entry.get("accepted", ()) if entry.get("message") == MESSAGE and entry.get("key") == key else ()
