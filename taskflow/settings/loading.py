"""From the sources to the settings: which value wins, and every problem with any of them at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import ValidationError

from taskflow.errors import SettingsError
from taskflow.settings.running_dev import of_running_dev
from taskflow.settings.settings import Settings
from taskflow.settings.sources import Found, Layer, of_environment, of_file, variable

# The settings that commands have a flag for.
FLAGS = {
    **{name: f"--{name.replace('_', '-')}" for name in ("queues", "types", "concurrency", "processes", "worker_id")},
    **{
        name: f"--{name.replace('_', '-')}"
        for name in ("poll_interval", "drain_timeout", "metrics_port", "host", "port")
    },
    "imports": "--import",
    "metrics_host": "--metrics-addr",
    "web_processes": "--processes",
    "web_threads": "--threads",
}


@dataclass(frozen=True, slots=True)
class Resolution:
    """The settings in effect, and for each that is not the default where it was found. `settings` None: there are
    `problems`."""

    settings: Settings | None
    found: Mapping[str, Found]
    problems: tuple[str, ...]


def resolve(
    given: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, *, beside_dev: bool = True
) -> Resolution:
    """Defaults, over them the file, over that the environment, over all what is `given` and not None.

    Where these name neither a server nor a database, those of the `taskflow dev` that runs in this directory are taken,
    unless `beside_dev` is False. A value is never repeated in a problem, since it may be a secret.
    """
    environ = os.environ if environ is None else environ
    fields = Settings.model_fields
    flags = Layer(
        {name: Found(value, "flag", _flag(name)) for name, value in (given or {}).items() if value is not None}
    )
    layers = (of_file(environ, fields), of_environment(environ, fields), flags)
    found: dict[str, Found] = {}
    for layer in layers:
        found |= layer.found
    if beside_dev and not any(found[name].value for name in ("url", "database_url") if name in found):
        found = of_running_dev().found | found
    problems = [problem for layer in layers for problem in layer.problems]
    settings = None
    try:
        settings = Settings(**{name: item.value for name, item in found.items()})
    except ValidationError as error:
        problems += [_problem(item, found) for item in error.errors(include_input=False, include_url=False)]
    return Resolution(None if problems else settings, found, tuple(dict.fromkeys(problems)))


def load(**given: Any) -> Settings:
    """The settings; `given` (flags, arguments of a program) that are not None win over file and environment.

    Raises `SettingsError` with one line a problem.
    """
    return valid(resolve(given))


def load_beside_nothing(**given: Any) -> Settings:
    """The same without regard to a `taskflow dev` in this directory: for itself, and for tests."""
    return valid(resolve(given, beside_dev=False))


@cache
def process_settings() -> Settings:
    """Those that the process was started with, for what would read them too often; its start has checked them."""
    return load()


def valid(resolution: Resolution) -> Settings:
    """Its settings. Raises `SettingsError` with one line a problem."""
    if resolution.settings is None:
        raise SettingsError(resolution.problems)
    return resolution.settings


def _flag(name: str) -> str:
    return FLAGS.get(name, variable(name))


def _problem(item: Any, found: Mapping[str, Found]) -> str:
    name = str(item["loc"][0])
    place = found.get(name)
    message = item["msg"].removeprefix("Input should be ").removeprefix("Value ")
    message = f"must be {message}" if item["msg"].startswith("Input should be ") else message
    match place:
        case Found(source="environment", where=where) if where not in (name.upper(), variable(name)):
            return f"{where}: {message}. It is read as {variable(name)}."
        case Found(source="file", where=where):
            return f"{where}: {name}: {message}"
        case Found(where=where):
            return f"{where}: {message}"
    return f"{variable(name)}: {message}"
