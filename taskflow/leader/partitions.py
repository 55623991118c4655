"""The daily partitions, made a month ahead: a leader that is away for weeks costs nothing."""

from __future__ import annotations

from taskflow.leader.looper import Connection, Loop, log
from taskflow.store import partitions

INTERVAL_SECONDS = 3600.0


class Partitions(Loop):
    """Makes the days that are missing; see sql/functions/ensure_days.sql."""

    name = "partitions"

    def work(self, connection: Connection) -> float:
        made = partitions.ensure_days(connection, partitions.DAYS_AHEAD)
        if made:
            log.info("days_made", count=made, days_ahead=partitions.DAYS_AHEAD)
        return INTERVAL_SECONDS
