"""Programs that no wheel has: real counterparts for the tests, installed from Debian where that can be done."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"


@cache
def debian_program(name: str, package: str) -> str:
    """Where the program is, installed if need be; skips the test where it neither is nor can be."""
    if found := shutil.which(name, path=PATH):
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(f"there is no {name} here, and only root on Debian could install it: apt-get install {package}")
    with (Path(tempfile.gettempdir()) / "taskflow-tests-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # apt-get does not wait for the one of another test process
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", package]):
            done = subprocess.run(
                ["apt-get", *arguments],
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                capture_output=True,
                text=True,
            )
            if done.returncode != 0:
                pytest.skip(f"{package} cannot be installed: {done.stderr.strip()[-300:]}")
    found = shutil.which(name, path=PATH)
    assert found is not None
    return found
