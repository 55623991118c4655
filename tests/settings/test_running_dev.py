"""Beside a running `taskflow dev` nothing has to be set: its server and its database are found."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taskflow.cli import api
from taskflow.cli.connected import opened
from taskflow.settings import load, load_beside_nothing, resolve

URL, DATABASE = "http://127.0.0.1:8081", "postgresql://postgres@/taskflow?host=/tmp/sockets"


class Announcement:
    """What a `taskflow dev` in this directory has written, by default by this process and ready."""

    def write(self, **changes: Any) -> None:
        said = {"pid": os.getpid(), "url": URL, "ready": True, "database_url": DATABASE, **changes}
        self.write_text(json.dumps({name: value for name, value in said.items() if value is not ...}))

    def write_text(self, text: str) -> None:
        Path(".taskflow/running.json").write_text(text)


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The lock of the directory, held as a running `taskflow dev` holds it."""
    monkeypatch.chdir(tmp_path)
    Path(".taskflow").mkdir()
    with open(".taskflow/lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


@pytest.fixture
def dev(lock: int) -> Announcement:
    return Announcement()


def found() -> tuple[str, str]:
    settings = load()
    return settings.url, settings.database_url


def test_its_server_and_database_are_taken_where_nothing_is_set(dev: Announcement) -> None:
    assert found() == ("", "")
    dev.write()
    assert found() == (URL, DATABASE)
    assert {(place.source, place.where) for place in resolve().found.values()} == {
        ("dev", "taskflow dev (.taskflow/running.json)")
    }
    settings = load_beside_nothing()
    assert (settings.url, settings.database_url) == ("", "")


@pytest.mark.parametrize("variable", ["TASKFLOW_URL", "TASKFLOW_DATABASE_URL", "DATABASE_URL"])
def test_what_somebody_sets_is_not_mixed_with_it(
    dev: Announcement, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    dev.write()
    is_server = variable == "TASKFLOW_URL"
    monkeypatch.setenv(variable, "http://elsewhere" if is_server else "postgresql://elsewhere/db?sslmode=disable")
    url, database = found()
    assert (bool(url), bool(database)) == (is_server, not is_server)
    assert "elsewhere" in url + database


def test_a_flag_and_a_file_win_as_well(dev: Announcement) -> None:
    dev.write()
    assert load(url="http://flag").database_url == ""
    settings = load(url="")  # the database and not the server, as --url '' says
    assert (settings.url, settings.database_url) == ("", DATABASE)
    Path("taskflow.toml").write_text('url = "http://file"\n')
    assert found() == ("http://file", "")


def test_a_database_that_is_not_its_own_is_not_passed_on(dev: Announcement) -> None:
    dev.write(database_url="")
    assert found() == (URL, "")


@pytest.mark.parametrize("broken", ["", "{", "[]", "null", '"text"', '{"pid": "x", "ready": true}', "\x00", "[["])
def test_what_cannot_be_read_is_no_dev(dev: Announcement, broken: str) -> None:
    dev.write_text(broken * 100_000 if broken == "[[" else broken)  # deeper than a parser goes
    assert found() == ("", "")


@pytest.mark.parametrize("change", [{"ready": False}, {"ready": ...}, {"url": ...}])
def test_one_that_only_starts_is_none_yet(dev: Announcement, change: dict[str, Any]) -> None:
    dev.write(**change)
    assert found() == ("", "")


def test_one_that_was_killed_is_none_whoever_has_its_process_id_now(dev: Announcement, lock: int) -> None:
    dev.write()
    assert found() == (URL, DATABASE)
    fcntl.flock(lock, fcntl.LOCK_UN)
    assert found() == ("", "")


@pytest.mark.parametrize("url", ["http://10.0.0.1:8081", "https://queue.example", "127.0.0.1:8081", 7])
def test_a_server_elsewhere_is_none(dev: Announcement, url: Any) -> None:
    dev.write(url=url)
    assert found() == ("", "")


def test_one_that_somebody_else_has_written_is_not_believed(dev: Announcement, monkeypatch: pytest.MonkeyPatch) -> None:
    dev.write()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    if os.getuid() == 0:
        os.chown(".taskflow/running.json", 4712, -1)
    assert found() == ("", "")


def test_the_key_of_another_server_is_not_shown_to_it(dev: Announcement, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[str, str]] = []
    monkeypatch.setattr(api, "over_http", lambda url, key: shown.append((url, key)) or closing())
    monkeypatch.setenv("TASKFLOW_KEY", "tf_of_the_production")
    dev.write()
    with opened(None, None, ("tasks",)):
        pass
    with opened("http://queue.example", None, ("tasks",)):
        pass
    assert shown == [(URL, ""), ("http://queue.example", "tf_of_the_production")]


def closing() -> Any:
    """What can be closed."""
    return SimpleNamespace(close=lambda: None)
