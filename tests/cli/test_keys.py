"""`taskflow keys`: what it makes is stored as the API stores it, and the key is printed once."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from taskflow.cli.main import main


@pytest.fixture
def keys(dsn: str) -> Any:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["keys", *arguments], env={"DATABASE_URL": dsn})

    return run


def test_the_key_alone_is_on_stdout_and_its_hash_in_the_database(
    keys: Any, connection: psycopg.Connection[Any]
) -> None:
    result = keys("create", "ci", "--scope", "read", "--scope", "enqueue", "--queue", "mail", "--expires", "90d")

    key = result.stdout.strip()
    assert (result.exit_code, key[:3], "\n" in key) == (0, "tf_", False)
    row = connection.execute(
        "SELECT name, prefix, hash, scopes, queues, expires_at - created_at BETWEEN '89 days' AND '91 days'"
        " FROM taskflow.api_keys"
    ).fetchone()
    assert row == ("ci", key[:11], hashlib.sha256(key.encode()).digest(), ["enqueue", "read"], ["mail"], True)


def test_the_list_shows_every_key_but_no_key(keys: Any) -> None:
    made = [keys("create", name, "--scope", "admin").stdout.strip() for name in ("one", "two")]
    keys("revoke", "1")

    [header, row] = keys("list").stdout.splitlines()
    everything = keys("list", "--all", "--json").stdout

    assert header.split()[:3] == ["id", "name", "prefix"]
    assert row.split("\t")[:6] == ["2", "two", made[1][:11], "admin", "all", "active"]
    assert [key["state"] for key in json.loads(everything)["keys"]] == ["revoked", "active"]
    assert not any(key in everything for key in made)


def test_what_is_revoked_is_so_for_good_and_in_the_audit_log(keys: Any, connection: psycopg.Connection[Any]) -> None:
    keys("create", "one", "--scope", "read")
    first = keys("revoke", "1")
    revoked_at = connection.execute("SELECT revoked_at FROM taskflow.api_keys").fetchone()
    again = keys("revoke", "1")

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert connection.execute("SELECT revoked_at FROM taskflow.api_keys").fetchone() == revoked_at
    log = connection.execute("SELECT action, target, actor LIKE '%(command line)' FROM taskflow.audit_log").fetchall()
    assert log == [("key.create", "1", True), ("key.revoke", "1", True), ("key.revoke", "1", True)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["revoke", "7"], 3, "There is no API key '7'"),
        (["revoke", "x"], 2, "ids are numbers"),
        (["create", "n"], 2, "--scope"),
        (["create", "n", "--scope", "root"], 2, "root"),
        (["create", "", "--scope", "read"], 2, "at least 1 character"),
        (["create", "n", "--scope", "read", "--expires", "soon"], 2, "1h30m"),
        (["create", "n", "--scope", "read", "--queue", "a b"], 2, "name of a queue"),
        (["create", "n", "--scope", "admin", "--queue", "a"], 2, "concerns all queues"),
    ],
)
def test_what_cannot_be_done_is_said(keys: Any, arguments: list[str], code: int, words: str) -> None:
    result = keys(*arguments)

    assert result.exit_code == code
    assert words in result.output


def test_without_a_database_it_says_so() -> None:
    result = CliRunner().invoke(main, ["keys", "list"])

    assert (result.exit_code, "DATABASE_URL: is not set" in result.output) == (2, True)
