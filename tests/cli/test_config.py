"""`taskflow config`: what is in effect, from where, and everything that is wrong; never a secret."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taskflow.cli.main import main
from tests.settings.test_running_dev import Announcement, dev, lock

__all__ = ["dev", "lock"]  # fixtures
URL = "postgresql://anna:s3cret@db.example.com/app"


@pytest.fixture(autouse=True)
def _no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, ["config", *arguments], env=environment)


def test_each_setting_is_shown_with_its_origin_and_without_secrets(tmp_path: Path) -> None:
    Path("taskflow.toml").write_text('concurrency = 20\nadmin_key = "0123456789"\n')

    result = config("show", DATABASE_URL=URL, TASKFLOW_POLL_INTERVAL="500ms")

    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["setting", "from", "value"]
    assert ["database_url", "DATABASE_URL", "postgresql://anna:***@db.example.com/app?sslmode=require"] in lines
    assert ["concurrency", "taskflow.toml:1", "20"] in lines
    assert ["admin_key", "taskflow.toml:2", "***"] in lines
    assert ["poll_interval", "TASKFLOW_POLL_INTERVAL", "0.5"] in lines
    assert ["processes", "default", "1"] in lines
    assert "s3cret" not in result.output
    assert "0123456789" not in result.output


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:sek s3cret@h/x",
        "postgresql://u:sek\ts3cret@h/x",
        "u:s3cret@h/x",
        "host=h password=sek s3cret",
        "host=h password=sek'\"s3cret",
        "postgresql://u:100%s3cret@h/x",
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "TASKFLOW_EXPORT_DATABASE_URL"])
def test_of_a_connection_string_whose_password_cannot_be_found_nothing_is_shown(url: str, name: str) -> None:
    result = config("show", "--json", "--changed", **{name: url})
    assert [item["value"] for item in json.loads(result.stdout)["settings"].values()] == ["***"]
    assert "s3cret" not in result.output


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("host=/tmp user=u password='very s3cret'", "host=/tmp user=u password=***"),
        ("postgresql:///x?user=u&password=s3cret", "postgresql:///x?user=u&password=***"),
        ("postgresql://u:p%40s3cret@h/x", "postgresql://u:***@h/x"),
        ("postgresql://postgres:postgres@h/x", "postgresql://postgres:***@h/x"),
        ("postgresql://u@h/x", "postgresql://u@h/x"),
    ],
)
def test_of_one_that_can_be_read_the_password_alone_is_hidden(url: str, shown: str) -> None:
    result = config("show", "--json", "--changed", DATABASE_URL=url)
    assert json.loads(result.stdout)["settings"]["database_url"]["value"] == shown


def test_programs_get_json_and_what_was_not_understood() -> None:
    result = config("show", "--json", "--changed", DATABASE_URL=URL, TASKFLOW_PROT="1", REDIS_ADDR="h:1")
    seen = json.loads(result.stdout)
    assert seen["settings"] == {
        "database_url": {
            "value": "postgresql://anna:***@db.example.com/app?sslmode=require",
            "source": "environment",
            "where": "DATABASE_URL",
        }
    }
    assert [(notice["level"], notice["variables"]) for notice in seen["notices"]] == [
        ("warning", ["TASKFLOW_PROT"]), ("info", ["REDIS_ADDR"]),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["show", "check"])
def test_what_is_wrong_is_listed_whole_and_ends_with_2(name: str) -> None:
    result = config(name, DATABASE_URL=URL, TASKFLOW_AUTH="x", WORKER_COUNT="many")
    assert result.exit_code == 2
    assert "TASKFLOW_AUTH: " in result.stderr
    assert "WORKER_COUNT: " in result.stderr


def test_check_knows_a_connection_string_that_none_is_and_one_that_is_missing() -> None:
    right, wrong, none = (
        config("check", DATABASE_URL=URL),
        config("check", DATABASE_URL="s3cret://x y"),
        config("check"),
    )
    assert (right.exit_code, right.stdout) == (0, "The settings are right.\n")
    assert (wrong.exit_code, none.exit_code) == (2, 2)
    assert "DATABASE_URL: not a PostgreSQL connection string" in wrong.stderr
    assert "DATABASE_URL: is not set" in none.stderr
    assert "s3cret" not in wrong.output


@pytest.mark.parametrize("command", ["config check", "worker", "scheduler", "server", "migrate"])
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("s3cret://x y", "not a PostgreSQL connection string; it looks like postgresql://"),
        ("postgresql://u:s3cret%@h/x", "not a PostgreSQL connection string; it looks like postgresql://"),
        ("postgresql://u:s3cret@h:5432,h:port/x", "the port is no number from 1 to 65535"),
        ("postgresql://u:s3cret@h:65536/x", "the port is no number from 1 to 65535"),
        ("postgresql://u:s3/cret@h/x", "has a / within the user or the password: write that one as %2F"),
    ],
)
def test_no_command_tries_a_connection_string_that_cannot_be_read(command: str, url: str, problem: str) -> None:
    result = CliRunner().invoke(main, command.split(), env={"DATABASE_URL": url})
    assert result.exit_code == 2
    assert f"DATABASE_URL: {problem}" in result.output
    assert "s3" not in result.output


@pytest.mark.parametrize(
    "arguments", [("config", "check"), ("worker",), ("server",), ("migrate",), ("stats", "--url", "")]
)
def test_a_missing_database_is_told_with_why_that_of_a_dev_was_not_taken(
    arguments: tuple[str, ...], dev: Announcement
) -> None:
    def said(**environment: str) -> str:
        result = CliRunner().invoke(main, arguments, env=environment)
        assert result.exit_code == 2
        assert "DATABASE_URL: is not set" in result.stderr
        return result.stderr

    none_runs = "(And no `taskflow dev` runs in this directory.)"
    dev.write(database_url="")  # it was started with a DATABASE_URL
    assert none_runs not in said()
    assert "(The `taskflow dev` of this directory was given one of yours: name the same here.)" in said()
    dev.write()
    elsewhere = said(TASKFLOW_URL="http://127.0.0.1:9")
    assert none_runs not in elsewhere
    assert (
        "(TASKFLOW_URL names a server, so no `taskflow dev` of this directory is asked for its database: unset"
        in elsewhere
    )
    Path("taskflow.toml").write_text('url = "http://127.0.0.1:9"\n')
    assert "(taskflow.toml:1 names a server" in said()
    Path("taskflow.toml").unlink()
    Path(".taskflow/running.json").unlink()
    assert none_runs in said()


def test_the_flag_names_a_file_for_this_command_alone(tmp_path: Path) -> None:
    (tmp_path / "here.toml").write_text("port = 81\n")
    result = config("show", "--changed", "--config", "here.toml")
    assert f"port\t{tmp_path / 'here.toml'}:1\t81" in result.stdout
    assert "TASKFLOW_CONFIG" not in os.environ
    missing = config("show", "--config", "nowhere.toml")
    assert missing.exit_code == 2
    assert "nowhere.toml (TASKFLOW_CONFIG): cannot be read" in missing.stderr
