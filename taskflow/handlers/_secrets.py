"""What is secret in a request or a login, and how to keep it out of texts that are stored and shown."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import httpx

from taskflow.secret_names import SECRET_NAMES, SecretNames

BLOT = "[redacted]"
SHORTEST = 4  # blotting out each "1" of an answer would protect nothing and leave nothing to read
# Headers only: in a payload "auth" would hide every author, and a signature may be what stands below a mail.
_sounds_secret = SecretNames((*SECRET_NAMES, "auth", "signature")).sounds_secret


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secret strings of one exchange, longest first, so that no part of one is left behind by another."""

    values: tuple[str, ...]

    @classmethod
    def of(cls, url: str, headers: Mapping[str, str], proxy: str = "") -> Self:
        """Find the user info in `url` and `proxy`, and the values of headers whose name sounds like a secret."""
        return cls.from_values((*_in_url(httpx.URL(url)), *_in_url(httpx.URL(proxy)), *_in_headers(headers)))

    @classmethod
    def from_values(cls, values: Iterable[str]) -> Self:
        """Of these, all that are long enough to be told from ordinary text."""
        return cls(tuple(sorted({value for value in values if len(value) >= SHORTEST}, key=len, reverse=True)))

    def blot(self, text: str) -> str:
        """`text` with every secret replaced."""
        for value in self.values:
            text = text.replace(value, BLOT)
        return text


def _in_url(url: httpx.URL) -> Iterator[str]:
    if url.userinfo:
        yield url.userinfo.decode("ascii", errors="replace")
        yield url.password
        # and as it travels: RFC 7617
        yield base64.b64encode(f"{url.username}:{url.password}".encode()).decode()


def _in_headers(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if _sounds_secret(name):
            yield value
            yield value.partition(" ")[2]  # "Bearer abc" is quoted as "abc" by many
