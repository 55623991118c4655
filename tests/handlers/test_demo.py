from __future__ import annotations

import hashlib

import pytest

from taskflow.errors import Cancel, DeadLetter
from taskflow.tasks.registry import registry

PAYLOAD = {"name": "ü", "items": [1, 2.5, None, {"on": True}]}
CANONICAL = '{"items":[1,2.5,null,{"on":true}],"name":"ü"}'.encode()


def test_demo_returns_what_its_steps_found(run) -> None:
    result = run("demo", PAYLOAD, number=3)
    assert result["values"] == {"object": 2, "string": 1, "array": 1, "number": 2, "null": 1, "boolean": 1}
    assert result["depth"] == 4
    assert result["bytes"] == len(CANONICAL)
    assert result["sha256"] == hashlib.sha256(CANONICAL).hexdigest()
    assert result["verified"] is True
    assert result["attempt"] == 3


def test_the_order_of_keys_does_not_change_the_fingerprint(run) -> None:
    assert run("demo", {"a": 1, "b": 2})["sha256"] == run("demo", {"b": 2, "a": 1})["sha256"]


def test_progress_rises_to_the_end_and_every_step_is_logged(context_of, attempt) -> None:
    context = context_of(attempt, "demo")
    registry.get("demo").function(PAYLOAD, context)
    assert attempt.progress == [(25, "measured"), (50, "fingerprinted"), (75, "compressed"), (100, "verified")]
    assert [entry["level"] for entry in attempt.logs.stored()] == ["info"] * 3


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_cancelled_demo_stops_before_its_next_step(run, attempt, steps) -> None:
    attempt.cancelled_from = steps
    with pytest.raises(Cancel):
        run("demo", PAYLOAD)
    assert len(attempt.progress) == steps


def test_a_payload_nested_too_deeply_is_final(run) -> None:
    payload: dict[str, object] = {}
    for _ in range(100_000):
        payload = {"a": payload}
    with pytest.raises(DeadLetter, match="nested too deeply"):
        run("demo", payload)
