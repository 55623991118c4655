"""From a checkout to an installed package: the wheel in an empty environment, and what ops/dev does at first."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import psycopg
import pytest

from tests.forked import UNMEASURED

ROOT = Path(__file__).parents[2]
SHIPPED = ("setup.cfg", "setup.py", "pyproject.toml", "LICENSE", "taskflow", "sql", "migrations", "ops")
PIP = (sys.executable, "-m", "pip")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sources, so that nothing is built or installed into the real ones."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def empty_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `python -m venv` makes, once."""
    directory = tmp_path_factory.mktemp("venv") / ".venv"
    run(sys.executable, "-m", "venv", directory, **UNMEASURED)
    return directory


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_in_an_empty_environment_migrates_and_runs(checkout: Path, tmp_path: Path, empty_dsn: str) -> None:
    run(*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, checkout, **UNMEASURED)
    (wheel,) = tmp_path.glob("taskflow_pg-*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        **{f"taskflow/_sql/{path.relative_to(ROOT / 'sql')}": path for path in (ROOT / "sql").rglob("*.sql")},
        **{f"taskflow/_migrations/{path.name}": path for path in (ROOT / "migrations").glob("*.*")},
        **{f"taskflow/_migrations/versions/{path.name}": path for path in (ROOT / "migrations/versions").glob("*.py")},
        **{str(path.relative_to(ROOT)): path for path in (ROOT / "taskflow").rglob("*.py")},
        **{str(path.relative_to(ROOT)): path for path in (ROOT / "taskflow/cli/project").iterdir()},
    }
    assert sources.keys() <= packed
    assert not [name for name in packed if name.startswith(("tests/", "sql/", "migrations/", "ops/"))]

    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    run(*PIP, "--python", venv / "bin/python", "install", "--quiet", "--no-compile", wheel, **UNMEASURED)
    taskflow = venv / "bin/taskflow"
    assert run(taskflow, "version").startswith("taskflow 0.1.0 (Python ")
    assert "taskflow dev --import tasks" in run(taskflow, "init", tmp_path / "project")
    plugins = "from importlib.metadata import entry_points; print(*(p.value for p in entry_points(group='pytest11')))"
    assert run(venv / "bin/python", "-c", plugins).split().count("taskflow.testing.plugin") == 1
    run(taskflow, "migrate", DATABASE_URL=empty_dsn)
    assert "Nothing is pending" in run(taskflow, "migrate", "status", DATABASE_URL=empty_dsn)
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("SELECT taskflow.enqueue('echo', '{}')")
        assert connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone() == (1,)


def prepare(checkout: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run ops/prepare.py in `checkout`, with the Python statements `before` in front."""
    start = "import runpy, sys\nsys.argv[1:] = ['embedded']\nrunpy.run_path('ops/prepare.py', run_name='__main__')"
    program = f"{before}\n{start}"
    environment = {**os.environ, **UNMEASURED}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, env=environment)


def test_without_the_venv_module_ops_dev_says_what_to_install(checkout: Path) -> None:
    done = prepare(checkout, "import importlib.util\nimportlib.util.find_spec = lambda name: None")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "apt install python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_checkout_that_cannot_be_written_to_is_one_clear_line(checkout: Path) -> None:
    (checkout / ".venv").write_text("in the way, also of root")
    done = prepare(checkout)
    assert done.returncode == 1
    assert done.stderr == f"error: cannot write to {checkout / '.venv'}: File exists\n"


def test_a_failing_pip_is_told_and_tried_again_at_the_next_start(checkout: Path, empty_venv: Path) -> None:
    shutil.copytree(empty_venv, checkout / ".venv", symlinks=True)
    (checkout / "pyproject.toml").write_text("what pip cannot read")
    for _ in range(2):
        done = prepare(checkout)
        assert done.returncode == 1
        assert "error: pip could not install taskflow" in done.stderr


def test_what_is_installed_already_is_not_installed_again(checkout: Path, empty_venv: Path) -> None:
    shutil.copytree(empty_venv, checkout / ".venv", symlinks=True)
    begin = "import subprocess\nsubprocess.call = lambda command, **_: print(*command) or 0"
    first = prepare(checkout, begin)
    assert "pip install" in first.stdout, first.stderr
    assert prepare(checkout, begin).stdout == ""
    (checkout / "setup.cfg").write_text((checkout / "setup.cfg").read_text() + "\n# changed\n")
    assert "pip install" in prepare(checkout, begin).stdout


def test_ops_python_refuses_a_python_that_is_too_old_or_broken(checkout: Path, tmp_path: Path) -> None:
    found = subprocess.run([checkout / "ops/python"], capture_output=True, text=True, check=True).stdout.strip()
    version = run(found, "-c", "import sys; print(sys.version_info >= (3, 11))")
    assert version == "True\n"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin/python3").chmod(0o755)
    other = subprocess.run(
        [checkout / "ops/python"], capture_output=True, text=True, check=False, env={"PATH": str(tmp_path / "bin")}
    )
    assert str(tmp_path) not in other.stdout
    assert other.returncode == 0 or other.stderr.startswith("error: taskflow needs Python 3.11")
