"""Which names sound like a secret: of keys in payloads, headers, arguments and fields of the log."""

from __future__ import annotations

import re
from collections.abc import Iterable

SECRET_NAMES = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "api_key",
    "access_key",
    "private_key",
    "admin_key",
    "credential",
    "cookie",
)


class SecretNames:
    """The one rule: a name sounds secret where it contains one of `parts`, whatever its case and separators.

    `api_key` is in `apiKey` and `X-Api-Key-2`. Better one number too many hidden than one password shown.
    """

    def __init__(self, parts: Iterable[str] = SECRET_NAMES) -> None:
        squashed = [_squashed(part) for part in parts]
        self._pattern = re.compile("|".join(re.escape(part) for part in squashed if part) or r"(?!)")
        self._known: dict[str, bool] = {}

    def sounds_secret(self, name: str) -> bool:
        """Whether what has this name is to be hidden."""
        known = self._known.get(name)
        if known is None:
            known = self._pattern.search(_squashed(name)) is not None
            if len(self._known) < 10_000 and len(name) < 200:  # names come from clients: bounded
                self._known[name] = known
        return known


def _squashed(name: str) -> str:
    """`name` in lower case without separators; letters of any alphabet stay, for operators may name theirs."""
    return re.sub(r"[\W_]", "", name.lower())
