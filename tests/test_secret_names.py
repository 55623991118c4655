"""What sounds like a secret is hidden at every door by one rule: in answers, in the log, in errors of tasks."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import structlog

from taskflow import telemetry
from taskflow.handlers._secrets import Secrets
from taskflow.handlers.sql import _secrets
from taskflow.secret_names import SECRET_NAMES, SecretNames
from taskflow.settings import load
from taskflow.web.access.redaction import Redaction

VALUE = "s3cret-value"


def in_an_answer(name: str) -> str:
    return str(Redaction(load().redact)({"a": [{name: VALUE}]}))


def in_a_field_of_the_log(name: str) -> str:
    return str(telemetry.redact(None, "info", {name: VALUE}))


def deep_in_the_log(name: str) -> str:
    return str(telemetry.redact(None, "info", {"a": [{name: VALUE}]}))


def in_the_error_of_a_request(name: str) -> str:
    return Secrets.of("https://example.com", {name: VALUE}).blot(VALUE)


def in_the_error_of_a_function(name: str) -> str:
    found = _secrets({"a": [{name: VALUE}]}, SecretNames(load().redact).sounds_secret)
    return Secrets.from_values(found).blot(VALUE)


DOORS = [
    in_an_answer,
    in_a_field_of_the_log,
    deep_in_the_log,
    in_the_error_of_a_request,
    in_the_error_of_a_function,
]
SPELLINGS = [
    *SECRET_NAMES,
    *("apiKey", "apikey", "API-Key", "X-Api-Key-2", "api key", "access-key", "accessKey", "private.key", "adminKey"),
    *("DB_PASSWORD", "newPassword2", "client-secret", "accessToken", "Set-Cookie", "Proxy-Authorization"),
]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", SPELLINGS)
def test_every_door_hides_the_same_spellings(door: Callable[[str], str], name: str) -> None:
    assert VALUE not in door(name)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["user", "pass", "keyboard", "to", "", "key", "secxret"])
def test_no_door_hides_others(door: Callable[[str], str], name: str) -> None:
    assert VALUE in door(name)


@pytest.mark.parametrize("name", ["WWW-Authenticate", "X-Auth", "X-Hub-Signature-256"])
def test_of_headers_more_is_secret(name: str) -> None:
    assert VALUE not in in_the_error_of_a_request(name)


@pytest.mark.parametrize("door", [in_an_answer, in_the_error_of_a_function])
@pytest.mark.parametrize("name", ["пароль", "Пароль_2", "CONTRASEÑA", "Ключ-API"])
def test_an_operators_names_may_be_of_any_alphabet(
    door: Callable[[str], str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKFLOW_REDACT", "пароль,contraseña,ключ api,_")
    assert VALUE not in door(name)
    assert VALUE in door("password")


def test_what_is_not_set_may_be_logged_and_a_field_may_have_any_name() -> None:
    telemetry.configure(load(), stream := io.StringIO())
    try:
        telemetry.get_logger("web").info("login", token=None, headers={1: "a", "cookie": ""})
    finally:
        structlog.reset_defaults()
    assert '"token":null,"headers":{"1":"a","cookie":""}' in stream.getvalue().replace(" ", "")
