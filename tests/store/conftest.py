"""What tests of migrations need: a checkout whose SQL can be changed, and a look at who waits."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from taskflow.store import resources


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Wait until a condition holds, and fail if it does not within 20 s."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "what was waited for did not happen"
            time.sleep(0.005)

    return wait


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of sql/ and migrations/ from which this test migrates; returns the directory that holds the two."""
    for name in ("sql", "migrations"):
        shutil.copytree(resources._directory(name), tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "taskflow")
    return tmp_path
