"""The modules that declare handlers, imported by a worker and by each of its processes for handlers."""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from taskflow.errors import HandlersNotImported, SettingsError, TaskflowError
from taskflow.worker.executor import describe

BUILT_IN = "taskflow.handlers"
PACKAGE = Path(__file__).parents[1]


def import_handlers(imports: tuple[str, ...]) -> None:
    """Import the built-in handlers and these modules, which are looked for in the current directory too.

    Raises `SettingsError` for modules that there are not, `HandlersNotImported` for those that raise something
    themselves, and what taskflow has against a declaration.
    """
    sys.path.insert(0, os.getcwd())
    missing, faulty = [], []
    for module in (BUILT_IN, *imports):
        try:
            importlib.import_module(module)
        except TaskflowError:
            raise
        except ModuleNotFoundError as error:
            if error.name is not None and f"{module}.".startswith(f"{error.name}."):
                missing.append(f"TASKFLOW_IMPORTS: {module} cannot be imported ({error}), looked for in {os.getcwd()}")
            else:
                faulty.append(_told(module, error))
        except (Exception, SystemExit) as error:  # noqa: BLE001  (a module may raise anything)
            faulty.append(_told(module, error))
    if missing:
        raise SettingsError([*missing, *faulty])
    if faulty:
        raise HandlersNotImported(faulty)


def _told(module: str, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename is not None and os.path.exists(error.filename):
        return _line(module, f"{type(error).__name__}: {error.msg}", error.filename, error.lineno)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen ")]
    own = [frame for frame in frames if not any(Path(frame.filename).is_relative_to(path) for path in _libraries())]
    last = (own or frames)[-1]
    return _line(module, describe(error), last.filename, last.lineno)


def _line(module: str, what: str, file: str, line: int | None) -> str:
    path = Path(file)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{module} cannot be imported: {what}, at {shown} line {line}"


def _libraries() -> Iterator[Path]:
    """Where Python's modules lie, installed packages, and this one: where a mistake shows, but seldom is."""
    yield PACKAGE
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield Path(sysconfig.get_path(name))
