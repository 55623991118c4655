"""docs/python-reference.md: every public name, with its signature and its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import taskflow
from ops.pages.python_code import markdown, signature, type_cell
from taskflow import testing

NOTICE = "<!-- Made by ops/generate-docs from the code: change it there. -->\n"
INTRODUCTION = """\
# Python reference

Every name of `taskflow` and `taskflow.testing`; `help()` tells the same. What is not listed here may change at any
time. [Getting started](getting-started.md) and [adding a handler](adding-a-handler.md) show how it is used.

Durations are seconds, as a number, or a `timedelta`. Names in the signatures:

| | |
| --- | --- |
| `PayloadLike` | a mapping, a pydantic model or a dataclass instance; for a handler what its model takes |
| `AnyConnection` | psycopg's `Connection`; SQLAlchemy's `Connection`, `Session`, `scoped_session`; Django's |
| `AnyAsyncConnection` | those of asyncio: `AsyncConnection`, `AsyncSession`, `async_scoped_session` |
| `Prepare` | a function that is given a connection string, or None |

Asynchronous sessions of SQLAlchemy need `pip install 'sqlalchemy[asyncio]'`.

"""
ASYNCIO = """\
`AsyncClient` has the methods of `Client`, with the same parameters, to be awaited: `await client.enqueue(…)`. It is
made alike, used with `async with` or ended with `await client.close()`, and belongs to the event loop in which it is
first used. `connection` is an `AnyAsyncConnection`; a synchronous one, as Django's are, is a `TypeError`.

Of a handler, `TaskHandler.enqueue_async` does what `AsyncClient.enqueue` does.
"""
SETTINGS = """\
`Client()`, `AsyncClient()` and `handler.enqueue()` read DATABASE_URL and TASKFLOW_MAX_PAYLOAD_BYTES, from the
environment or from `taskflow.toml`; in the directory of a running `taskflow dev` its database, where none is named. A
wrong value of any setting is a `SettingsError`. [Configuration](configuration.md) has all of them; the rest are for
workers and servers.
"""
ERRORS = """\
All but the outcomes of a handler are `TaskflowError`s.

| exception | is a | |
| --- | --- | --- |
"""


@dataclass(frozen=True, slots=True)
class Item:
    """A heading: what it shows, and how that is called (empty: it is not)."""

    title: str
    thing: Any
    called: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A chapter: text, and what it lists."""

    title: str
    text: str
    items: tuple[Item, ...] = ()


def _methods(kind: Any, on: str, *names: str) -> tuple[Item, ...]:
    return tuple(Item(f"{kind.__name__}.{name}", getattr(kind, name), f"{on}.{name}") for name in names)


def _own_methods(kind: Any, on: str) -> tuple[Item, ...]:
    """The public ones, in their order."""
    names = [name for name, value in vars(kind).items() if inspect.isfunction(value) and not name.startswith("_")]
    return _methods(kind, on, *names)


def _class(kind: Any, *, prefix: str = "") -> Item:
    return Item(f"{prefix}{kind.__name__}", kind, f"{prefix}{kind.__name__}")


CLIENT, HANDLER = taskflow.Client, taskflow.TaskHandler
SECTIONS = (
    Section(
        "Declare a handler",
        "",
        (
            Item("The decorator task", taskflow.task, "task"),
            Item("TaskHandler", HANDLER),
            *_methods(HANDLER, "handler", "parse", "encode", "payload_schema"),
            _class(taskflow.RetryPolicy),
            Item("Priority", taskflow.Priority),
            Item("Registry and registry", taskflow.Registry, "Registry"),
            *_own_methods(taskflow.Registry, "registry"),
        ),
    ),
    Section(
        "In a handler",
        "",
        (
            Item("Context", taskflow.Context),
            *_own_methods(taskflow.Context, "context"),
            _class(taskflow.Retry),
            _class(taskflow.Snooze),
            _class(taskflow.Cancel),
            _class(taskflow.DeadLetter),
            Item("Signal", taskflow.Signal),
        ),
    ),
    Section(
        "Enqueue",
        "With a handler that is imported, or with a client and the name of a type.",
        (
            *_methods(HANDLER, "handler", "enqueue", "enqueue_many", "enqueue_async", "new"),
            _class(CLIENT),
            *_methods(CLIENT, "client", "enqueue", "enqueue_new", "enqueue_many", "copy"),
            _class(taskflow.NewTask),
            Item("Enqueued", taskflow.Enqueued),
        ),
    ),
    Section(
        "Look and operate",
        "An id is a whole number, or such a number as a text, as the REST API writes it.",
        (
            *_methods(CLIENT, "client", "get", "executions", "wait", "cancel", "retry", "close"),
            Item("Task (object)", taskflow.Task),
            Item("Execution (object)", taskflow.Execution),
        ),
    ),
    Section("AsyncClient", ASYNCIO),
    Section("Errors", "", (Item("FieldProblem", taskflow.FieldProblem),)),
    Section("Settings", SETTINGS),
    Section(
        "Test",
        "`from taskflow import testing`, or the fixtures for pytest: see [testing](testing.md).",
        (
            Item("testing.harness", testing.harness, "testing.harness"),
            Item("testing.database", testing.database, "testing.database"),
            _class(testing.Harness, prefix="testing."),
            *_own_methods(testing.Harness, "harness"),
            Item("testing.Run", testing.Run),
            *_own_methods(testing.Run, "run"),
            Item("testing.AttemptFailed", testing.AttemptFailed),
            Item("testing.NoHandlerWarning", testing.NoHandlerWarning),
        ),
    ),
)
TITLES = [item.title for section in SECTIONS for item in section.items]
PUBLIC = {name: getattr(taskflow, name) for name in taskflow.__all__}
EXCEPTIONS = [kind for kind in PUBLIC.values() if inspect.isclass(kind) and issubclass(kind, taskflow.TaskflowError)]
# A name in backticks → the heading that it leads to.
LINKS = {
    **{title.split(" ")[0]: title for title in TITLES},
    **{title.removeprefix("testing."): title for title in TITLES if title.startswith("testing.")},
    **{kind.__name__: "Errors" for kind in EXCEPTIONS},
    "task": "The decorator task",
    "taskflow.registry": "Registry and registry",
    "AsyncClient": "AsyncClient",
}


def page() -> str:
    return NOTICE + INTRODUCTION + "\n".join(_lines()).rstrip() + "\n"


def _lines() -> Iterator[str]:
    for section in SECTIONS:
        yield f"## {section.title}\n"
        if section.text:
            yield _linked(section.text.rstrip() + "\n", section.title)
        if section.title == "Errors":
            yield _linked(ERRORS + "".join(_errors()), section.title)
        for item in section.items:
            yield f"### {item.title}\n"
            yield _linked("\n\n".join(_item(item)) + "\n", item.title)


def _item(item: Item) -> Iterator[str]:
    if item.called:
        yield f"```\n{signature(item.called, item.thing.__init__ if inspect.isclass(item.thing) else item.thing)}\n```"
    yield markdown(item.thing)
    if inspect.isclass(item.thing):
        found = [(name, value) for name, value in vars(item.thing).items() if isinstance(value, property)]
        if found:
            rows = [f"| `{name}` | {_type(value)} | {_sentence(value)} |" for name, value in found]
            yield "| | type | |\n| --- | --- | --- |\n" + "\n".join(rows)


def _type(value: property) -> str:
    assert value.fget is not None
    return type_cell(inspect.signature(value.fget).return_annotation)


def _sentence(thing: Any) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


def _errors() -> Iterator[str]:
    """The exceptions of the public names as a tree: each below what it is one of."""

    def below(kind: Any) -> Iterator[Any]:
        yield kind
        for one in EXCEPTIONS:
            if one.__base__ is kind:
                yield from below(one)

    for kind in below(taskflow.TaskflowError):
        yield f"| `{kind.__name__}` | `{kind.__base__.__name__}` | {_sentence(kind).replace('``', '`')} |\n"


def _linked(text: str, title: str) -> str:
    """The text with names in backticks as links, but for blocks of code and names that would lead to where they are."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _with_links(part, title) for part in parts)


def _with_links(text: str, title: str) -> str:
    def link(found: re.Match[str]) -> str:
        target = LINKS.get(found[1])
        return found[0] if target in (None, title) else f"[{found[0]}](#{_anchor(str(target))})"

    return re.sub(r"(?<!\[)(?<!^\| )`([\w.]+)`(?!\])", link, text, flags=re.MULTILINE)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
