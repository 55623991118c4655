"""JSON in: what a body must be before a model looks at it.

Stricter than most parsers, since a body is stored and read by others: no key twice (the parser of the next reader may
take the other one), no NaN, no number beyond a double, no U+0000 and no lone surrogate (PostgreSQL cannot store them),
no nesting that the next reader's stack cannot follow.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from taskflow.errors import FieldProblem
from taskflow.tasks.pointers import pointer
from taskflow.web.http.problems import Problem

MAX_DEPTH = 100
MAX_PROBLEMS = 50
MAX_TEXT = 500
# pydantic's words for these are about Python; the others do.
CODES = {"missing": "required", "extra_forbidden": "unknown_field"}
DETAILS = {
    "missing": "is required",
    "extra_forbidden": "there is no such field",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "list_type": "must be a JSON array",
}
# What Python takes for a number and JSON does not know. The same word in a text is passed over with it.
TEXT_OR_CONSTANT = re.compile(r'"(?:[^"\\]++|\\.)*+"|NaN|-?Infinity')

Model = TypeVar("Model", bound=BaseModel)


class _Duplicate(Exception):
    pass


class _OutOfRange(Exception):
    pass


class _Constant(Exception):
    pass


def read(model: type[Model]) -> Model:
    """The body of the request under way as `model`; a request without a body is an empty object.

    Raises `Problem`: 400 what cannot be parsed, 413 too large, 415 not JSON, 422 what does not fit the model.
    """
    check_encoding()
    raw = request.get_data(cache=True)
    if request.content_length is None and len(raw) >= (request.max_content_length or len(raw) + 1):
        raise RequestEntityTooLarge  # a chunked body is not announced, and Flask cuts it off without a word
    if not raw.strip():
        return validate(model, {})
    if not request.is_json:
        raise Problem("unsupported_media_type", "Send JSON with the header Content-Type: application/json.")
    return validate(model, parse(raw))


def check_encoding() -> None:
    """Raises `Problem` 415 where the body of the request under way is compressed: so it may be much larger than it
    seems."""
    encoding = request.headers.get("Content-Encoding", "").strip()
    has_body = request.content_length or "Transfer-Encoding" in request.headers
    if encoding.lower() not in ("", "identity") and has_body:
        raise Problem(
            "unsupported_media_type",
            f"The body has the Content-Encoding {shorten(encoding)!r}: none is taken here, send it as it is.",
            headers={"Accept-Encoding": "identity"},
        )


def validate(model: type[Model], value: Any) -> Model:
    """`value` as `model`. Raises `Problem` 422 with a JSON pointer for everything that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        problems = [
            FieldProblem(
                pointer(_place(item)),
                CODES.get(item["type"], item["type"]),
                DETAILS.get(item["type"], shorten(item["msg"])),
            )
            for item in found[:MAX_PROBLEMS]
        ]
        first = problems[0]
        raise Problem("invalid_request", f"{first.pointer or 'The body'}: {first.detail}", problems=problems) from error


def parse(raw: bytes, line: int = 1) -> Any:
    """The value that `raw` holds, which begins at this line of the body. Raises `Problem`."""
    value = decode(raw, line)
    if may_hide(raw):
        inspect(value)
    return value


def may_hide(raw: bytes) -> bool:
    """Whether what `raw` holds must be looked through: most is spared it."""
    return raw.count(b"{") + raw.count(b"[") > MAX_DEPTH or b"\\u" in raw


def decode(raw: bytes, line: int = 1) -> Any:
    """The value that `raw` holds, not looked through: that is `inspect`. Raises `Problem`."""
    if raw.startswith(codecs.BOM_UTF8):
        raise Problem("invalid_json", f"Line {line} begins with a byte order mark, which is no JSON: leave it out.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        at = line + raw.count(b"\n", 0, error.start)
        raise Problem("invalid_json", f"The body is not UTF-8 at line {at}.") from None
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise _not_json(error, line) from None
    except _Constant as error:
        # The decoder has read all before it, so it is the first one; and it does not say where it is.
        place = next(found.start() for found in TEXT_OR_CONSTANT.finditer(text) if found[0][0] != '"')
        raise _not_json(json.JSONDecodeError(f"{error} is not JSON", text, place), line) from None
    except RecursionError:
        raise _too_deep() from None
    except _Duplicate as error:
        raise Problem("duplicate_key", f"The key {shorten(str(error))!r} is there twice in one object.") from None
    except (_OutOfRange, ValueError):  # ValueError: an integer of more digits than Python reads
        problem = FieldProblem("", "number_out_of_range", "a number is too large to be stored")
        raise Problem("invalid_request", "A number in the body is too large.", problems=[problem]) from None


def _place(item: Any) -> Any:
    """The path to what is wrong. A key that is refused has one part more for pydantic, which is no part of the body."""
    path = item["loc"]
    return path[:-1] if path[-1:] == ("[key]",) and item["type"].startswith("string_") else path


def shorten(text: str) -> str:
    """`text`, cut where it would fill an answer."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def inspect(value: Any) -> None:
    """Refuse nesting beyond the limit, and texts that PostgreSQL cannot store. No recursion: the value is foreign."""
    todo: list[tuple[Any, tuple[Any, ...]]] = [(value, ())]
    while todo:
        item, path = todo.pop()
        if len(path) > MAX_DEPTH:
            raise _too_deep()
        match item:
            case str():
                _inspect_text(item, path)
            case dict():
                for key, inner in item.items():
                    _inspect_text(key, path)
                    todo.append((inner, (*path, key)))
            case list():
                todo.extend((inner, (*path, index)) for index, inner in enumerate(item))


def _inspect_text(text: str, path: tuple[Any, ...]) -> None:
    if "\x00" in text:
        code, detail = "nul_character", "contains the character U+0000, which PostgreSQL cannot store"
    elif not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        code, detail = "lone_surrogate", "contains half of a surrogate pair, which is no character"
    else:
        return
    problem = FieldProblem(pointer(path).encode("utf-8", "replace").decode(), code, detail)
    raise Problem("invalid_request", f"{problem.pointer or 'The body'} {detail}.", problems=[problem])


def _not_json(error: json.JSONDecodeError, line: int) -> Problem:
    return Problem("invalid_json", f"{error.msg} at line {line + error.lineno - 1}, column {error.colno}.")


def _too_deep() -> Problem:
    return Problem("too_deeply_nested", f"The body has more than {MAX_DEPTH} levels of objects and lists.")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        raise _Duplicate(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _OutOfRange
    return number


def _no_constant(name: str) -> Any:
    raise _Constant(name)


_decoder = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_float=_finite, parse_constant=_no_constant)
