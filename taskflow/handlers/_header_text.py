"""Text that becomes part of a mail's header: on one line, so that it cannot add headers of its own."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

# C0 and C1, what Unicode and Python call line separators too, and encoded words (RFC 2047), which can hold all these.
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|=\?[^?]*\?[bBqQ]\?[^?]*\?=")
SCHEMA = {"not": {"pattern": UNSAFE.pattern}}
"""The same for the JSON schema, which is what the API checks; `not`, since an end anchor lets a last newline pass."""


def one_line(text: str) -> str:
    """`text`, unless it has a line break, another control character or an encoded word. Raises `ValueError`."""
    if UNSAFE.search(text):
        raise ValueError("line breaks, other control characters and encoded words are not allowed: give plain text")
    return text


HeaderText = Annotated[str, AfterValidator(one_line), Field(json_schema_extra=SCHEMA)]
