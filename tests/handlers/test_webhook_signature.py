"""Signatures of webhooks, checked by the reference implementation of Standard Webhooks."""

from __future__ import annotations

import json
import traceback
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from taskflow.errors import DeadLetter, SettingsError
from taskflow.settings import load

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDazJxLXs0bQM="


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_WEBHOOK_SECRETS", f"shop={SECRET}, turning={OTHER}, turning={SECRET}")


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize("name", ["shop", "turning"])
def test_the_receiver_can_verify_a_signature_also_while_one_secret_follows_another(run, receiver, name) -> None:
    run("webhook", {"url": receiver.answer("/hook", 200), "json": {"order": "ü"}, "sign_with": name})
    (request,) = receiver.received
    assert Webhook(SECRET).verify(request.body, request.headers) == {"order": "ü"}
    if name == "turning":
        assert Webhook(OTHER).verify(request.body, request.headers) == {"order": "ü"}
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body + b" ", request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 32).verify(request.body, request.headers)


@pytest.mark.usefixtures("secrets")
def test_all_attempts_of_a_delivery_have_one_id_and_another_delivery_has_another(run, receiver) -> None:
    url = receiver.answer("/hook", 200)
    for document, number in (({}, 1), ({}, 2), ({"a": 1}, 1)):
        run("webhook", {"url": url, "json": document, "sign_with": "shop"}, number=number)
    first, again, other = (request.headers["webhook-id"] for request in receiver.received)
    assert first == again != other
    assert "." not in first


@pytest.mark.usefixtures("secrets")
def test_an_empty_body_and_a_form_are_signed_as_they_are_sent(run, receiver) -> None:
    url = receiver.answer("/hook", 200)
    run("webhook", {"url": url, "body": json.dumps({"a": 1}), "sign_with": "shop"})
    assert Webhook(SECRET).verify(receiver.received[0].body, receiver.received[0].headers) == {"a": 1}
    run("webhook", {"url": url, "data": {"a": "1"}, "sign_with": "shop"})
    signature = Webhook(SECRET).sign(
        receiver.received[1].headers["webhook-id"],
        timestamp_of(receiver.received[1].headers),
        receiver.received[1].body.decode(),
    )
    assert receiver.received[1].headers["webhook-signature"] == signature


def timestamp_of(headers: dict[str, str]) -> datetime:
    return datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)


@pytest.mark.usefixtures("secrets")
def test_a_signature_stays_with_its_origin(run, receivers) -> None:
    ours, theirs = receivers(), receivers()
    run("webhook", {"url": ours.answer("/hook", 307, location=theirs.answer("/hook", 200)), "sign_with": "shop"})
    assert "webhook-signature" in ours.received[0].headers
    assert not [name for name in theirs.received[0].headers if name.startswith("webhook-")]


def test_without_a_name_nothing_is_signed(run, receiver) -> None:
    run("webhook", {"url": receiver.answer("/hook", 200)})
    assert not [name for name in receiver.received[0].headers if name.startswith("webhook-")]


@pytest.mark.usefixtures("secrets")
def test_a_name_that_the_worker_does_not_know_is_final_and_no_secret_is_shown(run, receiver) -> None:
    with pytest.raises(DeadLetter, match=r"no secret 'shopp'.*TASKFLOW_WEBHOOK_SECRETS") as caught:
        run("webhook", {"url": receiver.answer("/hook", 200), "sign_with": "shopp"})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in repr(load())
    assert receiver.received == []


@pytest.mark.parametrize("value", [SECRET, f"shop={SECRET[6:]}", "shop=whsec_YWJj", f"a b={SECRET}", "shop=whsec_%%%"])
def test_secrets_that_are_none_are_refused_at_start_and_not_shown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TASKFLOW_WEBHOOK_SECRETS", value)
    with pytest.raises(SettingsError, match="TASKFLOW_WEBHOOK_SECRETS") as caught:
        load()
    assert value.rpartition("_")[2] not in str(caught.value)
