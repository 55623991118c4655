"""The settings: one frozen object, made at start; `loading.py` says from what."""

from __future__ import annotations

import base64
import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from taskflow.queue_names import QUEUE_RULE, is_queue_name
from taskflow.secret_names import SECRET_NAMES
from taskflow.settings.database_url import has_raw_at, has_raw_at_and_slash, has_raw_slash, normalised
from taskflow.settings.durations import duration

Names = tuple[str, ...]
Duration = Annotated[float, BeforeValidator(duration), Field(allow_inf_nan=False)]
"""Seconds, also as `500ms`, `10s`, `2m`, `1h30m` or `7d`."""
DAY_SECONDS = 86_400.0
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(duration)]
Delay = Annotated[float, Field(ge=0, le=30 * DAY_SECONDS, allow_inf_nan=False), BeforeValidator(duration)]
LOG_LEVELS = {"trace": "debug", "notice": "info", "warn": "warning", "critical": "error", "fatal": "error"}
ORIGIN = re.compile(r"https?://[^/\s,?#@]+")  # as browsers write one: no path, not even a slash
PROXY = re.compile(r"https?://(?:[^\s/?#@]+@)?[^\s/?#@]+/?")
SENDER = re.compile(r"[^\s<>@,;]+@[^\s<>@,;]+|[^<>@\x00-\x1f\x7f]*<[^\s<>@,;]+@[^\s<>@,;]+>")
SIGNING_SECRET = re.compile(r"[\w.-]{1,100}=whsec_([A-Za-z0-9+/]+={0,2})", re.ASCII)


class Settings(BaseModel):
    """Every setting is a key of `taskflow.toml` and an environment variable `TASKFLOW_<NAME>`; `aliases.py` has the
    other variables that are understood. What is secret has `repr=False`.

    The text below a setting is what docs/configuration.md says about it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    database_url: str = Field("", repr=False)
    """The database, as `postgresql://user:password@host:5432/name`; see [the database](#the-database)."""
    # worker
    queues: Names = ()
    """Serve these queues only. Empty: every queue."""
    types: Names = ()
    """Run these types only. Empty: every type with a handler."""
    imports: Names = ()
    """Modules that declare handlers; looked for in the current directory too."""
    concurrency: int = Field(10, ge=1, le=1000)
    """Tasks that one process runs at once."""
    processes: int = Field(1, ge=1, le=256)
    """Worker processes under one supervisor."""
    worker_id: str = Field("", max_length=200)
    """The name under which this worker is listed. Empty: that of its machine."""
    max_attempts: int | None = Field(None, ge=1, le=1000)
    """Attempts of a task where neither it nor its handler says how many. Unset: what its queue says."""
    retry_delay: Delay | None = None
    """Wait for so long after a first failure, likewise; how it grows is the retry strategy's affair."""
    max_retry_delay: Delay | None = None
    """Never wait longer than that before a retry, likewise."""
    poll_interval: Seconds = 5.0
    """Look for work at least this often, even if nobody rings."""
    prefetch_seconds: Duration = Field(0.075, ge=0, le=10)
    """Hold ready what the handlers do in this time; 0: nothing beyond the slots."""
    sql_functions: Names = ()
    """SQL functions that tasks of the type `sql` may call, as `schema.name`. Empty: none."""
    claim_batch: int = Field(500, ge=1, le=1000)
    """Most tasks that one claim takes."""
    claim_commit: Literal["durable", "async"] = "durable"
    """`async`: claims do not wait for the disk. A crash of the server may forget one, and the task is claimed again."""
    drain_timeout: Duration = Field(25.0, ge=0)
    """Time to finish what runs after SIGTERM."""
    heartbeat_interval: Seconds = 5.0
    """How often a worker says that it lives."""
    heartbeat_timeout: Seconds = Field(30.0, validate_default=True)
    """Silent for so long, a worker is given up. The same value everywhere, and several times the interval: at least
    twice."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged, by every command."""
    log_format: Literal["auto", "json", "pretty"] = "auto"
    """`auto`: pretty on a terminal, JSON elsewhere."""
    metrics_host: str = "127.0.0.1"
    """Address of the port for metrics; `0.0.0.0` is every one of the machine. It asks for no key."""
    metrics_port: int = Field(0, ge=0, le=65535)
    """A worker or scheduler serves `/metrics` there, several processes at the ports from there on; 0: nowhere."""
    # leader
    retention_completed: Seconds = 7 * DAY_SECONDS
    """Keep completed tasks for so long: 7 days."""
    retention_ended: Seconds = 30 * DAY_SECONDS
    """Keep cancelled and failed tasks for so long: 30 days."""
    retention_executions: Seconds = 30 * DAY_SECONDS
    """Keep the audit rows of attempts for so long: 30 days."""
    # task types that come along
    smtp_host: str = ""
    """The server that takes mail for tasks of type `email`, a name or an address. Empty: none, and such tasks fail."""
    smtp_port: int = Field(0, ge=0, le=65535)
    """Its port; 0: 587, with `tls` 465, with `off` 25."""
    smtp_tls: Literal["off", "starttls", "tls"] = "starttls"
    """`tls`: encrypted from the first byte. Certificates are checked; `SSL_CERT_FILE` names authorities of your own."""
    smtp_user: str = ""
    """Log in as this user. Without encryption only to a loopback address."""
    smtp_password: str = Field("", repr=False)
    """The password for that."""
    smtp_timeout: Duration = Field(30.0, gt=0, le=600)
    """Longest wait for any one answer of the server."""
    email_from: str = ""
    """Sender of mails whose payload has no `from`, as `shop@example.com` or `Shop <shop@example.com>`."""
    webhook_allow: Names = ()
    """Networks that webhooks may reach although they are not public, as `10.1.0.0/16`; `*`: any address."""
    webhook_proxy: str = Field("", repr=False)
    """Webhooks go through this proxy, as `http://proxy:3128`, which then has to refuse private addresses."""
    webhook_secrets: Names = Field((), repr=False)
    """What webhooks can be signed with, as `shop=whsec_…`. A name given twice signs with both."""
    files_root: str = ""
    """Directory that `data_export`, `image_resize` and `report` read and write files below; empty: none."""
    exports: str = ""
    """Directory of the exports that payloads may name: `<name>.sql`, a SELECT each."""
    export_queries: bool = False
    """Payloads of `data_export` may bring a SELECT of their own: whoever creates tasks may then read the database."""
    export_database_url: str = Field("", repr=False)
    """The database to export from: a replica, a login that may read little. Empty: `DATABASE_URL`."""
    export_role: str = ""
    """Role that exports take (`SET LOCAL ROLE`)."""
    image_max_pixels: int = Field(64_000_000, ge=1, le=1_000_000_000)
    """Largest image that `image_resize` takes, in pixels; one takes about 8 bytes of memory each."""
    # web
    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` is every one of the machine."""
    port: int = Field(8080, ge=0, le=65535)
    """Port to listen on; 0 is any free one."""
    auth: Literal["on", "off"] = "on"
    """`off`: no key is asked for, and only requests to a loopback name (`Host`, `Origin`) are answered."""
    admin_key: str = Field("", repr=False)
    """A first key of the API: a long random text (`openssl rand -hex 32`)."""
    allowed_hosts: Names = ()
    """With auth off: further names that requests may name; `*`: any."""
    cors_origins: Names = ()
    """Origins of web pages that may use the API from a browser, as `https://app.example`; `*`: any."""
    trusted_proxies: Names = ()
    """Addresses and networks of proxies whose `X-Forwarded-For` is believed."""
    rate_limit: float = Field(1000.0, ge=0, le=1_000_000)
    """Requests a second of one client, and as many at once; 0: no limit."""
    max_depth: int = Field(0, ge=0, le=2**31 - 1)
    """Tasks that may wait in any one queue, the API answers 503 above it; 0: as many as the queue itself allows
    (`max_depth`), which counts too where it is less."""
    max_payload_bytes: int = Field(256 * 1024, ge=1, le=1024 * 1024)
    """Longest payload as JSON, for the API and for `Client`."""
    reject_unknown_types: bool = False
    """The API refuses types that no worker has registered."""
    redact: Names = SECRET_NAMES
    """Parts of names whose values the API shows as `[redacted]`."""
    metrics_open: bool = False
    """`/metrics` of the server without a key."""
    web_processes: int = Field(2, ge=1, le=64)
    """Processes that serve."""
    web_threads: int = Field(48, ge=4, le=1000)
    """Requests that each of them serves at once."""
    web_connections: int = Field(5, ge=1, le=100)
    """Connections to the database that each of them opens at most."""
    max_streams: int = Field(64, ge=0, le=5000)
    """Streams of events that each of them serves at once, with a thread for each beside the others."""
    stream_seconds: Seconds = 300.0
    """A stream ends after this time, and its client connects again."""
    web_prepare: bool = True
    """Prepared statements; `false` where a pooler in between is not noticed."""
    # command line
    url: str = ""
    """A server, as `http://127.0.0.1:8080`, that commands ask instead of the database; `--url` wins."""
    key: str = Field("", repr=False)
    """The key that they show it; `--key` wins, and every user of the machine can see that."""

    @field_validator(
        *("queues", "types", "imports", "sql_functions", "allowed_hosts", "cors_origins", "trusted_proxies", "redact"),
        *("webhook_allow", "webhook_secrets"),
        mode="before",
    )
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return tuple(name for part in value.split(",") if (name := part.strip())) if isinstance(value, str) else value

    @field_validator("log_level", "smtp_tls", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return LOG_LEVELS.get(value.strip().lower(), value.strip().lower()) if isinstance(value, str) else value

    @field_validator("admin_key", "key")
    @classmethod
    def _as_it_is_sent(cls, value: str) -> str:
        return value.strip()  # as that of a header is

    @field_validator("queues")
    @classmethod
    def _name_queues(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if all(map(is_queue_name, value)):
            return value
        raise PydanticCustomError("queue", f"must be names of queues with commas between them, each {QUEUE_RULE}")

    @field_validator("sql_functions")
    @classmethod
    def _have_schemas(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if all(len(parts := name.split(".")) == 2 and all(parts) for name in value):
            return value
        raise PydanticCustomError(
            "function", "must be names of functions with their schema, such as billing.close_month"
        )

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if all(map(_is_network, value)):
            return value
        raise PydanticCustomError("network", "must be addresses or networks, such as 10.0.0.1 or 10.0.0.0/8")

    @field_validator("webhook_allow")
    @classmethod
    def _networks_or_any(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if all(name == "*" or _is_network(name) for name in value):
            return value
        raise PydanticCustomError("network", "must be addresses or networks, such as 10.0.0.0/8 or ::1, or *")

    @field_validator("webhook_proxy")
    @classmethod
    def _is_proxy(cls, value: str) -> str:
        if not value or PROXY.fullmatch(value):
            return value
        raise PydanticCustomError("proxy", "must be a proxy, such as http://proxy:3128")

    @field_validator("webhook_secrets")
    @classmethod
    def _named_secrets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if all(map(_is_named_secret, value)):
            return value
        raise PydanticCustomError("secret", "must be names with secrets, as shop=whsec_… with 24 to 64 bytes in base64")

    @field_validator("smtp_host")
    @classmethod
    def _host_alone(cls, value: str) -> str:
        host = value.strip().removeprefix("[").removesuffix("]")
        if re.fullmatch(r"[\w.-]*", host) or (":" in host and _is_network(host)):
            return host
        raise PydanticCustomError("host", "must be a name or an address alone; TASKFLOW_SMTP_PORT is for the port")

    @field_validator("smtp_user", "smtp_password")
    @classmethod
    def _can_log_in(cls, value: str, info: ValidationInfo) -> str:
        if not value.isascii():
            raise PydanticCustomError("login", "must be ASCII: SMTP servers agree on nothing else")
        host = info.data.get("smtp_host", "")
        if value and info.data.get("smtp_tls") == "off" and host and not _is_loopback(host):
            raise PydanticCustomError(
                "login", "would travel unencrypted: set TASKFLOW_SMTP_TLS to starttls or tls, or log in nowhere"
            )
        return value

    @field_validator("email_from")
    @classmethod
    def _is_sender(cls, value: str) -> str:
        if not value or SENDER.fullmatch(value):
            return value
        raise PydanticCustomError("sender", "must be one address, as shop@example.com or Shop <shop@example.com>")

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if all(name == "*" or ORIGIN.fullmatch(name) for name in value):
            return value
        raise PydanticCustomError(
            "origin", "must be origins, such as https://app.example or http://localhost:5173, or *"
        )

    @field_validator("heartbeat_timeout")
    @classmethod
    def _lets_a_heartbeat_be_late(cls, value: float, info: ValidationInfo) -> float:
        # A worker claims nothing when its last heartbeat is half of this old; with still less it is given up alive.
        if value >= 2 * info.data.get("heartbeat_interval", 0):
            return value
        raise PydanticCustomError(
            "heartbeat",
            "must be at least twice TASKFLOW_HEARTBEAT_INTERVAL, or workers that live are given up: raise it, or lower"
            " the interval",
        )

    @field_validator("metrics_port")
    @classmethod
    def _has_room_above(cls, value: int, info: ValidationInfo) -> int:
        processes = info.data.get("processes", 1)
        if value and processes > 1 and value + processes > 65535:
            raise PydanticCustomError("port", "each of several processes has a port above it, up to 65535")
        return value

    @field_validator("database_url", "export_database_url")
    @classmethod
    def _for_libpq(cls, value: str) -> str:
        url = normalised(value)
        if has_raw_at(url):
            raise PydanticCustomError("database_url", "has an @ within the user or the password: write that one as %40")
        if has_raw_at_and_slash(url):
            raise PydanticCustomError(
                "database_url", "has an @ and a / within the user or the password: write these as %40 and %2F"
            )
        if has_raw_slash(url):
            raise PydanticCustomError(
                "database_url",
                "has a / within the user or the password: write that one as %2F (an @ in the database's name as %40)",
            )
        return url


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_network(host) and ipaddress.ip_network(host, strict=False).is_loopback)


def _is_named_secret(text: str) -> bool:
    found = SIGNING_SECRET.fullmatch(text)
    try:
        return found is not None and 24 <= len(base64.b64decode(found[1], validate=True)) <= 64
    except ValueError:
        return False
