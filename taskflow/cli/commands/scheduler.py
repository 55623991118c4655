"""`taskflow scheduler`: the leader's loops in a process of their own, without running tasks."""

from __future__ import annotations

import signal
from types import FrameType

import click

from taskflow import telemetry
from taskflow.cli.config_option import config_option
from taskflow.cli.metrics_address import Address
from taskflow.cli.metrics_port import metrics_served
from taskflow.cli.notices import log_notices
from taskflow.cli.terminal import settings_with_database
from taskflow.leader import Leader
from taskflow.stop_flag import StopFlag

STOP_SECONDS = 1.5


@click.command("scheduler")
@config_option
@click.option("--metrics-port", type=int, metavar="PORT", help="Serve /metrics there. Default: nowhere.")
@click.option("--metrics-addr", type=Address(), metavar="HOST:PORT", help="The same with an address to listen on.")
def command(metrics_port: int | None, metrics_addr: tuple[str, int] | None) -> None:
    """Rescue tasks of dead workers, make and drop daily partitions, count statistics.

    Every worker does this too, one at a time by election. A scheduler is for where workers must not: with the role
    that owns the tables, for example, so that retention may drop them. Any number may run; SIGTERM ends it.
    """
    host, port = metrics_addr or (None, metrics_port)
    settings = settings_with_database(metrics_host=host, metrics_port=port)
    telemetry.configure(settings)
    log_notices()
    log = telemetry.get_logger("scheduler")
    stopping = StopFlag()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    leader = Leader(settings)
    leader.start()
    log.info("scheduler_started")
    with metrics_served(settings, leader):
        stopping.wait()
    if not leader.stop(STOP_SECONDS):
        log.warning("scheduler_left_statement", reason="the database did not answer in time; it will end by itself")
    log.info("scheduler_stopped")
