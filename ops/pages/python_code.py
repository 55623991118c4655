"""Python objects in words: signatures with short types, and docstrings as Markdown with their lists as tables."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from taskflow.tasks import context, handler, new_task, recurrence, retry

WIDTH = 100
OPTIONS = re.compile(r"Unpack\[(\w+)\]")
# Aliases that are a choice of words, which are shown in their place.
WORDS = {
    name: " | ".join(f'"{word}"' for word in typing.get_args(alias))
    for name, alias in {
        "Isolation": handler.Isolation,
        "LogLevel": context.LogLevel,
        "Missed": recurrence.Missed,
        "OnConflict": new_task.OnConflict,
        "Overlap": recurrence.Overlap,
        "Strategy": retry.Strategy,
    }.items()
}
# What stands in an annotation → what a reader is shown.
SHORT = {
    r"\bPriorityLike\b": 'int | "low" | "normal" | "high" | "critical"',
    r"\bPayloadT \| Mapping\[str, Any\]": "PayloadLike",
    r"\bPayloadT\b": "Any",
    r"\bCallable\[Concatenate\[Any, P\], R\]": "Callable",
    r"\b(TaskHandler|Handler)\[Any, P, R\]": "TaskHandler",
    r"\bAnyHandler\b": "TaskHandler",
    r"\b(\w*Connection)\[Any\]": r"\1",
    **{rf"\b{name}\b": words for name, words in WORDS.items()},
}
ITEM = re.compile(r"^- `(\w+)`: (.*)$", re.DOTALL)
Options = Mapping[str, str]


def type_of(annotation: Any) -> str:
    """An annotation as it is shown in a signature."""
    text = str(annotation)  # the modules of public names have `from __future__ import annotations`
    for pattern, replacement in SHORT.items():
        text = re.sub(pattern, replacement, text)
    return text


def type_cell(annotation: Any, *, none: bool = True) -> str:
    """An annotation in a cell of a table: what it can be, each by itself."""
    parts = [part for part in _choices(type_of(annotation)) if none or part != "None"]
    words = [f"`{part}`".replace("|", "\\|") for part in parts]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _choices(text: str) -> list[str]:
    """The parts of a union; what stands in brackets is one part."""
    parts, depth = [""], 0
    for piece in re.split(r"( \| |[\[\]])", text):
        depth += (piece == "[") - (piece == "]")
        if piece == " | " and not depth:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def signature(shown: str, function: Callable[..., Any]) -> str:
    """How it is called: on one line, or with each parameter on a line of its own."""
    found = parameters(function)
    prefix = "await " if inspect.iscoroutinefunction(function) else ""
    answer = _returns(function)
    words = list(_words(found))
    line = f"{prefix}{shown}({', '.join(words)}){answer}"
    if len(line) <= WIDTH:
        return line
    return f"{prefix}{shown}(\n" + "".join(f"    {word},\n" for word in words) + f"){answer}"


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters but for `self`; of overloads those of the last."""
    of = typing.get_overloads(function)
    found = inspect.signature((of or [function])[-1]).parameters.values()
    return [parameter for parameter in found if parameter.name != "self"]


def _words(found: list[inspect.Parameter]) -> Iterator[str]:
    starred = False
    for parameter in found:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        if parameter.kind is parameter.VAR_KEYWORD:
            typed = "" if OPTIONS.search(str(parameter.annotation)) else f": {type_of(parameter.annotation)}"
            yield f"**{parameter.name}{typed}"
            continue
        yield f"{parameter.name}: {type_of(parameter.annotation)}{_default(parameter.default)}"


def _default(value: Any) -> str:
    if value is inspect.Parameter.empty:
        return ""
    return f' = "{value}"' if isinstance(value, str) else f" = {value!r}"


def _returns(function: Callable[..., Any]) -> str:
    of = typing.get_overloads(function)
    annotation = inspect.signature((of or [function])[-1]).return_annotation
    if annotation in (inspect.Signature.empty, "None", None):
        return ""
    made_by_contextmanager = hasattr(function, "__wrapped__") and inspect.isgeneratorfunction(function.__wrapped__)
    text = type_of(annotation)
    return f" -> {re.sub('^Iterator', 'AbstractContextManager', text) if made_by_contextmanager else text}"


def types_within(thing: Any) -> Options:
    """Names that a docstring may list → their types as a cell: parameters, options, fields, attributes."""
    found: dict[str, str] = {}
    function = thing.__init__ if inspect.isclass(thing) else thing
    if inspect.isclass(thing):
        for kind in reversed(thing.__mro__):
            found |= {name: type_cell(annotation) for name, annotation in inspect.get_annotations(kind).items()}
    if not dataclasses.is_dataclass(thing) and inspect.isfunction(function):
        for parameter in parameters(function):
            if options := OPTIONS.search(str(parameter.annotation)):
                found |= _options(getattr(inspect.getmodule(function), options[1]))
            else:
                found[parameter.name] = type_cell(parameter.annotation)
    return found


def _options(known: Any) -> Options:
    """Those of a TypedDict, its bases' included: None is what is left out, and goes without saying."""
    return {name: type_cell(found.__forward_arg__, none=False) for name, found in known.__annotations__.items()}


def markdown(thing: Any) -> str:
    """Its docstring: lists of names become tables with their types, literal blocks Python."""
    types = types_within(thing)
    blocks = re.split(r"\n\n(?![ ])", inspect.getdoc(thing) or "")
    return "\n\n".join(_block(block, types) for block in blocks)


def _block(block: str, types: Options) -> str:
    block = re.sub(r"``(.+?)``", r"`\1`", block)
    if block.startswith("::\n\n"):
        return f"```python\n{inspect.cleandoc(block.removeprefix('::'))}\n```"
    items = [ITEM.match(item) for item in re.split(r"\n(?=- )", block)]
    if not all(items):
        return block
    rows = [f"| `{item[1]}` | {types[item[1]]} | {_cell(item[2])} |" for item in items if item]
    return "| | type | |\n| --- | --- | --- |\n" + "\n".join(rows)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
