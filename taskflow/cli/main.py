"""`taskflow`: finds its commands by looking into `commands`, and turns errors into a message and an exit code.

The exit codes and all that errors say are in failure_kinds.py.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import click

from taskflow.cli import commands
from taskflow.cli.failure_kinds import INTERRUPTED
from taskflow.cli.failures import failed
from taskflow.cli.groups import Group, nearest

# What `taskflow --help` shows together; a command that is in none of these comes last.
SECTIONS = {
    "Run it": ("dev", "server", "worker", "scheduler"),
    "Work with it": ("enqueue", "tasks", "queues", "schedules", "workers", "dlq"),
    "Look at it": ("stats", "top", "doctor", "maintenance"),
    "Set it up": ("init", "migrate", "grants", "keys", "config"),
    "More": ("bench", "openapi", "completion", "version"),
}


class Commands(Group):
    """A group whose commands are the modules of a package.

    A module is imported only when its command is asked for, so that `taskflow version` does not load Flask.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_module_names())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _module_names():
            return None
        command: click.Command = importlib.import_module(f"{commands.__name__}.{name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in _module_names():
            hint = nearest(name, self.list_commands(ctx)) or "'taskflow --help' lists all."
            ctx.fail(f"There is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands in their sections."""
        left = {name: command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name))}
        sections = [(title, [name for name in names if name in left]) for title, names in SECTIONS.items()]
        placed = {name for _, names in sections for name in names}
        sections.append(("Further commands", [name for name in left if name not in placed]))
        limit = formatter.width - 6 - max(map(len, left))
        for title, names in sections:
            if names:
                with formatter.section(title):
                    formatter.write_dl([(name, left[name].get_short_help_str(limit)) for name in names])

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(info_name, args, *rest, **extra)
        except click.exceptions.NoArgsIsHelpError:  # shown, it is the help
            raise
        except click.ClickException as error:
            raise failed(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError, BrokenPipeError):
            raise
        except (KeyboardInterrupt, click.Abort):
            click.echo("\ninterrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except Exception as error:
            debug = bool(ctx.params.get("debug"))
            raise failed(error, debug=debug) from error


def _module_names() -> frozenset[str]:
    """The names of the commands: those of the modules, with - instead of _."""
    return frozenset(module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__))


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="taskflow-pg", prog_name="taskflow")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """A Postgres-native task queue: one database is the queue, the schedule and the audit trail.

    The database is named by DATABASE_URL; every other setting is an environment variable TASKFLOW_<NAME>. With
    TASKFLOW_URL and TASKFLOW_KEY, or --url and --key, commands speak to a server instead.
    """
