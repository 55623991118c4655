"""The directory of a server's counters is gone with it, also when it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskflow.cli.server_metrics import PREFIX, VARIABLE, remove_abandoned, shared_metrics


@pytest.fixture(autouse=True)
def _no_directory_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def found(parent: Path) -> list[Path]:
    return list(parent.glob(f"{PREFIX}*"))


def test_the_directory_lasts_as_long_as_its_server(tmp_path: Path) -> None:
    with shared_metrics(tmp_path):
        assert found(tmp_path) == [Path(os.environ[VARIABLE])]
    assert found(tmp_path) == []
    assert VARIABLE not in os.environ


def test_a_process_forked_by_the_server_leaves_it_alone(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from taskflow.cli.server_metrics import shared_metrics\n"
        "child = None\n"
        "with shared_metrics(pathlib.Path(sys.argv[1])):\n"
        "    child = os.fork()\n"
        "    if child: os.waitpid(child, 0); print(os.path.isdir(os.environ['PROMETHEUS_MULTIPROC_DIR']))\n"
        "if not child: os._exit(0)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)

    assert ran.stdout == "True\n"
    assert found(tmp_path) == []


def test_one_that_the_operator_has_set_is_used_and_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))

    with shared_metrics():
        assert os.environ[VARIABLE] == str(tmp_path)
    assert tmp_path.is_dir()


def test_what_a_killed_server_left_is_removed_and_what_is_in_use_stays(tmp_path: Path) -> None:
    abandoned = tmp_path / f"{PREFIX}abandoned"
    abandoned.mkdir()
    (abandoned / "counter_1.db").write_bytes(b"x")
    with shared_metrics(tmp_path):
        assert abandoned.is_dir()  # too young to tell

        remove_abandoned(tmp_path, min_age_seconds=0)

        assert found(tmp_path) == [Path(os.environ[VARIABLE])]
