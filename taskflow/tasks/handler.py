"""A handler: the registered function of a task type, with the options it was declared with."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypedDict, TypeVar, get_args

from taskflow.errors import InvalidPayload, InvalidSchedule, RegistrationError
from taskflow.tasks.context import Context
from taskflow.tasks.limits import check_max_attempts, check_queue, check_type, priority_of, seconds_of
from taskflow.tasks.payload import PayloadModel, encode_payload
from taskflow.tasks.recurrence import Missed, Overlap, Recurrence
from taskflow.tasks.retry import RetryPolicy, Strategy

Isolation = Literal["thread", "process"]
PriorityLike = int | Literal["low", "normal", "high", "critical"]

PayloadT = TypeVar("PayloadT")
P = ParamSpec("P")
R = TypeVar("R")


class HandlerOptions(TypedDict, total=False):
    """The options of the decorator `task`: the one list of them, for type checkers and for the check at run time."""

    queue: str
    priority: PriorityLike
    max_attempts: int | None
    timeout: float | timedelta | None
    retry: Strategy | RetryPolicy | None
    isolation: Isolation
    cron: str | None
    interval: float | timedelta | None
    timezone: str | None
    missed: Missed | None
    overlap: Overlap | None
    jitter: float | timedelta | None


class Handler(Generic[PayloadT, P, R]):
    """Callable as the plain function it was made from. None in an option means: as the queue says.

    `timeout` is in seconds. `payload_type` is the annotation of the first parameter, `dict` without one.
    `wants_context` says whether the function takes ``(payload, context)`` or only ``(payload)``.
    Raises `RegistrationError` if the function, its annotations or an option cannot work.
    """

    type: str
    queue: str
    priority: int
    max_attempts: int | None
    timeout: float | None
    retry: RetryPolicy | None
    isolation: Isolation
    recurrence: Recurrence | None

    def __init__(
        self, type: str, function: Callable[Concatenate[PayloadT, P], R], options: HandlerOptions | None = None
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self._set_options(type, options or {})
        payload_parameter, self.wants_context = _inspect_parameters(function)
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  (an object with an async __call__ is a handler too)
        )
        if self.is_async and self.isolation == "process":
            raise self._mistake("an async handler runs in the event loop; use `def` with isolation='process'")
        self.payload_type: Any = _resolve_annotation(function, payload_parameter)
        try:
            self._model: PayloadModel | None = PayloadModel.for_annotation(self.payload_type)
        except TypeError as error:
            raise self._mistake(str(error)) from error
        if self.recurrence is not None:
            self._check_empty_payload()

    def _check_empty_payload(self) -> None:
        try:
            self.parse({})
        except InvalidPayload as error:
            raise self._mistake(
                f"its schedule creates tasks with an empty payload, which does not fit: {error}. Give the fields"
                " defaults, or create the schedule by the API, with a payload"
            ) from error

    def _set_options(self, type: str, options: HandlerOptions) -> None:
        try:
            self.type = check_type(type)
            self.queue = check_queue(options.get("queue", "default"))
            self.priority = int(priority_of(options.get("priority", 1)))
            self.max_attempts = check_max_attempts(options.get("max_attempts"))
            self.timeout = seconds_of(options.get("timeout"), "timeout", positive=True)
            self.retry = RetryPolicy.of(options.get("retry"))
            self.isolation = options.get("isolation", "thread")
            if self.isolation not in get_args(Isolation):
                raise ValueError(f"isolation must be 'thread' or 'process', not {self.isolation!r}")
            self.recurrence = Recurrence.of(self.type, options)
        except (ValueError, InvalidSchedule) as error:
            raise self._mistake(str(error)) from error

    def _mistake(self, message: str) -> RegistrationError:
        return RegistrationError(f"{describe(self.function)}: {message}")

    if TYPE_CHECKING:

        def __call__(self, payload: PayloadT, /, *args: P.args, **kwargs: P.kwargs) -> R:
            """Call the function as if it had not been decorated."""
    else:

        def __call__(self, *args, **kwargs):
            """Call the function as if it had not been decorated; the payload may come by keyword too."""
            return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.type!r} of {describe(self.function)}>"

    def parse(self, payload: dict[str, Any]) -> PayloadT:
        """The stored payload as the object that the function takes. Raises `InvalidPayload` if it does not fit."""
        stored: Any = payload  # as typing.cast has it, but that is a call
        parsed: PayloadT = stored if self._model is None else self._model.parse(stored, self.type)
        return parsed

    def encode(self, payload: PayloadT | Mapping[str, Any]) -> str:
        """The payload as the JSON to store, checked as it will be at run. Raises `InvalidPayload`, `InvalidTask`."""
        return encode_payload(payload, self.type) if self._model is None else self._model.encode(payload, self.type)

    def payload_schema(self) -> dict[str, Any] | None:
        """The JSON Schema (2020-12) of the payload; None if any object will do."""
        return None if self._model is None else self._model.json_schema()


AnyHandler = Handler[Any, Any, Any]
ALLOWED_FORMS = "a handler is `def name(payload)` or `def name(payload, context)`, or the same with `async def`"


def describe(function: Callable[..., Any]) -> str:
    """Where a function is from, for error messages."""
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"


def _inspect_parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, bool]:
    """The parameter for the payload, and whether there is one for the context."""

    def refuse(why: str) -> RegistrationError:
        return RegistrationError(f"{describe(function)}: {why}; {ALLOWED_FORMS}")

    if not callable(function):
        raise RegistrationError(f"task() decorates a function, not {function!r}")
    if inspect.isclass(function):
        raise refuse("it is a class")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise refuse("it yields, and nobody would iterate over it")
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not positional:
        raise refuse("it takes no payload")
    for parameter in [p for p in parameters if p.kind is p.KEYWORD_ONLY] + positional[2:]:
        if parameter.default is parameter.empty:
            raise refuse(f"nobody would give it {parameter.name!r}")
    wants_context = len(positional) > 1 and _is_context(function, positional[1])
    if len(positional) > 1 and not wants_context and positional[1].default is inspect.Parameter.empty:
        raise refuse(f"its second parameter {positional[1].name!r} is annotated as something else than Context")
    return positional[0], wants_context


def _is_context(function: Callable[..., Any], parameter: inspect.Parameter) -> bool:
    if parameter.annotation is parameter.empty:
        return parameter.name == "context" or parameter.default is parameter.empty
    try:
        annotation = _evaluated(function, parameter)
    except Exception:  # noqa: BLE001  (a name for type checkers only must do, and any other text is not our affair)
        names = {name.rpartition(".")[2] for name in re.findall(r"[\w.]+", str(parameter.annotation))}
        return names - {"Optional", "Union", "None", "ForwardRef"} == {"Context"}
    optional = typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated)
    return annotation is Context or (optional and Context in get_args(annotation))


def _evaluated(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """A parameter's annotation as an object; a text (``from __future__ import annotations``) is read in its module."""

    class Only:
        __annotations__ = {"parameter": parameter.annotation}

    scope = getattr(inspect.unwrap(function), "__globals__", {})
    return typing.get_type_hints(Only, globalns=scope, localns={}, include_extras=True)["parameter"]


def _resolve_annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The payload's annotation as an object."""
    if parameter.annotation is parameter.empty:
        return dict
    try:
        return _evaluated(function, parameter)
    except NameError as error:
        raise RegistrationError(
            f"{describe(function)}: its payload is annotated {parameter.annotation!r}, but {error}. "
            "Import it at run time (not under TYPE_CHECKING only) and define it at module level, before the handler"
        ) from error
