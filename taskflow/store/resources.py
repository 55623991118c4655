"""Where the SQL and the migrations are: inside the package once installed, at the root of a checkout before that."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
REVISION = re.compile(r"([0-9]{4,})_\w+\.py")


def _directory(name: str) -> Path:
    installed = PACKAGE / f"_{name}"
    return installed if installed.is_dir() else PACKAGE.parent / name


def sql_paths() -> list[str]:
    """Every file of sql/, as its path below it (``functions/enqueue.sql``), sorted."""
    root = _directory("sql")
    return sorted(path.relative_to(root).as_posix() for path in root.glob("*/*.sql"))


def sql_files() -> dict[str, str]:
    """Path → text of every file of sql/, sorted by path."""
    root = _directory("sql")
    return {path: (root / path).read_text("utf-8") for path in sql_paths()}


@cache
def query(name: str) -> str:
    """The text of ``sql/queries/<name>.sql``. Raises FileNotFoundError if there is none."""
    return (_directory("sql") / "queries" / f"{name}.sql").read_text("utf-8")


def migrations_path() -> Path:
    """The directory of alembic's environment."""
    return _directory("migrations")


def revisions() -> tuple[str, ...]:
    """The ids of all migrations, oldest first.

    They are numbers, each the beginning of its file's name, so that a process that only wants to know whether the
    database fits need not import alembic.
    """
    names = (REVISION.fullmatch(path.name) for path in (migrations_path() / "versions").iterdir())
    return tuple(sorted(name[1] for name in names if name))


def index_statements() -> list[str]:
    """The statements of ``sql/indexes.sql``, which make the indexes of the schema, without their semicolons."""
    lines = (_directory("sql") / "indexes.sql").read_text("utf-8").splitlines()
    return [line.removesuffix(";") for line in lines if not line.startswith("--")]
