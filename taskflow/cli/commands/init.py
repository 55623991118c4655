"""`taskflow init`: a small project that runs, with a task, its test, and what a deployment needs."""

from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path

import click

from taskflow.errors import TaskflowError
from taskflow.worker.identity import installed_version

# The file here → the file of the project. Those ending in .txt would otherwise be Python of ours.
FILES = {
    "tasks.py.txt": "tasks.py",
    "test_tasks.py.txt": "tests/test_tasks.py",
    "pytest.ini": "pytest.ini",
    "requirements.txt": "requirements.txt",
    "requirements-dev.txt": "requirements-dev.txt",
    "Procfile": "Procfile",
    "env.example": ".env.example",
    "gitignore": ".gitignore",
    "README.md": "README.md",
}


@click.command("init")
@click.argument("directory", default=".", type=click.Path(path_type=Path))
def command(directory: Path) -> None:
    """Make a project in DIRECTORY (default: here) with a task, its test, a Procfile and a README.

    Nothing is overwritten: where a file of that name exists already, nothing at all is written.
    """
    try:
        if present := [name for name in FILES.values() if _exists(directory / name)]:
            raise TaskflowError(
                f"{directory} has {', '.join(present)} already, and nothing is overwritten."
                " Name a new directory: taskflow init NAME"
            )
        for source, name in FILES.items():
            _write(directory / name, _text(source))
    except OSError as error:
        raise TaskflowError(f"Cannot write to {error.filename or directory}: {error.strerror}.") from error
    click.echo("\n".join(["Made:", *(f"  {directory / name}" for name in FILES.values()), "", _next(directory)]))


def _exists(path: Path) -> bool:
    """Also a link that leads nowhere."""
    return path.exists() or path.is_symlink()


def _text(source: str) -> str:
    text = resources.files("taskflow.cli").joinpath("project", source).read_text(encoding="utf-8")
    return text.replace("{version}", _release()) if source == "requirements.txt" else text


def _release() -> str:
    """The version that projects begin with; what is installed from a checkout may have a suffix."""
    return ".".join([*installed_version().partition("+")[0].split("."), "0", "0"][:3])


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)


def _next(directory: Path) -> str:
    commands = ["pip install -r requirements-dev.txt", "pytest", "taskflow dev --import tasks --reload"]
    if directory != Path():
        commands.insert(0, f"cd {shlex.quote(str(directory))}")
    return "\n".join(["Next (README.md has more):", *(f"  {line}" for line in commands)])
