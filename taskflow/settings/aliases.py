"""Names of variables that other programs and platforms use, and which setting each one means: the one list of them.

`TASKFLOW_<NAME>` wins over all of these; among them the one that stands first wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:/\[\]]*)):(?P<port>[0-9]{1,5})")
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 (what `:8080` means wherever it is written so)


def address(text: str) -> tuple[str, str]:
    """Host and port of `host:port`, `[::1]:8080` or `:8080` (every address). Raises ValueError."""
    found = ADDRESS.fullmatch(text.strip())
    if found is None or int(found["port"]) > 65535:
        raise ValueError("must be host:port, such as 127.0.0.1:8080, [::1]:8080, or :8080 for every address")
    return found["v6"] or found["host"] or EVERY_ADDRESS, found["port"]


@dataclass(frozen=True, slots=True)
class Alias:
    """`variable` gives the value of each of `settings`, as it is or as `read` makes it. `note`, for the page of the
    settings, says how; with `said` it is said at the start too, since the two names do not mean quite the same."""

    variable: str
    settings: tuple[str, ...]
    note: str = ""
    read: Callable[[str], Mapping[str, str]] | None = None
    said: bool = False

    def values(self, text: str) -> Mapping[str, str]:
        """Setting → its value as text. Raises ValueError."""
        return dict.fromkeys(self.settings, text) if self.read is None else self.read(text)


def _server_address(text: str) -> Mapping[str, str]:
    host, port = address(text)
    return {"host": host, "port": port}


RETENTION = ("retention_completed", "retention_ended", "retention_executions")


def _days(text: str) -> Mapping[str, str]:
    number = text.strip()
    return dict.fromkeys(RETENTION, f"{number}d" if number.replace(".", "", 1).isdigit() else number)


ALIASES = (
    Alias("PORT", ("port",), "as platforms set it"),
    Alias("DATABASE_URL", ("database_url",), "as platforms set it"),
    Alias("WEB_CONCURRENCY", ("web_processes",), "as platforms set it"),
    Alias("LOG_LEVEL", ("log_level",)),
    Alias("HTTP_PORT", ("port",)),
    Alias("SERVER_ADDR", ("host", "port"), "`host:port`; `:8080` is every address of the machine", _server_address),
    Alias("POSTGRES_DSN", ("database_url",)),
    Alias("WORKER_CONCURRENCY", ("concurrency",)),
    Alias("WORKER_COUNT", ("concurrency",), "how many tasks run at once; for processes see `TASKFLOW_PROCESSES`"),
    Alias("WORKER_POLL_TIMEOUT", ("poll_interval",)),
    Alias("WORKER_MAX_ATTEMPTS", ("max_attempts",)),
    Alias("WORKER_BACKOFF_BASE", ("retry_delay",)),
    Alias("WORKER_BACKOFF_MAX", ("max_retry_delay",)),
    Alias("TASKQUEUE_SERVER_PORT", ("port",)),
    Alias("TASKQUEUE_WORKER_CONCURRENCY", ("concurrency",)),
    Alias("TASKQUEUE_QUEUE_RETRYMAXATTEMPTS", ("max_attempts",)),
    Alias("TASKQUEUE_QUEUE_MAXQUEUESIZE", ("max_depth",)),
    Alias(
        "TASKQUEUE_QUEUE_RATELIMITRPS",
        ("rate_limit",),
        "requests a second of one client of the API; how many tasks of a queue start is the queue's own `rate_limit`",
        said=True,
    ),
    Alias("TASKQUEUE_QUEUE_TASKRETENTIONDAYS", RETENTION, "in days", _days),
    Alias("TASKQUEUE_LOGLEVEL", ("log_level",)),
)
OTHER_PREFIX = "TASKQUEUE_"
# Variables with the prefix of the settings that are none.
NO_SETTINGS = frozenset({"TASKFLOW_CONFIG"})
BROKERS = (
    "REDIS_ADDR",
    "REDIS_URL",
    "REDIS_HOST",
    "NATS_URL",
    "KAFKA_BROKERS",
    "RABBITMQ_URL",
    "AMQP_URL",
    "CLOUDAMQP_URL",
    "CELERY_BROKER_URL",
    "BROKER_URL",
)
