"""`taskflow scheduler`: the leader's loops in a process of their own, without running tasks."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import click

from taskflow import telemetry
from taskflow.cli.metrics_port import metrics_served
from taskflow.cli.terminal import database_url
from taskflow.leader import Leader
from taskflow.settings import load

STOP_SECONDS = 1.5


@click.command("scheduler")
@click.option("--metrics-port", type=int, metavar="PORT", help="Serve /metrics there. Default: nowhere.")
def command(metrics_port: int | None) -> None:
    """Rescue tasks of dead workers, make and drop daily partitions, count statistics.

    Every worker does this too, one at a time by election. A scheduler is for where workers must not: with the role
    that owns the tables, for example, so that retention may drop them. Any number may run; SIGTERM ends it.
    """
    settings = load(database_url=database_url(), metrics_port=metrics_port)
    telemetry.configure(settings)
    log = telemetry.get_logger("scheduler")
    stopping = threading.Event()

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
