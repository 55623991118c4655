"""Texts as PostgreSQL can store them."""

from __future__ import annotations


def storable_text(text: str) -> str:
    """The text without what PostgreSQL cannot store: U+FFFD stands for NUL, and ? for half a surrogate pair, which
    Python makes of the bytes of a file name that is no UTF-8."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store the text as it is."""
    if text.isascii() or "\x00" in text:
        return "\x00" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
