"""Logs: named events with fields, as one JSON object a line, or coloured for a person at a terminal.

An event is a short name and its fields: `log.info("attempt_failed", task_id=42, error="…")`. Times are UTC. What looks
like a password never reaches the output, wherever it stands: connection strings travel through many errors.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from taskflow.secret_names import SecretNames
from taskflow.settings import Settings

HIDDEN = "***"
_sounds_secret = SecretNames().sounds_secret
# A raw "/" or "@" in a password is against the rules of URIs and common all the same: for PostgreSQL take all up to
# the last "@" of the word.
_POSTGRES_URI = re.compile(r"(postgres(?:ql)?(?:\+\w+)?://[^\s:/?#@]*:)\S*@", re.IGNORECASE)
_ANY_URI = re.compile(r"(://[^\s:/?#@]*:)[^\s/?#]*@")
_KEYWORD = re.compile(r"(\b(?:ssl)?password\s*=\s*)(?:'(?:[^'\\]|\\.)*'|[^\s&'\"]+)", re.IGNORECASE)


def get_logger(name: str) -> FilteringBoundLogger:
    """A logger whose events carry `component=name`.

    One that is made after `configure` costs a quarter of a microsecond for an event below the level; one made at
    import six times as much, since it asks for the configuration again each time: hot loops make their own.
    """
    logger = structlog.get_logger(component=name)
    return cast(FilteringBoundLogger, logger.bind() if structlog.is_configured() else logger)


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send the events of this process, and what libraries log, to `stream` (None: stderr), as `settings` say.

    `log_format` auto means pretty on a terminal, JSON elsewhere.
    """
    stream = stream or sys.stderr
    pretty = settings.log_format == "pretty" or (settings.log_format == "auto" and stream.isatty())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%fZ" if pretty else "iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[Processor] = [structlog.processors.format_exc_info, redact]
    render.append(structlog.dev.ConsoleRenderer(colors=stream.isatty()) if pretty else _to_json)
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    _route_libraries(stream, level, shared, render)


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """A structlog processor that hides passwords in every value, however deep; unknown objects become their text."""
    for name, value in event.items():
        event[name] = HIDDEN if value and _sounds_secret(name) else _redacted(value)
    return event


def hide_passwords(text: str) -> str:
    """`text` with the password of every connection string in it replaced."""
    if "://" in text:
        text = _ANY_URI.sub(rf"\1{HIDDEN}@", _POSTGRES_URI.sub(rf"\1{HIDDEN}@", text))
    if "password" in text.lower():
        text = _KEYWORD.sub(rf"\g<1>{HIDDEN}", text)
    return text


def _redacted(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return hide_passwords(value)
        case dict():
            return {
                str(name): HIDDEN if item and _sounds_secret(str(name)) else _redacted(item)
                for name, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_redacted(item) for item in value]
        case _:
            return hide_passwords(str(value))


def _to_json(_logger: Any, _method: str, event: EventDict) -> str:
    ordered = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    fields = {**ordered, **event}
    try:
        return orjson.dumps(fields).decode()
    except TypeError:
        return orjson.dumps({_writable(name): _writable(value) for name, value in fields.items()}).decode()


def _writable(value: Any) -> Any:
    """A value, or its text where orjson cannot write it: a lone surrogate, an integer beyond 64 bits."""
    try:
        orjson.dumps(value)
    except TypeError:
        return str(value).encode("utf-8", "backslashreplace").decode()
    return value


def _route_libraries(stream: TextIO, level: int, shared: list[Processor], render: list[Processor]) -> None:
    """Give what libraries send to the standard `logging` the same form, from warnings on (debug: everything)."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), _logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level if level == logging.DEBUG else max(level, logging.WARNING))


def _logger_name(_logger: Any, _method: str, event: EventDict) -> EventDict:
    event.setdefault("component", event["_record"].name)
    return event
