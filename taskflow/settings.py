"""The settings: one frozen object, made at start from the environment, every problem listed at once."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings.sources import EnvSettingsSource

from taskflow.errors import SettingsError

Names = Annotated[tuple[str, ...], NoDecode]
Seconds = Annotated[float, Field(gt=0)]
DAY_SECONDS = 86_400.0
ORIGIN = re.compile(r"https?://[^/\s,?#@]+")  # as browsers write one: no path, not even a slash
REDACTED_NAMES = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "api_key",
    "access_key",
    "private_key",
    "credential",
    "cookie",
)


class Settings(BaseSettings):
    """Every setting is an environment variable `TASKFLOW_<NAME>`; `DATABASE_URL` and `PORT` are understood too."""

    model_config = SettingsConfigDict(env_prefix="TASKFLOW_", frozen=True, extra="ignore", env_ignore_empty=True)

    database_url: str = Field(
        "", repr=False, validation_alias=AliasChoices("TASKFLOW_DATABASE_URL", "DATABASE_URL", "database_url")
    )
    # worker
    queues: Names = ()  # empty: every queue
    types: Names = ()  # empty: every type that is registered
    imports: Names = ()
    concurrency: int = Field(10, ge=1, le=1000)
    processes: int = Field(1, ge=1, le=256)
    poll_interval: Seconds = 5.0
    prefetch_seconds: float = Field(0.075, ge=0, le=10)
    claim_batch: int = Field(500, ge=1, le=1000)
    claim_commit: Literal["durable", "async"] = "durable"
    drain_timeout: float = Field(25.0, ge=0)
    heartbeat_interval: Seconds = 5.0
    heartbeat_timeout: Seconds = 30.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "pretty"] = "auto"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(
        0, ge=0, le=65535
    )  # of workers and schedulers; 0: none. Several processes: those above it
    # leader
    retention_completed: Seconds = 7 * DAY_SECONDS
    retention_ended: Seconds = 30 * DAY_SECONDS
    retention_executions: Seconds = 30 * DAY_SECONDS
    # web
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535, validation_alias=AliasChoices("TASKFLOW_PORT", "PORT", "port"))
    auth: Literal["on", "off"] = "on"
    admin_key: str = Field("", repr=False)
    allowed_hosts: Names = ()  # with auth off: Host and Origin beyond loopback; "*": any
    cors_origins: Names = ()  # of web pages that may use the API; "*": any
    trusted_proxies: Names = ()  # addresses and networks whose X-Forwarded-For is believed
    rate_limit: float = Field(1000.0, ge=0, le=1_000_000)  # requests a second of one client; 0: no limit
    max_payload_bytes: int = Field(256 * 1024, ge=1, le=1024 * 1024)
    reject_unknown_types: bool = False
    redact: Names = REDACTED_NAMES
    metrics_open: bool = False  # /metrics without a key
    web_processes: int = Field(
        2, ge=1, le=64, validation_alias=AliasChoices("TASKFLOW_WEB_PROCESSES", "WEB_CONCURRENCY", "web_processes")
    )
    web_threads: int = Field(48, ge=4, le=1000)  # in each process
    web_connections: int = Field(5, ge=1, le=100)  # in each process
    max_streams: int = Field(64, ge=0, le=5000)  # of events, in each process; each has a thread beside web_threads
    stream_seconds: Seconds = 300.0  # a stream ends then, and the client connects again
    web_prepare: bool = True  # prepared statements; a pooler in transaction mode may not know them

    @field_validator(
        "queues", "types", "imports", "allowed_hosts", "cors_origins", "trusted_proxies", "redact", mode="before"
    )
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        return tuple(name for part in value.split(",") if (name := part.strip())) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("admin_key")
    @classmethod
    def _as_it_is_sent(cls, value: str) -> str:
        return value.strip()  # as that of a header is

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            try:
                ipaddress.ip_network(name, strict=False)
            except ValueError:
                raise PydanticCustomError(
                    "network", "must be addresses or networks, such as 10.0.0.1 or 10.0.0.0/8"
                ) from None
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if all(name == "*" or ORIGIN.fullmatch(name) for name in value):
            return value
        raise PydanticCustomError(
            "origin", "must be origins, such as https://app.example or http://localhost:5173, or *"
        )

    @field_validator("metrics_port")
    @classmethod
    def _has_room_above(cls, value: int, info: ValidationInfo) -> int:
        processes = info.data.get("processes", 1)
        if value and processes > 1 and value + processes > 65535:
            raise PydanticCustomError("port", "each of several processes has a port above it, up to 65535")
        return value

    @field_validator("database_url")
    @classmethod
    def _one_scheme(cls, value: str) -> str:
        return "postgresql://" + value.removeprefix("postgres://") if value.startswith("postgres://") else value

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment; no dotenv and no secrets directory that nobody asked for."""
        return init_settings, EnvSettingsSource(settings_cls)


def load(**flags: Any) -> Settings:
    """Read the settings from the environment; `flags` that are not None win over it.

    Raises `SettingsError` with one line a problem; a value is never repeated in it, since it may be a secret.
    """
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise SettingsError([_problem(item) for item in error.errors(include_input=False, include_url=False)]) from None


def _problem(item: Any) -> str:
    name = str(item["loc"][-1])
    variable = name if name.isupper() else f"TASKFLOW_{name.upper()}"
    return f"{variable}: {item['msg']}"
