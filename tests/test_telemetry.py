from __future__ import annotations

import io
import json
import logging
import timeit
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from taskflow import settings, telemetry


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_object_on_one_line_with_utc_time() -> None:
    telemetry.configure(settings.load(), stream := io.StringIO())
    telemetry.get_logger("worker").info("attempt_failed", task_id=42, error="two\nlines")
    (event,) = logged(stream)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "level": "info",
        "event": "attempt_failed",
        "component": "worker",
        "task_id": 42,
        "error": "two\nlines",
    }


def test_a_terminal_gets_lines_for_people() -> None:
    telemetry.configure(settings.load(), stream := Terminal())
    telemetry.get_logger("worker").info("worker_started", queues=["mail"])
    assert "worker_started" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_the_format_can_be_forced() -> None:
    telemetry.configure(settings.load(log_format="json"), terminal := Terminal())
    telemetry.get_logger("worker").info("worker_started")
    assert logged(terminal)[0]["event"] == "worker_started"
    telemetry.configure(settings.load(log_format="pretty"), pipe := io.StringIO())
    telemetry.get_logger("worker").info("worker_started")
    assert not pipe.getvalue().startswith("{")
    assert "\x1b" not in pipe.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://anna:s3cret@db:5432/app",
        "postgres://anna:s3cret@db/app?sslmode=require",
        "postgresql+psycopg://anna:s3cret@/app?host=/run",
        "connection to postgresql://anna:p@s3cret/x@db/app failed",
        "postgresql:///app?user=anna&password=s3cret&host=db",
        "host=db user=anna password=s3cret dbname=app",
        "host=db user=anna password = 'very s3cret' dbname=app",
        "https://anna:s3cret@hooks.example.com/x",
        "redis://:s3cret@cache:6379/0",
    ],
)
def test_no_password_of_a_connection_string_is_ever_logged(text: str) -> None:
    telemetry.configure(settings.load(), stream := io.StringIO())
    log = telemetry.get_logger("worker")
    log.error("failed", error=text)
    log.error("failed", nested={"list": [text], "error": ValueError(text)})
    log.error(text)
    try:
        raise ConnectionError(text)
    except ConnectionError:
        log.exception("failed")
    logging.getLogger("some.library").warning("cannot connect: %s", text)
    assert len(logged(stream)) == 5
    assert "s3cret" not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_a_field_that_is_named_like_a_secret_is_hidden() -> None:
    telemetry.configure(settings.load(), stream := io.StringIO())
    telemetry.get_logger("web").info("key_made", token="tf_abc", headers={"authorization": "Bearer tf_abc"})
    assert "tf_abc" not in stream.getvalue()


@pytest.mark.parametrize(
    "text", ["https://example.com:8080/a?mail=x@example.com", "task 42@host", "it's a password", "12:30:00 a@b"]
)
def test_what_holds_no_password_is_logged_as_it_is(text: str) -> None:
    assert telemetry.hide_passwords(text) == text


@pytest.mark.parametrize("value", [2**80, "\ud800", float("nan"), object(), {1: 2}, b"\x00\xff"])
def test_no_value_keeps_an_event_from_being_logged(value: object) -> None:
    telemetry.configure(settings.load(), stream := io.StringIO())
    telemetry.get_logger("worker").info("odd_value", value=value)
    assert logged(stream)[0]["event"] == "odd_value"


def test_a_value_that_json_has_not_is_its_text_and_leaves_the_others_alone() -> None:
    telemetry.configure(settings.load(), stream := io.StringIO())
    telemetry.get_logger("worker").warning("attempt_failed", error="bad \ud800", big=2**80, task_id=6687, tags=["a"])
    (event,) = logged(stream)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "level": "warning", "event": "attempt_failed", "component": "worker",
        "error": "bad \\ud800", "big": str(2**80), "task_id": 6687, "tags": ["a"],
    }  # fmt: skip


def test_libraries_log_in_the_same_form_and_only_what_matters() -> None:
    telemetry.configure(settings.load(), stream := io.StringIO())
    logging.getLogger("alembic.runtime").info("Context impl PostgresqlImpl.")
    logging.getLogger("psycopg.pool").warning("error connecting in %r", "pool-1")
    (event,) = logged(stream)
    assert event["component"] == "psycopg.pool"
    assert event["event"] == "error connecting in 'pool-1'"
    assert event["level"] == "warning"


def test_the_level_filters_and_a_filtered_event_costs_next_to_nothing() -> None:
    telemetry.configure(settings.load(log_level="warning"), stream := io.StringIO())
    log = telemetry.get_logger("worker")
    calls = 20_000
    seconds = min(timeit.repeat(lambda: log.debug("claimed", tasks=200), number=calls, repeat=5))
    assert seconds / calls < 5e-6  # measured 0.25 µs; a busy machine is allowed its noise
    log.info("claimed")
    assert stream.getvalue() == ""


def test_a_logger_made_at_import_obeys_what_is_configured_later() -> None:
    structlog.reset_defaults()
    log = telemetry.get_logger("worker")
    telemetry.configure(settings.load(log_level="error"), stream := io.StringIO())
    log.info("claimed")
    log.error("claim_failed")
    assert [event["event"] for event in logged(stream)] == ["claim_failed"]
