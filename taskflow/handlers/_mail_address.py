"""Mail addresses as payloads have them: `ann@example.com` or `Ann <ann@example.com>`, one a text."""

from __future__ import annotations

import re
from email.headerregistry import Address

import idna

from taskflow.handlers._header_text import one_line

MAX_LOCAL, MAX_DOMAIN = 64, 253  # characters: RFC 5321, 4.5.3.1
_NAMED = re.compile(r'\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^"<>,;]*?))\s*<(?P<address>[^<>]+)>\s*')
# A dot-atom of RFC 5322, with the letters beyond ASCII of RFC 6532. A quoted local part is in nobody's use.
_LOCAL = re.compile(r"[^\s.()<>@,;:\\\"\[\]]+(\.[^\s.()<>@,;:\\\"\[\]]+)*")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


def address_of(text: str) -> Address:
    """The address with its display name; a domain beyond ASCII is in its encoded form. Raises `ValueError`."""
    named = _NAMED.fullmatch(one_line(text))
    name = "" if named is None else (named["plain"] or re.sub(r"\\(.)", r"\1", named["quoted"] or ""))
    local, at, domain = (text.strip() if named is None else named["address"].strip()).rpartition("@")
    if "," in local:
        raise ValueError("one address a text: several are a list of texts")
    if not at or not _LOCAL.fullmatch(local) or len(local.encode()) > MAX_LOCAL:
        raise ValueError("not a mail address, such as ann@example.com or Ann <ann@example.com>")
    return Address(name.strip(), local, _encoded(domain))


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
