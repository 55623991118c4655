"""`--config FILE`, for the commands that have it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(command: Command) -> Command:
    """Adds the option to a command. The file is named by the variable from then on, which processes that the command
    starts inherit."""
    return click.option(
        "--config",
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_choose,
        help="Read settings from this file (TASKFLOW_CONFIG). [default: ./taskflow.toml, if there is one]",
    )(command)


def _choose(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    from taskflow.settings.sources import FILE_VARIABLE  # pydantic comes along, and --help needs none

    before = os.environ.get(FILE_VARIABLE)
    os.environ[FILE_VARIABLE] = str(Path(value).absolute())

    def restore() -> None:
        if before is None:
            os.environ.pop(FILE_VARIABLE, None)
        else:
            os.environ[FILE_VARIABLE] = before

    context.call_on_close(restore)
