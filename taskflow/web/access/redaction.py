"""Secrets are not shown: values under keys whose names look like one are replaced in answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from taskflow.secret_names import SecretNames

REDACTED = "[redacted]"
TOO_DEEP = "[nested too deeply to be shown]"
MAX_DEPTH = 200


class Redaction:
    """Replaces values by the names of their keys, by the rule of `SecretNames` with these `names`."""

    def __init__(self, names: Iterable[str]) -> None:
        self._is_secret = SecretNames(names).sounds_secret

    def __call__(self, value: Any) -> Any:
        """`value` with every secret in it replaced; the original is left as it is."""
        return self._redacted(value, 0)

    def hides(self, path: Iterable[str], values: Iterable[str] = ()) -> bool:
        """Whether what lies at `path` is hidden, or something inside of one of `values`: JSON, or any other text."""
        return any(map(self._is_secret, path)) or any(map(self._hides_part_of, values))

    def secret_at(self, path: Iterable[str | int]) -> int | None:
        """Where in `path` the first name stands whose value is hidden, with the names inside of it; None: nowhere."""
        return next((at for at, part in enumerate(path) if isinstance(part, str) and self._is_secret(part)), None)

    def mark_in(self, value: Any) -> tuple[str | int, ...] | None:
        """The path to the first mark that stands in `value` where a secret was hidden; None: there is none."""
        todo: list[tuple[Any, tuple[str | int, ...], bool]] = [(value, (), False)]
        while todo:
            item, path, is_secret = todo.pop()
            if is_secret and item == REDACTED:
                return path
            if isinstance(item, dict):
                todo.extend((inner, (*path, key), self._is_secret(key)) for key, inner in reversed(item.items()))
            elif isinstance(item, list):
                todo.extend((inner, (*path, at), False) for at, inner in reversed(list(enumerate(item))))
        return None

    def _hides_part_of(self, text: str) -> bool:
        try:
            value = orjson.loads(text)
        except ValueError:  # what begins like one of PostgreSQL's objects may be one, with a number beyond all others
            return text.lstrip().startswith(("{", "["))
        return bool(self(value) != value)

    def _redacted(self, value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            if depth >= MAX_DEPTH:
                return TOO_DEEP
            return {
                key: REDACTED if self._is_secret(key) else self._redacted(inner, depth + 1)
                for key, inner in value.items()
            }
        if isinstance(value, list):
            return TOO_DEEP if depth >= MAX_DEPTH else [self._redacted(inner, depth + 1) for inner in value]
        return value
