"""The leader: what one process at a time does for all (rescue, daily partitions and retention, statistics, expiry)."""

from taskflow.leader.leader import Leader

__all__ = ["Leader"]
