"""At its start a program says once what it does not do with variables that are set."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from taskflow import telemetry
from taskflow.cli.notices import log_notices
from taskflow.settings import load


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_misspelt_setting_and_a_broker_are_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_PROT", "1")
    monkeypatch.setenv("REDIS_URL", "redis://:s3cret@h")
    telemetry.configure(load(), stream := io.StringIO())

    log_notices()

    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["event"], line["variables"]) for line in lines] == [
        ("warning", "setting_unknown", ["TASKFLOW_PROT"]), ("info", "setting_not_used", ["REDIS_URL"]),
    ]  # fmt: skip
    assert "s3cret" not in stream.getvalue()
