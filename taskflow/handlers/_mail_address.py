"""Mail addresses as payloads have them: `ann@example.com` or `Ann <ann@example.com>`, one a text."""

from __future__ import annotations

import re
from email.headerregistry import Address

import idna

from taskflow.handlers._header_text import one_line

MAX_LOCAL, MAX_DOMAIN = 64, 253  # characters: RFC 5321, 4.5.3.1
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PLAIN = re.compile(r'[^"<>,;]*')
# A dot-atom of RFC 5322, with the letters beyond ASCII of RFC 6532. A quoted local part is in nobody's use.
_LOCAL = re.compile(r"[^\s.()<>@,;:\\\"\[\]]+(\.[^\s.()<>@,;:\\\"\[\]]+)*")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


def address_of(text: str) -> Address:
    """The address with its display name; a domain beyond ASCII is in its encoded form. Raises `ValueError`."""
    name, address = _parts(one_line(text).strip())
    local, at, domain = address.strip().rpartition("@")
    if "," in local:
        raise ValueError("one address a text: several are a list of texts")
    if name is None or not at or not _LOCAL.fullmatch(local) or len(local.encode()) > MAX_LOCAL:
        raise ValueError("not a mail address, such as ann@example.com or Ann <ann@example.com>")
    return Address(name, local, _encoded(domain))


def _parts(text: str) -> tuple[str | None, str]:
    """The display name, None if it cannot be one, and what should be an address."""
    if not text.endswith(">"):
        return "", text
    name, _, address = text[:-1].rpartition("<")
    name = name.strip()
    if quoted := _QUOTED.fullmatch(name):
        return re.sub(r"\\(.)", r"\1", quoted[1]), address
    return name if _PLAIN.fullmatch(name) else None, address


def is_international(address: Address) -> bool:
    """Whether only a server with SMTPUTF8 (RFC 6531) can take it."""
    return not address.username.isascii()


def _encoded(domain: str) -> str:
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except idna.IDNAError:
            raise ValueError("the domain of the address is not a valid one") from None
    if len(domain) > MAX_DOMAIN or not all(map(_LABEL.fullmatch, domain.split("."))):
        raise ValueError("the domain of the address is not a valid one")
    return domain
