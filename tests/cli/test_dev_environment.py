"""What `taskflow dev` tells its processes about files and exports."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskflow.cli.commands.dev import _environment, _files
from taskflow.cli.dev_database import Database
from taskflow.settings import load


def environment(tmp_path: Path) -> dict[str, str]:
    settings = load()
    return _environment(settings, Database("postgresql:///x", "x"), 8080, (), _files(settings, tmp_path))


def test_files_lie_in_its_own_directory_and_queries_are_allowed(tmp_path: Path) -> None:
    told = environment(tmp_path)
    assert told["TASKFLOW_FILES_ROOT"] == str(tmp_path / "files")
    assert (tmp_path / "files").is_dir()
    assert told["TASKFLOW_EXPORT_QUERIES"] == "true"


def test_what_somebody_has_set_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_FILES_ROOT", "/srv/files")
    monkeypatch.setenv("TASKFLOW_EXPORT_QUERIES", "false")
    told = environment(tmp_path)
    assert (told["TASKFLOW_FILES_ROOT"], told["TASKFLOW_EXPORT_QUERIES"]) == ("/srv/files", "false")
    assert list(tmp_path.iterdir()) == []


def test_what_a_file_says_wins_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taskflow.toml").write_text("export_queries = false\n")
    monkeypatch.chdir(tmp_path)
    assert environment(tmp_path)["TASKFLOW_EXPORT_QUERIES"] == "false"
