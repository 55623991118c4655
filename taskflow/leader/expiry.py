"""Expiry: idempotency keys after a day, old statistics, rate windows that no limit looks at any more."""

from __future__ import annotations

from taskflow.leader.looper import Connection, Loop
from taskflow.store.expiry import expire_rows

INTERVAL_SECONDS = 60.0
BATCHES_A_ROUND = 20


class Expiry(Loop):
    """Removes small batches until nothing is left, then waits a minute."""

    name = "expiry"

    def work(self, connection: Connection) -> float:
        for _ in range(BATCHES_A_ROUND):
            if not expire_rows(connection):
                return INTERVAL_SECONDS
        return 0.0
