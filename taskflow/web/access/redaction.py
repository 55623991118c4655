"""Secrets are not shown: values under keys whose names look like one are replaced in answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

REDACTED = "[redacted]"
TOO_DEEP = "[nested too deeply to be shown]"
MAX_DEPTH = 200


class Redaction:
    """Replaces values by the names of their keys.

    A key matches where it contains one of `names`, whatever its case and separators: `api_key` matches `apiKey` and
    `X-Api-Key-2`. Better one number too many hidden than one password shown.
    """

    def __init__(self, names: Iterable[str]) -> None:
        squashed = [squash(name) for name in names]
        self._pattern = re.compile("|".join(re.escape(name) for name in squashed if name) or r"(?!)")
        self._known: dict[str, bool] = {}

    def __call__(self, value: Any) -> Any:
        """`value` with every secret in it replaced; the original is left as it is."""
        return self._redacted(value, 0)

    def hides(self, path: Iterable[str], values: Iterable[str] = ()) -> bool:
        """Whether what lies at `path` is hidden, or something inside of one of `values`: JSON, or any other text."""
        return any(map(self._is_secret, path)) or any(map(self._hides_part_of, values))

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

    def _is_secret(self, key: str) -> bool:
        known = self._known.get(key)
        if known is None:
            known = self._pattern.search(squash(key)) is not None
            if len(self._known) < 10_000 and len(key) < 200:  # keys come from clients: bounded
                self._known[key] = known
        return known


def squash(name: str) -> str:
    """`name` in lower case without separators."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
