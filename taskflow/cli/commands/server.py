"""`taskflow server`: the REST API, served by gunicorn."""

from __future__ import annotations

import click

from taskflow import telemetry
from taskflow.cli.config_option import config_option
from taskflow.cli.notices import log_notices
from taskflow.cli.server_metrics import shared_metrics
from taskflow.cli.terminal import check_database
from taskflow.settings import Settings, load


@click.command("server")
@config_option
@click.option("--host", help="Address to listen on (TASKFLOW_HOST, 127.0.0.1); 0.0.0.0 is every one of this machine.")
@click.option("--port", type=int, help="Port to listen on (PORT, 8080); 0 takes a free one.")
@click.option("--processes", type=int, help="Processes that serve (WEB_CONCURRENCY, 2).")
@click.option("--threads", type=int, help="Requests that each of them serves at once (TASKFLOW_WEB_THREADS, 48).")
def command(host: str | None, port: int | None, processes: int | None, threads: int | None) -> None:
    """Serve the REST API until SIGTERM or Ctrl-C; requests under way are finished first.

    Needs a key (TASKFLOW_ADMIN_KEY) to listen beyond this machine. Comes up without a database, and answers 503 until
    there is one.
    """
    settings = load(host=host, port=port, web_processes=processes, web_threads=threads)
    with shared_metrics():  # before anything imports prometheus_client
        _check(settings)
        from taskflow.web.serving.server import serve

        telemetry.configure(settings)
        log_notices()
        serve(settings)


def _check(settings: Settings) -> None:
    from taskflow.web.access.auth import check_exposure

    check_database(settings)
    check_exposure(settings)
