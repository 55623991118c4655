"""`taskflow worker`: claim tasks and run them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

import click

from taskflow import telemetry
from taskflow.cli.config_option import config_option
from taskflow.cli.metrics_address import Address
from taskflow.cli.notices import log_notices
from taskflow.cli.terminal import settings_with_database
from taskflow.leader import Leader
from taskflow.processes import let_forks_end, settle
from taskflow.settings import Settings
from taskflow.tasks.handler import describe
from taskflow.tasks.registry import registry
from taskflow.worker import Supervisor, Worker
from taskflow.worker.imports import import_handlers
from taskflow.worker.supervisor import EXIT_DRAINED

EXIT_SECONDS = 2.0  # at least, for what the interpreter does at its end


@click.command("worker")
@config_option
@click.option("--queues", metavar="NAMES", help="Serve these only, comma-separated. Default: every queue.")
@click.option(
    "--types",
    "--worker-type",
    "types",
    metavar="NAMES",
    help="Run these only, comma-separated. Default: every type with a handler.",
)
@click.option("--import", "imports", metavar="MODULES", help="Modules that declare handlers, comma-separated.")
@click.option("--concurrency", type=int, metavar="N", help="How many tasks one process runs at once. Default: 10.")
@click.option("--processes", type=int, metavar="N", help="How many processes, under a supervisor. Default: 1.")
@click.option("--worker-id", metavar="NAME", help="The name under which it is listed. Default: that of its machine.")
@click.option("--poll-interval", metavar="DURATION", help="Look for work at least this often, as 500ms. Default: 5s.")
@click.option("--drain-timeout", metavar="DURATION", help="Time to finish what runs. Default: 25s.")
@click.option("--metrics-port", type=int, metavar="PORT", help="Serve /metrics there. Default: nowhere.")
@click.option(
    "--metrics-addr",
    type=Address(),
    metavar="HOST:PORT",
    help="The same with an address to listen on; of several processes each takes the next port.",
)
@click.option("--leader/--no-leader", default=True, help="Whether to stand for leader as well. Default: yes.")
@click.option("--reload", is_flag=True, help="For development: start again whenever a Python file changes.")
@click.option("--member", type=int, hidden=True, help="Which one of a supervisor's processes this is, from 1.")
def command(
    leader: bool, reload: bool, member: int | None, metrics_addr: tuple[str, int] | None, **flags: str | float | None
) -> None:
    """Claim tasks and run them, until SIGTERM or Ctrl-C: then finish what runs and give back the rest.

    The built-in types are always there; your own come with --import myapp.tasks (or TASKFLOW_IMPORTS).
    """
    if metrics_addr is not None:
        flags |= {"metrics_host": metrics_addr[0], "metrics_port": metrics_addr[1]}
    settings = settings_with_database(**flags)
    if reload:
        sys.exit(reloading(settings, flags, leader=leader))
    telemetry.configure(settings)
    if member is None:
        log_notices()
    import_handlers(settings.imports)
    if member is None:
        log_replaced()
    settle()
    candidate = Leader(settings) if leader else None
    if candidate is not None:
        candidate.start()
    runnable: Supervisor | Worker
    if settings.processes > 1:
        commands = [member_command(settings, number) for number in range(1, settings.processes + 1)]
        runnable = Supervisor(commands, settings.drain_timeout)
    else:
        runnable = Worker(settings, registry)
    end_on_signals(runnable)
    with metrics_of(runnable, settings, candidate, member or 0):
        code = runnable.run()
    if candidate is not None:
        candidate.stop(2.0)
    if isinstance(runnable, Worker):
        if member is not None and runnable.drained:
            code = code or EXIT_DRAINED
        if runnable.has_running_threads:
            sys.stderr.flush()
            os._exit(code)
        _end_within(max(EXIT_SECONDS, runnable.seconds_left), code)
    sys.exit(code)


def log_replaced() -> None:
    """A line for each built-in type that a handler of the program's own has taken over: that may be by accident."""
    log = telemetry.get_logger("worker")
    for type_ in registry.replaced():
        if (handler := registry.get(type_)) is not None:
            log.info("builtin_replaced", type=type_, by=describe(handler.function))


def _end_within(seconds: float, code: int) -> None:
    """Leave by force after so long: at its end the interpreter waits for threads that handlers have started, such as
    one of asyncio.to_thread whose handler was cancelled."""

    def leave() -> None:
        time.sleep(seconds)
        os._exit(code)

    threading.Thread(target=leave, name="exit", daemon=True).start()


@contextlib.contextmanager
def metrics_of(runnable: Supervisor | Worker, settings: Settings, leader: Leader | None, number: int) -> Iterator[None]:
    """Serve /metrics during this block, if a port is set: of a supervisor on that port, of its processes on those
    above it. Nothing is counted otherwise, nor imported what counts."""
    if not settings.metrics_port:
        yield
        return
    from taskflow.cli.metrics_port import metrics_served
    from taskflow.worker.metrics import WorkerMetrics

    counted = []
    if isinstance(runnable, Worker):
        counted.append(WorkerMetrics())
        runnable.count_in(counted[0])
    with metrics_served(settings, leader, *counted, offset=number):
        yield


def reloading(settings: Settings, flags: dict[str, str | float | None], *, leader: bool) -> int:
    """Run the worker of these flags in a process that is started again when files change; returns its exit code."""
    from taskflow.cli.reloader import DRAIN_SECONDS, run_reloading

    seconds = min(settings.drain_timeout, DRAIN_SECONDS)
    command = [sys.executable, "-m", "taskflow", "worker", "--leader" if leader else "--no-leader"]
    for name, value in {**flags, "drain_timeout": seconds}.items():
        if value is not None:
            command += [f"--{'import' if name == 'imports' else name.replace('_', '-')}", str(value)]
    return run_reloading(command, settings.imports, seconds)


def member_command(settings: Settings, number: int) -> list[str]:
    """The command line of one process of several; what is not here comes from the environment."""
    command = [sys.executable, "-m", "taskflow", "worker", "--processes", "1", "--no-leader", "--member", str(number)]
    for flag, names in (("--queues", settings.queues), ("--types", settings.types), ("--import", settings.imports)):
        if names:
            command += [flag, ",".join(names)]
    if settings.metrics_port:
        host = f"[{settings.metrics_host}]" if ":" in settings.metrics_host else settings.metrics_host
        command += ["--metrics-addr", f"{host}:{settings.metrics_port}"]
    if settings.worker_id:
        command += ["--worker-id", settings.worker_id]
    command += ["--concurrency", str(settings.concurrency), "--poll-interval", str(settings.poll_interval)]
    return [*command, "--drain-timeout", str(settings.drain_timeout)]


def end_on_signals(runnable: Supervisor | Worker) -> None:
    """SIGTERM and Ctrl-C begin the end; repeated they change nothing."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        runnable.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    let_forks_end(stop)
