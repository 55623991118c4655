"""Where values come from: the file and the environment, each value with the place where it was found."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from taskflow.settings.aliases import ALIASES

FILE_NAME, FILE_VARIABLE = "taskflow.toml", "TASKFLOW_CONFIG"
PREFIX = "TASKFLOW_"
MAX_BYTES = 1024 * 1024
# Kubernetes describes each service to all containers: one named "taskflow" gives TASKFLOW_PORT=tcp://10.0.0.1:8080.
SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://.*")


@dataclass(frozen=True, slots=True)
class Found:
    """A value and where it is from: `where` names the flag, the variable, or the file and its line."""

    value: Any
    source: Literal["flag", "environment", "file", "dev"]
    where: str


@dataclass(slots=True)
class Layer:
    """What one source says: setting → value, and what is wrong with it."""

    found: dict[str, Found] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def of_environment(environ: Mapping[str, str], names: Collection[str]) -> Layer:
    """The variables of the settings `names`, then the aliases; an empty variable is as good as none."""
    layer = Layer()
    for name in names:
        text = environ.get(variable(name))
        if text and not SERVICE_LINK.fullmatch(text):
            layer.found[name] = Found(text, "environment", variable(name))
    for alias in ALIASES:
        text = environ.get(alias.variable)
        wanted = [name for name in alias.settings if name not in layer.found]
        if not text or not wanted:
            continue
        try:
            values = alias.values(text)
        except ValueError as error:
            layer.problems.append(f"{alias.variable}: {error}")
            continue
        layer.found |= {name: Found(values[name], "environment", alias.variable) for name in wanted}
    return layer


def of_file(environ: Mapping[str, str], fields: Mapping[str, Any]) -> Layer:
    """The file that TASKFLOW_CONFIG names, or `taskflow.toml` in the current directory if there is one.

    `fields` are the settings by name, each with its type as `annotation`.
    """
    named = environ.get(FILE_VARIABLE)
    path = Path(named or FILE_NAME)
    if not named and not os.path.isfile(path):
        return Layer()
    layer = Layer()
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode()
        if len(text) > MAX_BYTES:
            raise ValueError(f"has more than {MAX_BYTES:,} bytes: that is no file of settings")
        table = tomllib.loads(text)
    except OSError as error:
        origin = f" ({FILE_VARIABLE})" if named else ""
        layer.problems.append(f"{path}{origin}: cannot be read: {error.strerror or error}")
        return layer
    except ValueError as error:  # of TOML and of UTF-8 as well
        layer.problems.append(f"{path}: is no TOML file: {error}")
        return layer
    for key, value in table.items():
        where = _place(path, text, key)
        if key not in fields:
            layer.problems.append(f"{where}: there is no setting {key!r}{_meant(key, value, fields)}")
        elif isinstance(value, bool) and fields[key].annotation is not bool:
            layer.problems.append(f"{where}: {key} is no switch, and true or false no value of it")
        else:
            layer.found[key] = Found(value, "file", where)
    return layer


def near(name: str, names: Collection[str]) -> str | None:
    """The one of `names` that was probably meant."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.7)
    return found[0] if found else None


def _meant(key: str, value: Any, names: Collection[str]) -> str:
    if isinstance(value, dict):
        return "; settings stand at the top of the file, below no [table]"
    word = key.lower().replace("-", "_")
    for alias in ALIASES:
        if key.upper() == alias.variable:
            return f"; the key for {alias.variable} is {' and '.join(map(repr, alias.settings))}"
    word = word.removeprefix(PREFIX.lower())
    meant = word if word in names else near(word, names)
    return f"; did you mean {meant!r}?" if meant else "; `taskflow config show` lists all"


def _place(path: Path, text: str, key: str) -> str:
    """The file with the line of a key, which the parser does not tell; without it where several lines look like it."""
    pattern = re.compile(rf"^\s*(?:\[\s*)?(['\"]?){re.escape(key)}\1\s*[=.\]]")
    lines = [number for number, line in enumerate(text.split("\n"), 1) if pattern.match(line)]
    return f"{path}:{lines[0]}" if len(lines) == 1 else str(path)
