"""What nobody waits for: what a worker leaves open, and what it tells the database in passing."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from taskflow.store import workers
from taskflow.tasks.registry import task
from tests.worker.conftest import Bench


def test_a_worker_that_has_ended_keeps_no_file_open(bench: Bench) -> None:
    def open_files() -> set[str]:
        """The pipes, sockets and the like of this process, by names that none has again."""
        found = set()
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):  # of this list itself, or closed meanwhile
                found.add(os.readlink(f"/proc/self/fd/{number}"))
        return {name for name in found if ":[" in name}

    @task("noop", registry=bench.registry)
    def noop(payload: dict[str, Any]) -> None: ...

    before = open_files()
    for _ in range(3):
        with bench.worker():
            bench.ended(bench.enqueue("noop"))
            assert open_files() - before
        bench.wait(lambda: not open_files() - before)


def test_what_fails_though_nobody_waits_for_it_is_logged_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.connection.execute(
        "CREATE FUNCTION public.fails() RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no right' USING DETAIL = 's3cret'; END $$"
    )
    works = threading.Event()

    def fail(connection: Any, *_: Any, **__: Any) -> None:
        if not works.is_set():
            connection.execute("SELECT public.fails()")

    for name in ("set_state", "deregister"):
        monkeypatch.setattr(workers, name, fail)
    with capture_logs() as logs, bench.worker() as worker:
        for _ in range(3):
            worker._completer.tell("ring", fail)
        worker._completer.ask(lambda _: works.set()).result(20)
        worker._completer.tell("ring", fail)
        worker._completer.ask(lambda _: works.clear()).result(20)
        worker._completer.tell("ring", fail)
        bench.wait(lambda: worker._claimer.alive and worker._identity.current is not None)
    failures = [(entry["what"], entry["error"]) for entry in logs if entry["event"] == "not_told"]
    assert failures == [(what, "no right") for what in ("ring", "ring", "set_state", "leave")]
