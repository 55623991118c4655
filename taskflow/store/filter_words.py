"""The text of a filter, cut into words: `field.path:value,value`, with quotes where a value needs them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from taskflow.errors import InvalidFilter

MAX_LENGTH = 2000
MAX_WORDS = 30
MAX_VALUES = 200
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
NAME = re.compile(r"[A-Za-z_]+")
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
ESCAPE = re.compile(r"\\(.)", re.DOTALL)
BARE_SEGMENT = re.compile(r'[^\s".:,]+')
BARE_VALUE = re.compile(r'[^\s",]+')


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its text, whether it was quoted (then nothing in it has a meaning), and where it begins."""

    text: str
    quoted: bool
    position: int


@dataclass(frozen=True, slots=True)
class Word:
    """`name.path:values`; `position` is that of its first character, counted from 1."""

    name: str
    path: tuple[str, ...]
    values: tuple[Value, ...]
    position: int


def words(text: str) -> Iterator[Word]:
    """The words of a filter, in order. Raises `InvalidFilter` with the position where it cannot be read."""
    if len(text) > MAX_LENGTH:
        raise InvalidFilter(f"the filter has {len(text):,} characters; at most {MAX_LENGTH:,} are read", MAX_LENGTH)
    unstorable = UNSTORABLE.search(text)
    if unstorable:
        raise InvalidFilter(f"{unstorable[0]!r} is no character that a task could have", unstorable.start() + 1)
    at = _skip_space(text, 0)
    count = 0
    while at < len(text):
        count += 1
        if count > MAX_WORDS:
            raise InvalidFilter(f"the filter has more than {MAX_WORDS} conditions", at + 1)
        word, at = _word(text, at)
        yield word
        if at < len(text) and not text[at].isspace():
            raise InvalidFilter(f"a space is missing before {text[at]!r}", at + 1)
        at = _skip_space(text, at)


def quote(value: str) -> str:
    """`value` as it must be written to be one value, whatever it contains."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _word(text: str, start: int) -> tuple[Word, int]:
    match = NAME.match(text, start)
    if match is None:
        raise InvalidFilter(f"a condition cannot begin with {text[start]!r}: write field:value", start + 1)
    at = match.end()
    path: list[str] = []
    while text[at : at + 1] == ".":
        segment, at = _segment(text, at + 1)
        path.append(segment)
    if text[at : at + 1] != ":":
        shown = text[start:at]
        raise InvalidFilter(f"{shown!r} is no condition: write field:value, such as type:{shown}", start + 1)
    values: list[Value] = []
    while True:
        value, at = _value(text, at + 1, text[start:at])
        values.append(value)
        if len(values) > MAX_VALUES:
            raise InvalidFilter(f"there are more than {MAX_VALUES} values", value.position)
        if text[at : at + 1] != ",":
            return Word(match[0].lower(), tuple(path), tuple(values), start + 1), at


def _segment(text: str, at: int) -> tuple[str, int]:
    """A key of a path: `a` and `"b.c"` of `payload.a."b.c"`."""
    if text[at : at + 1] == '"':
        return _quoted(text, at)
    match = BARE_SEGMENT.match(text, at)
    if match is None:
        raise InvalidFilter('a key is missing after the dot; quote one that contains dots: payload."a.b":1', at + 1)
    return match[0], match.end()


def _value(text: str, at: int, before: str) -> tuple[Value, int]:
    if text[at : at + 1] == '"':
        value, end = _quoted(text, at)
        return Value(value, True, at + 1), end
    match = BARE_VALUE.match(text, at)
    if match is None:
        raise InvalidFilter(f'a value is missing after {before}{text[at - 1]}; an empty one is written ""', at + 1)
    return Value(match[0], False, at + 1), match.end()


def _quoted(text: str, at: int) -> tuple[str, int]:
    match = QUOTED.match(text, at)
    if match is None:
        raise InvalidFilter('the quote is not closed; one inside is written \\"', at + 1)
    return ESCAPE.sub(r"\1", match[1]), match.end()


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
