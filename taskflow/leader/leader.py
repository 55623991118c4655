"""The leader's loops put together."""

from __future__ import annotations

import os
import socket
import time
import uuid
from datetime import timedelta

from taskflow.leader.endings import Endings
from taskflow.leader.expiry import Expiry
from taskflow.leader.keys import Keys
from taskflow.leader.lease import Lease
from taskflow.leader.looper import PLAN, Looper, log
from taskflow.leader.partitions import Partitions
from taskflow.leader.queue_retention import QueueRetention
from taskflow.leader.rescuer import Rescuer
from taskflow.leader.retention import Retention
from taskflow.leader.schedules import Schedules
from taskflow.leader.statistics import Statistics
from taskflow.leader.totals import Totals
from taskflow.settings import Settings
from taskflow.store.outage import Outage

LEASE_SECONDS = (2.0, 15.0)  # at least, so that it does not run out on a busy machine; at most


class Leader:
    """Stands for election in the background, and runs the loops while it leads.

    One that leads has three connections: one for the lease and the loops of short statements, one for what may take
    long or waits for a reader, one for the schedules, which must be on time. One that does not lead has none but for a
    moment every few seconds.
    """

    def __init__(self, settings: Settings) -> None:
        holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        least, most = LEASE_SECONDS
        self._lease = Lease(holder, max(least, min(most, settings.heartbeat_timeout / 2)))
        keep = {
            "tasks_completed": timedelta(seconds=settings.retention_completed),
            "tasks_ended": timedelta(seconds=settings.retention_ended),
            "executions": timedelta(seconds=settings.retention_executions),
        }
        counted = Statistics()
        outage = Outage(log, plan=PLAN)
        self._loopers = (
            Looper(
                "leader",
                settings.database_url,
                [self._lease, Rescuer(settings.heartbeat_timeout), Keys(), Expiry()],
                outage=outage,
            ),
            Looper(
                "upkeep",
                settings.database_url,
                [
                    Partitions(),
                    counted,
                    Totals(lambda: counted.final),
                    Endings(),
                    QueueRetention(),
                    Retention(keep, want_owner=self._lease.want_owner),
                ],
                wanted=lambda: self._lease.held,
                outage=outage,
            ),
            Looper("schedules", settings.database_url, [Schedules()], wanted=lambda: self._lease.held, outage=outage),
        )

    @property
    def leading(self) -> bool:
        """Whether this process is the leader at this moment."""
        return self._lease.held

    def start(self) -> None:
        """Begin; returns at once, also when no database can be reached."""
        for looper in self._loopers:
            looper.start()

    def stop(self, timeout: float = 2.0) -> bool:
        """End within `timeout` seconds and give the lease back. False if something would not end in time."""
        deadline = time.monotonic() + timeout
        for looper in self._loopers:
            looper.ask_to_stop()
        ended = [looper.stop(max(0.0, deadline - time.monotonic())) for looper in reversed(self._loopers)]
        return all(ended)
