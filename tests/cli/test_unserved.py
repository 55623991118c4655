"""What `taskflow enqueue` says of a type that no live worker knows, and of a queue that none serves."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from psycopg import Connection

from tests.cli.conftest import CommandLine
from tests.web.conftest import Engine


@pytest.fixture(autouse=True)
def workers(engine: Engine) -> Iterator[Connection]:
    """One for two queues that knows echo and email, one for the queue mails alone, and one that is dead."""
    connection = engine.connection
    connection.execute("DELETE FROM taskflow.workers")
    connection.execute("INSERT INTO taskflow.task_types (type) VALUES ('email'), ('echo'), ('gone'), ('send')")
    connection.execute(
        "INSERT INTO taskflow.workers (hostname, pid, types, queues, concurrency, version, last_heartbeat) VALUES"
        " ('host', 1, '{echo,email}', '{default,mails}', 10, '1', now()),"
        " ('host', 2, '{send}', '{mails}', 10, '1', now()),"
        " ('host', 3, '{gone}', NULL, 10, '1', now() - interval '1 hour')"
    )
    yield connection
    connection.execute("DELETE FROM taskflow.workers")
    connection.execute("DELETE FROM taskflow.task_types")


@pytest.mark.parametrize("options", [[], ["--delay", "1h"]])
def test_a_misspelt_type_is_created_and_the_one_that_was_meant_is_named(
    taskflow: CommandLine, options: list[str]
) -> None:
    result = taskflow.result("enqueue", "ehco", *options)
    assert (result.exit_code, result.stdout.strip().isdigit()) == (0, True)
    assert result.stderr == "warning: No live worker knows 'ehco'; did you mean 'echo'?\n"


def test_a_type_like_no_other_and_one_of_a_dead_worker_wait_for_a_worker(taskflow: CommandLine) -> None:
    for type_ in ("zzz", "gone"):
        result = taskflow.result("enqueue", type_)
        assert result.stderr == f"warning: No live worker knows {type_!r}; its tasks wait for one that does.\n"


def test_a_type_that_is_known_and_served_is_no_news(taskflow: CommandLine) -> None:
    for arguments in (["echo"], ["send", "--queue", "mails"], ["echo", "--delay", "1h"]):
        assert taskflow.result("enqueue", *arguments).stderr == ""


def test_a_queue_that_no_worker_with_the_type_serves_is_named(taskflow: CommandLine) -> None:
    elsewhere = taskflow.result("enqueue", "send")
    assert elsewhere.stderr == "warning: No worker that serves the queue 'default' knows the type 'send'.\n"
    nowhere = taskflow.result("enqueue", "echo", "--queue", "forgotten")
    assert nowhere.stderr == "warning: No worker that is alive serves the queue 'forgotten'.\n"


def test_json_on_stdout_stays_json(taskflow: CommandLine) -> None:
    result = taskflow.result("enqueue", "ehco", "--json")
    assert json.loads(result.stdout)["type"] == "ehco"
    assert "did you mean 'echo'?" in result.stderr


def test_who_waits_is_told_before_the_wait(taskflow: CommandLine) -> None:
    result = taskflow.result("enqueue", "ehco", "--wait-timeout", "100ms")
    assert result.stderr.startswith("warning: No live worker knows 'ehco'")
    assert "error[TF-WAIT-TIMEOUT]" in result.stderr


def test_lines_of_a_misspelt_type_are_told_once(taskflow: CommandLine) -> None:
    result = taskflow.result("enqueue", "ehco", "--file", "-", stdin='{"a": 1}\n{"a": 2}\n')
    assert result.stdout == "2 tasks created\n"
    assert result.stderr.count("did you mean 'echo'?") == 1


def test_without_a_live_worker_nothing_is_known_to_be_wrong(taskflow: CommandLine, workers: Connection) -> None:
    workers.execute("UPDATE taskflow.workers SET last_heartbeat = now() - interval '1 hour'")
    assert taskflow.result("enqueue", "ehco").stderr == ""
