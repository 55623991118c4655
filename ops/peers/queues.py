"""The queues that taskflow is compared with: what is installed for each, and how it is driven."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROGRAMS = Path(__file__).resolve().parent
INSTALLED = PROGRAMS.parents[1] / ".taskflow" / "peers"
NODE_MODULES, ENVIRONMENT = INSTALLED / "node_modules", INSTALLED / "python"
NODE = "node@22"  # pg-boss needs 22, whatever is on the PATH


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue in PostgreSQL. Its program knows `install`, `fill N` and `work`; the database is in PGHOST and its like.

    left: SQL that counts the jobs that are not done yet.
    at_most: how many jobs it is given, for those that would take minutes.
    """

    name: str
    packages: Sequence[str]
    program: str
    left: str
    at_most: int = 1_000_000

    @property
    def is_javascript(self) -> bool:
        return self.program.endswith(".mjs")

    @property
    def missing(self) -> str | None:
        """What has to be installed on this machine before it can be measured."""
        return "npm" if self.is_javascript and shutil.which("npm") is None else None

    def install(self) -> None:
        """Get its packages from PyPI or npm, the newest ones."""
        if self.is_javascript:
            INSTALLED.mkdir(parents=True, exist_ok=True)
            newest = [f"{package}@latest" for package in self.packages]  # not the newest for the node of the PATH
            _run("npm", "install", "--prefix", INSTALLED, "--no-fund", "--no-audit", NODE, *newest)
            # A module looks for its imports beside itself.
            shutil.copy(PROGRAMS / self.program, INSTALLED)
        else:
            _python_environment()
            _run(ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "--quiet", "--upgrade", *self.packages)

    def command(self, *arguments: str) -> list[str]:
        if self.is_javascript:
            return [str(NODE_MODULES / "node" / "bin" / "node"), str(INSTALLED / self.program), *arguments]
        return [str(ENVIRONMENT / "bin" / "python"), str(PROGRAMS / self.program), *arguments]

    def version(self) -> str:
        package = self.packages[0].partition("[")[0]
        if self.is_javascript:
            described = json.loads((NODE_MODULES / package / "package.json").read_text(encoding="utf-8"))
            return str(described["version"])
        ask = f"from importlib.metadata import version; print(version({package!r}))"
        return _run(ENVIRONMENT / "bin" / "python", "-c", ask).strip()


QUEUES = (
    Queue(
        "pg-boss",
        ["pg-boss"],
        "pg_boss.mjs",
        "SELECT count(*) FROM pgboss.job WHERE name = 'noop' AND state < 'completed'",
    ),
    Queue(
        "graphile-worker",
        ["graphile-worker", "pg"],
        "graphile_worker.mjs",
        "SELECT count(*) FROM graphile_worker._private_jobs",
    ),
    Queue("pgqueuer", ["pgqueuer[asyncpg]"], "pgqueuer_peer.py", "SELECT count(*) FROM pgqueuer"),
    Queue(
        "procrastinate",
        ["procrastinate"],
        "procrastinate_peer.py",
        "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
        at_most=5_000,
    ),
)


@cache
def _python_environment() -> None:
    if not (ENVIRONMENT / "bin" / "python").exists():
        venv.create(ENVIRONMENT, with_pip=True)


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout
