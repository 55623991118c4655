"""What we changed about gunicorn's worker and log, where no real request reaches it."""

from __future__ import annotations

import logging
import socket
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import InvalidRequestLine
from gunicorn.workers.gthread import ThreadWorker

from taskflow.web.serving.gunicorn_log import Log
from taskflow.web.serving.gunicorn_worker import Worker


@pytest.fixture
def log() -> Log:
    return Log(Config())


@pytest.fixture
def worker(log: Log) -> Worker:
    made: Worker = Worker.__new__(Worker)
    made.log = log
    made.wsgi = None
    return made


def test_a_client_that_fell_silent_is_no_error(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gunicorn.error")
    for error in (BlockingIOError("nothing came"), OSError("something else")):
        try:
            raise error
        except OSError:
            log.exception("Socket error processing request.")

    assert [record.levelname for record in caplog.records] == ["DEBUG", "ERROR"]


def test_the_log_has_no_files(log: Log) -> None:
    log.reopen_files()
    log.close_on_exec()
    log.access(None)

    assert log.error_log.propagate
    assert not log.error_log.handlers


def test_other_errors_are_left_to_gunicorn(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[BaseException] = []
    monkeypatch.setattr(ThreadWorker, "handle_error", lambda _self, _req, _client, _addr, exc: seen.append(exc))

    worker.handle_error(None, None, None, RuntimeError("ours"))  # type: ignore[arg-type]

    assert [str(error) for error in seen] == ["ours"]


def test_a_client_that_is_gone_needs_no_answer(worker: Worker) -> None:
    client, other = socket.socketpair()
    client.close()
    other.close()

    worker.handle_error(None, client, None, InvalidRequestLine("x"))


def test_sigterm_before_the_application_is_loaded_just_ends(worker: Worker) -> None:
    worker.alive = True
    woken: list[Any] = []
    worker.method_queue = SimpleNamespace(defer=woken.append)

    worker.handle_exit(15, None)

    assert worker.alive is False
    assert len(woken) == 1
