"""When schedules fire: pure rules, without a database and without a clock of their own."""

from taskflow.schedules.cron import Cron
from taskflow.schedules.missed import Catchup, catch_up
from taskflow.schedules.names import check_name
from taskflow.schedules.timing import Timing

__all__ = ["Catchup", "Cron", "Timing", "catch_up", "check_name"]
