"""The registry: which handler runs which task type."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, ParamSpec, TypeVar, Unpack, cast, overload

from taskflow.errors import RegistrationError
from taskflow.tasks.handler import AnyHandler, Handler, HandlerOptions, describe

__all__ = ["AnyHandler", "Handler", "HandlerOptions", "Registry", "registry", "task"]

PayloadT = TypeVar("PayloadT")
P = ParamSpec("P")
R = TypeVar("R")


COMING_ALONG = "taskflow.handlers."


class Registry:
    """Handlers by type. A type has one handler; declaring the same function again (a reload) replaces it.

    A handler of somebody's own takes the place of one that comes along, whichever is declared first: `email` is what
    many call theirs. `taskflow.registry` is the one that `task` fills and workers run; another one serves tests. It can
    be iterated over, and has a length.
    """

    def __init__(self) -> None:
        self._handlers: dict[str, AnyHandler] = {}
        self._replaced: set[str] = set()

    def add(self, handler: AnyHandler) -> None:
        """Register a handler. Raises `RegistrationError` if another function has its type already."""
        rival = self._handlers.get(handler.type)
        if rival is not None and _comes_along(rival) != _comes_along(handler):
            self._replaced.add(handler.type)
        if rival is None or describe(rival.function) == describe(handler.function) or _comes_along(rival):
            self._handlers[handler.type] = handler
        elif not _comes_along(handler):
            raise RegistrationError(
                f"two handlers for the type {handler.type!r}: {describe(rival.function)} and "
                f"{describe(handler.function)}. Give one of them another name: @task('...')"
            )

    def get(self, type: str) -> AnyHandler | None:
        """The handler of a type, None if there is none."""
        return self._handlers.get(type)

    def types(self) -> tuple[str, ...]:
        """All types that have a handler, sorted."""
        return tuple(sorted(self._handlers))

    def replaced(self) -> tuple[str, ...]:
        """The types whose handler has taken the place of one that comes along, sorted."""
        return tuple(sorted(self._replaced))

    def __iter__(self) -> Iterator[AnyHandler]:
        return iter(tuple(self._handlers.values()))

    def __len__(self) -> int:
        return len(self._handlers)


def _comes_along(handler: AnyHandler) -> bool:
    return describe(handler.function).startswith(COMING_ALONG)


registry = Registry()
"""The default registry, which `@task` fills and `taskflow worker` runs."""


class DecoratorOptions(HandlerOptions, total=False):
    """What the decorator takes: the options of the handler, and where to register it."""

    registry: Registry


@overload
def task(name: Callable[Concatenate[PayloadT, P], R], /) -> Handler[PayloadT, P, R]: ...
@overload
def task(
    name: str | None = None, **options: Unpack[DecoratorOptions]
) -> Callable[[Callable[Concatenate[PayloadT, P], R]], Handler[PayloadT, P, R]]: ...
def task(name: Any = None, **options: Any) -> Any:
    """Declare the handler of a task type: ``@task``, ``@task("email")``, ``@task("email", queue="mail")``.

    The type is the function's name unless given. Options: see `HandlerOptions`, and `registry` (the default one).
    Returns a `Handler`, which is still callable as the function. Raises `RegistrationError`.
    """
    return decorate(Handler, name, cast(DecoratorOptions, options))


def decorate(kind: type[AnyHandler], name: Any, options: DecoratorOptions) -> Any:
    """What every form of the decorator does: a handler of class `kind`, or the decorator that makes one."""
    refuse_unknown(options, DecoratorOptions)
    home = options.pop("registry", registry)

    def declare(function: Callable[..., Any]) -> AnyHandler:
        handler = kind(name if isinstance(name, str) else getattr(function, "__name__", ""), function, options)
        home.add(handler)
        return handler

    return declare if name is None or isinstance(name, str) else declare(name)


def refuse_unknown(options: Any, known: type) -> None:
    """Raise `RegistrationError` for an option that `known` (a TypedDict) does not list, and say what may be meant."""
    names = list(known.__annotations__)
    for option in options:
        if option not in names:
            meant = difflib.get_close_matches(option, names, n=1)
            hint = f"did you mean {meant[0]!r}?" if meant else f"the options are {', '.join(sorted(names))}"
            raise RegistrationError(f"task() has no option {option!r}: {hint}")
