"""The same commands against a real `taskflow server` with keys: what they answer, and how they fail."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner, Result

from taskflow.cli.main import main
from tests.cli.conftest import CommandLine
from tests.web.conftest import ADMIN_KEY, Engine
from tests.web.test_server import RunningServer

READER = "read"


@pytest.fixture(scope="module")
def server(shared_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One for all tests of the file, with keys."""
    log: Path = tmp_path_factory.mktemp("server") / "log"
    settings = {"TASKFLOW_AUTH": "on", "TASKFLOW_ADMIN_KEY": ADMIN_KEY, "WEB_CONCURRENCY": "1"}
    running = RunningServer(shared_dsn, log, **settings)
    try:
        running.wait_until_it_serves()
        yield running
    finally:
        running.close()


class Remote(CommandLine):
    """`taskflow …` with TASKFLOW_URL and TASKFLOW_KEY, and no database."""

    def __init__(self, url: str, key: str = ADMIN_KEY) -> None:
        super().__init__("")
        self._variables = {"TASKFLOW_URL": url, "TASKFLOW_KEY": key}

    def result(self, *arguments: str, stdin: str | bytes | None = None, **environment: str) -> Result:
        return super().result(*arguments, stdin=stdin, **{**self._variables, **environment})


@pytest.fixture
def remote(server: RunningServer) -> Remote:
    return Remote(server.url)


def test_a_server_answers_as_the_database_does(remote: Remote, taskflow: CommandLine) -> None:
    task_id = remote("enqueue", "echo", '{"a": 1}', "--delay", "1h").strip()
    assert remote("tasks", "show", task_id) == taskflow("tasks", "show", task_id)
    assert remote.json("tasks", "list", "type:echo")["tasks"] == taskflow.json("tasks", "list", "type:echo")["tasks"]
    assert (
        remote("queues", "show", "default").splitlines()[:20] == taskflow("queues", "show", "default").splitlines()[:20]
    )
    assert remote("tasks", "cancel", task_id) == f"{task_id}\tcancelled\n"


def test_flags_win_over_the_environment(server: RunningServer, taskflow: CommandLine) -> None:
    elsewhere = {"TASKFLOW_URL": "http://127.0.0.1:9", "TASKFLOW_KEY": "wrong"}
    flags = ("--url", f"{server.url}/", "--key", ADMIN_KEY)
    assert taskflow.result("stats", *flags, **elsewhere).exit_code == 0
    assert taskflow.result("stats", "--url", "", **elsewhere).exit_code == 0  # the database


def test_the_exit_code_says_what_kind_of_refusal_it_was(remote: Remote, server: RunningServer) -> None:
    reader = Remote(server.url, remote("keys", "create", "reader", "--scope", "read").strip())
    limited = Remote(server.url, remote("keys", "create", "l", "--scope", "enqueue", "--queue", "a").strip())
    task_id = remote("enqueue", "echo").strip()
    assert remote.refused("tasks", "show", "999999") == (3, "TF-TASK-NOT-FOUND")
    assert remote.refused("tasks", "retry", task_id) == (4, "TF-WRONG-STATE")
    assert remote.refused("tasks", "list", "stat:x") == (2, "TF-INVALID-FILTER")
    assert reader("tasks", "show", task_id).startswith(f"id\t{task_id}\n")
    assert reader.refused("tasks", "cancel", task_id) == (6, "TF-FORBIDDEN")
    assert limited.refused("enqueue", "echo", "--queue", "b") == (6, "TF-QUEUE-NOT-ALLOWED")
    assert Remote(server.url, "").refused("stats") == (6, "TF-UNAUTHORIZED")
    assert Remote(server.url, "wrong").refused("stats") == (6, "TF-UNAUTHORIZED")


def test_a_task_that_was_created_and_cannot_be_watched_is_named(remote: Remote, server: RunningServer) -> None:
    """Or who repeats the command has it twice."""
    producer = Remote(server.url, remote("keys", "create", "producer", "--scope", "enqueue").strip())
    for again in ("was created", "has its unique key already"):
        result = producer.result("enqueue", "unwatched", "--unique-key", "one", "--wait")
        (task,) = remote.json("tasks", "list", "type:unwatched")["tasks"]
        assert (result.exit_code, result.stdout) == (6, "")
        assert result.stderr.startswith("error[TF-FORBIDDEN]")
        assert f"  why: Task {task['id']} {again}; it cannot be watched: " in result.stderr
        assert "'read'" in result.stderr


def test_a_key_that_may_only_create_tasks_is_told_nothing_of_workers(
    remote: Remote, server: RunningServer, engine: Engine
) -> None:
    producer = Remote(server.url, remote("keys", "create", "maker", "--scope", "enqueue").strip())
    engine.connection.execute('SELECT taskflow.register_types(\'[{"type": "echo"}]\')')
    engine.connection.execute("SELECT taskflow.register_worker('host', 1, NULL, '{echo}', 1, '1')")
    assert remote.result("enqueue", "ehco").stderr == "warning: No live worker knows 'ehco'; did you mean 'echo'?\n"
    assert (told := producer.result("enqueue", "ehco")).exit_code == 0
    assert told.stderr == ""
    engine.connection.execute("DELETE FROM taskflow.workers")


def test_a_key_is_never_echoed(server: RunningServer, free_port: int) -> None:
    key = "s3cret-key-of-somebody"
    for url in (server.url, f"http://127.0.0.1:{free_port}", "ftp://x"):
        for arguments in (["stats"], ["--debug", "stats"], ["stats", "--key", key]):
            result = Remote(url, key).result(*arguments)
            assert result.exit_code != 0
            assert key not in result.output
    typed = Remote(server.url, "").result("stats", "--key", "-", stdin=f"{ADMIN_KEY}\n")
    assert (typed.exit_code, ADMIN_KEY in typed.output) == (0, False)


def test_a_server_or_a_database_that_is_not_there_is_exit_code_5(free_port: int, tmp_path: Path) -> None:
    assert Remote(f"http://127.0.0.1:{free_port}").refused("stats") == (5, "TF-SERVER-UNREACHABLE")
    database = CommandLine(f"postgresql://anna:s3cret@/app?host={tmp_path}")
    assert database.refused("stats") == (5, "TF-DATABASE-UNAVAILABLE")
    assert "s3cret" not in database.result("--debug", "stats").output


def test_a_database_without_the_schema_is_told_from_one_that_is_away(empty_dsn: str) -> None:
    for arguments in (["tasks", "list"], ["enqueue", "echo"], ["enqueue", "echo", "--file", "-"], ["maintenance"]):
        result = CommandLine(empty_dsn).result(*arguments, stdin="{}\n")
        error, why, fix, _ = result.stderr.splitlines()
        assert (result.exit_code, error.partition(":")[0]) == (1, "error[TF-SCHEMA-MISMATCH]")
        assert re.match(r"  why: The database \S+ has no taskflow schema yet\. ", why)
        assert fix == "  fix: Run `taskflow migrate`."


@pytest.mark.parametrize("url", ["ftp://host", "localhost:8080", "http://", "http://anna:pw@host", "http://host/?a=b"])
def test_what_is_no_address_is_refused_before_anything_is_sent(url: str) -> None:
    assert Remote(url).refused("stats") == (5, "TF-NOT-TASKFLOW")


class Other(BaseHTTPRequestHandler):
    """A web server that is something else: /redirect/… sends away, /json/… knows nothing, all else is a page."""

    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(self.path)
        moved, is_json = self.path.startswith("/redirect/"), self.path.startswith("/json/")
        self.send_response(302 if moved else 404 if is_json else 200)
        if moved:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Type", "application/json" if is_json else "text/html")
        self.end_headers()
        self.wfile.write(b'{"detail": "Not Found"}' if is_json else b"<html>")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def other() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_another_web_server_is_not_taken_for_taskflow_and_a_key_does_not_follow_a_redirect(other: str) -> None:
    Other.seen.clear()
    assert Remote(other).refused("stats") == (5, "TF-NOT-TASKFLOW")
    assert Remote(f"{other}/redirect").refused("stats") == (5, "TF-NOT-TASKFLOW")
    assert Other.seen == ["/api/v1/stats", "/redirect/api/v1/stats"]


def test_what_is_not_an_answer_of_taskflow_is_said_to_be_of_another_program(other: str) -> None:
    for path, answered in (("", "200 with text/html"), ("/json", "404 with application/json")):
        told = Remote(f"{other}{path}").result("stats").stderr
        assert f" answered {answered}, as taskflow never does: another program answers there, " in told


def test_many_lines_go_in_batches_and_a_wrong_one_is_named_with_what_is_stored(
    remote: Remote, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskflow.cli.bulk.BATCH_TASKS", 100)
    good = "".join(json.dumps({"type": "far", "payload": {"n": n}}) + "\n" for n in range(250))
    result = remote.result("enqueue", "--file", "-", stdin=good + '\n{"type": "far", "payload": 1}\n')
    assert (result.exit_code, result.stdout) == (2, "")
    assert "line 252" in result.stderr
    assert "The 200 tasks up to line 200 are stored" in result.stderr
    assert "--skip 200" in result.stderr
    assert remote("enqueue", "--file", "-", "--skip", "200", stdin=good) == "50 tasks created\n"
    rows = engine.connection.execute("SELECT count(*), count(DISTINCT payload) FROM taskflow.tasks WHERE type = 'far'")
    assert rows.fetchone() == (250, 250)


def test_the_one_who_changed_something_is_in_the_audit_log(
    remote: Remote, taskflow: CommandLine, engine: Engine
) -> None:
    for door in (remote, taskflow):
        door("queues", "pause", "default")
    rows = engine.connection.execute("SELECT actor FROM taskflow.audit_log WHERE action = 'queue.pause' ORDER BY id")
    [by_key, by_hand] = [actor for (actor,) in rows.fetchall()]
    assert "(command line)" not in by_key
    assert by_hand.endswith("(command line)")


def test_every_path_that_a_command_asks_is_mounted_for_it() -> None:
    from taskflow.cli.api_resources import SERVED_BY
    from taskflow.settings import load
    from taskflow.web import create_app

    settings = load(database_url="postgresql://localhost/x")
    whole = {str(rule) for rule in create_app(settings).url_map.iter_rules()}
    for noun, modules in SERVED_BY.items():
        mounted = {str(rule) for rule in create_app(settings, resources=modules).url_map.iter_rules()}
        prefix = f"/api/v1/{noun}"
        wanted = {path for path in whole if path == prefix or path.startswith(f"{prefix}/")}
        assert wanted, noun
        assert wanted <= mounted, noun


def test_the_help_names_the_settings() -> None:
    shown = CliRunner().invoke(main, ["tasks", "list", "--help"]).stdout
    assert "TASKFLOW_URL" in shown
    assert "TASKFLOW_KEY" in shown
