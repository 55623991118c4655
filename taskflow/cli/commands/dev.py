"""`taskflow dev`: the whole system on this machine, with a PostgreSQL of its own; Ctrl-C ends all of it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import click

from taskflow.cli.config_option import config_option
from taskflow.cli.dev_database import Database, embedded, named
from taskflow.cli.dev_directory import claimed
from taskflow.cli.dev_imports import try_imports
from taskflow.cli.dev_mail import mail
from taskflow.cli.dev_mail_server import outgoing
from taskflow.cli.dev_port import free_port
from taskflow.cli.dev_processes import Processes
from taskflow.cli.output import say
from taskflow.errors import TaskflowError
from taskflow.settings import Settings, load_beside_nothing
from taskflow.settings.running_dev import DIRECTORY
from taskflow.store.migrate import migrate

HOST = "127.0.0.1"
LOOPBACK = ("127.0.0.0/8", "::1")
DRAIN_SECONDS = 15.0
PREDECESSOR_SECONDS = 2.0  # in which the web server of a `taskflow dev` that was killed goes away
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.group("dev", invoke_without_command=True)
@config_option
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port of the web server, 0 for any. [default: PORT, or 8080]"
)
@click.option(
    "--fresh", is_flag=True, help="Drop the data of the embedded PostgreSQL, and the mail that was caught, first."
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=DIRECTORY,
    show_default=True,
    help="Where the embedded PostgreSQL keeps its data.",
)
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="A module with your handlers; repeatable.")
@click.option("--reload", is_flag=True, help="Start the worker again whenever a Python file changes.")
@click.pass_context
def command(
    context: click.Context, port: int | None, fresh: bool, directory: Path, imports: tuple[str, ...], reload: bool
) -> None:
    """Run web server, worker and leader loops here, with an embedded PostgreSQL unless DATABASE_URL is set.

    The web server listens on 127.0.0.1 only and asks for no key. Mail that tasks send is caught and kept, unless
    TASKFLOW_SMTP_HOST is set, and webhooks may reach this machine, unless TASKFLOW_WEBHOOK_ALLOW says what they may.
    """
    if context.invoked_subcommand is None:
        _run(port, fresh, directory, imports, reload)


command.add_command(mail)


def _run(port: int | None, fresh: bool, directory: Path, imports: tuple[str, ...], reload: bool) -> None:
    settings = load_beside_nothing(port=port)
    if fresh and settings.database_url:
        raise TaskflowError("--fresh drops the embedded PostgreSQL, and DATABASE_URL names another: unset one of them.")
    with claimed(directory) as place, _stopped_by_signals():
        chosen = free_port(HOST, settings.port, patience_seconds=PREDECESSOR_SECONDS)
        place.announce(f"http://{HOST}:{chosen}")
        own = "" if settings.database_url else f" with a PostgreSQL in {place.path}"
        say(f"Starting a web server and a worker{own}.")
        database_of = named(settings.database_url) if settings.database_url else embedded(place.path, fresh=fresh)
        with database_of as database, outgoing(settings, place.path, fresh=fresh) as smtp:
            migrate(database.url)
            files = _files(settings, place.path)
            environment = _environment(settings, database, chosen, imports, files) | smtp.environment
            if environment["TASKFLOW_IMPORTS"] and not reload:  # that waits for files to change
                try_imports(environment, imports)
            with Processes(environment) as processes:
                processes.start([("server",), ("worker", "--reload") if reload else ("worker",)])
                processes.await_ready(f"http://{HOST}:{chosen}/ready")
                place.announce(f"http://{HOST}:{chosen}", own_database="" if settings.database_url else database.url)
                click.echo(_welcome(f"http://{HOST}:{chosen}", database, smtp.shown))
                processes.watch()


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP mean what Ctrl-C does: leave the block, undo everything, and exit with 0."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        yield
    for number in STOP_SIGNALS:  # all is down: there is nothing left to interrupt
        signal.signal(number, signal.SIG_IGN)


def _files(settings: Settings, directory: Path) -> str:
    """The directory for files of handlers, made if it is ours."""
    if settings.files_root:
        return settings.files_root
    files = directory / "files"
    files.mkdir(exist_ok=True)
    return str(files)


def _environment(
    settings: Settings, database: Database, port: int, imports: tuple[str, ...], files: str
) -> dict[str, str]:
    said_by_somebody = "export_queries" in settings.model_fields_set
    return {
        **os.environ,
        "DATABASE_URL": database.url,
        "TASKFLOW_DATABASE_URL": database.url,
        "PORT": str(port),
        "TASKFLOW_PORT": str(port),
        "TASKFLOW_HOST": HOST,
        "TASKFLOW_AUTH": "off",
        "TASKFLOW_IMPORTS": ",".join((*settings.imports, *imports)),
        "TASKFLOW_FILES_ROOT": files,
        "TASKFLOW_EXPORT_QUERIES": str(settings.export_queries or not said_by_somebody).lower(),
        "TASKFLOW_DRAIN_TIMEOUT": str(min(settings.drain_timeout, DRAIN_SECONDS)),
        "TASKFLOW_WEBHOOK_ALLOW": ",".join(settings.webhook_allow or LOOPBACK),
    }


def _welcome(url: str, database: Database, mail: str) -> str:
    return f"""
taskflow is running. Ctrl-C stops it; the data stays.

  API       {url}/api/v1/tasks
  docs      {url}/docs
  metrics   {url}/metrics
  mail      {mail}
  database  {database.shown}

Create a task; the answer has its id. Then see what became of it:

  curl -s {url}/api/v1/tasks -H 'Content-Type: application/json' \\
    -d '{{"type": "echo", "payload": {{"hello": "world"}}}}'
  curl -s {url}/api/v1/tasks/1

The same with psql, in a transaction of yours if you like:

  psql '{database.shown}' \\
    -c "SELECT * FROM taskflow.enqueue('echo', '{{\\"hello\\": \\"world\\"}}')" \\
    -c "SELECT * FROM taskflow.task_status(1)"
"""
