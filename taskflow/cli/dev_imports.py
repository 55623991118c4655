"""Whether the modules of `taskflow dev` can be imported, tried before it is said to run: by a process of its own, since
they may start threads, and want the environment of a worker."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

import click

from taskflow.cli.failures import Refusal, failed
from taskflow.errors import SettingsError, TaskflowError
from taskflow.processes import spawn
from taskflow.settings import load

VARIABLE, FLAG = "TASKFLOW_IMPORTS", "--import"


def try_imports(environment: dict[str, str], by_flag: Sequence[str]) -> None:
    """Import what the environment names, of which `by_flag` was given as --import.

    Where that cannot be done the process says why, and `click.exceptions.Exit` is raised with its code.
    """
    process = spawn([sys.executable, "-m", __name__, *by_flag], environment=environment)
    try:
        code = process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and what a module has started
        process.wait()
    if code:
        raise click.exceptions.Exit(abs(code))


def _try(by_flag: Sequence[str]) -> int:
    from taskflow.worker.imports import import_handlers  # all of a worker comes along

    try:
        import_handlers(load().imports)
    except TaskflowError as error:
        shown = failed(_named(error, by_flag) if isinstance(error, SettingsError) else error)
        shown.show()
        return shown.exit_code
    return 0


def _named(error: SettingsError, by_flag: Sequence[str]) -> TaskflowError:
    """The same, with the flag in place of the variable where it was the flag."""
    problems = list(error.problems)
    for place, problem in enumerate(problems):
        if any(problem.startswith(f"{VARIABLE}: {module} ") for module in by_flag):
            problems[place] = problem.replace(VARIABLE, FLAG, 1)
    if problems == list(error.problems):
        return error
    return Refusal("settings", problems, f"Correct {FLAG}, or start taskflow in the directory of the module.")


if __name__ == "__main__":
    code = _try(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # whatever threads the modules have started
