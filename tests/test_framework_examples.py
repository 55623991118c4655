"""The programs of docs/examples pass their own tests, with the plugin for pytest, against a real database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskflow.cluster import Cluster
from tests.forked import UNMEASURED

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs" / "examples"


@pytest.mark.slow
def test_what_the_examples_promise_holds(cluster: Cluster) -> None:
    environment = {**os.environ, **UNMEASURED, "PYTHONPATH": str(ROOT), "TASKFLOW_TEST_DATABASE_URL": cluster.dsn()}
    own_settings = ["-c", os.devnull, "--rootdir", str(EXAMPLES), "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "taskflow.testing.plugin", *own_settings, str(EXAMPLES)],
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tests = sum(path.read_text().count("\ndef test_") for path in EXAMPLES.rglob("test_*.py"))
    assert f"{tests} passed" in done.stdout
