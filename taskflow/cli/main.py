"""`taskflow`: finds its commands by looking into this package, and turns errors into one line and an exit code.

Exit codes: 0 done, 1 taskflow said no, 2 wrong usage or settings, 5 PostgreSQL cannot be reached, 130 interrupted.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Any

import click

from taskflow import cli
from taskflow.errors import DatabaseUnavailable, SettingsError, TaskflowError

EXIT_FAILED, EXIT_USAGE, EXIT_UNAVAILABLE = 1, 2, 5


class Commands(click.Group):
    """A group whose commands are the modules beside it.

    A module is imported only when its command is asked for, so that `taskflow version` does not load Flask.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for name in _module_names() if self.get_command(ctx, name) is not None)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _module_names():
            return None
        module = importlib.import_module(f"{cli.__name__}.{name.replace('-', '_')}")
        command = getattr(module, "command", None)
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "'taskflow --help' lists all."
            ctx.fail(f"There is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TaskflowError as error:
            for problem in _problems(error):
                click.echo(f"error: {problem}", err=True)
            ctx.exit(_exit_code(error))


def _problems(error: TaskflowError) -> tuple[str, ...]:
    return error.problems if isinstance(error, SettingsError) else (str(error) or type(error).__name__,)


def _exit_code(error: TaskflowError) -> int:
    match error:
        case SettingsError():
            return EXIT_USAGE
        case DatabaseUnavailable():
            return EXIT_UNAVAILABLE
        case _:
            return EXIT_FAILED


def _module_names() -> frozenset[str]:
    """The names of the modules beside this one, spelled as commands are (`held-snapshot`, not `held_snapshot`)."""
    return frozenset(module.name.replace("_", "-") for module in pkgutil.iter_modules(cli.__path__))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="taskflow-pg", prog_name="taskflow")
def main() -> None:
    """A Postgres-native task queue: one database is the queue, the schedule and the audit trail.

    The database is named by DATABASE_URL; every other setting is an environment variable TASKFLOW_<NAME>.
    """
