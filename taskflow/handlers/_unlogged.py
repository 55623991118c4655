"""Keeps httpx from logging the requests of webhooks: their paths, and where they are redirected to, may be secret.

Only with `TASKFLOW_LOG_LEVEL=debug` it would; what other handlers send is logged as ever.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")
_unlogged: ContextVar[bool] = ContextVar("_unlogged", default=False)


@contextmanager
def unlogged() -> Iterator[None]:
    """Drop what httpx logs in this block, in this task alone."""
    token = _unlogged.set(True)
    try:
        yield
    finally:
        _unlogged.reset(token)


def _may_be_logged(_record: logging.LogRecord) -> bool:
    return not _unlogged.get()


for _name in LOGGERS:
    logging.getLogger(_name).addFilter(_may_be_logged)
