from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from taskflow import InvalidTask
from taskflow.tasks.encoding import encode_json


@dataclass
class Letter:
    to: str
    sent: date | None = None


@pytest.mark.parametrize(
    ("payload", "where", "said"),
    [
        ({"a": float("nan")}, "/a", "nan is no JSON number"),
        ({"a": [1, {"b": float("inf")}]}, "/a/1/b", "inf is no JSON number"),
        ({"a": "x\x00y"}, "/a", "NUL"),
        ({"a\x00": 1}, "payload cannot", "NUL"),
        ({"a/b": {"~": object()}}, "/a~1b/~0", "not JSON serializable"),
        ({"a": {1: 2}}, "/a", "the key 1 is no text"),
        ({"a": 2**64}, "/a", "64-bit"),
        ({"a": "\ud800"}, "/a", "surrogates"),
        ({"a": Decimal("1")}, "/a", "Decimal"),
        ({"a": Letter("x\x00")}, "/a/to", "NUL"),
    ],
)
def test_what_jsonb_cannot_hold_is_refused_and_located(payload, where, said):
    with pytest.raises(InvalidTask) as refused:
        encode_json(payload)
    assert where in str(refused.value)
    assert said in str(refused.value)


def test_a_payload_that_contains_itself_is_refused():
    payload: dict = {}
    payload["again"] = payload
    with pytest.raises(InvalidTask, match="contains itself"):
        encode_json(payload)


def test_null_and_an_escaped_backslash_are_sound():
    payload = {"nothing": None, "text": "\\u0000 and null"}
    assert json.loads(encode_json(payload)) == payload


def test_common_python_values_are_stored_as_texts():
    encoded = encode_json({"at": datetime(2026, 1, 2, tzinfo=UTC), "id": UUID(int=1), "day": date(2026, 1, 2)})
    assert json.loads(encoded) == {
        "at": "2026-01-02T00:00:00+00:00",
        "id": "00000000-0000-0000-0000-000000000001",
        "day": "2026-01-02",
    }


def test_a_long_pointer_is_cut():
    payload = inner = {}
    for _ in range(60):
        inner["level"] = {}
        inner = inner["level"]
    inner["at"] = object()
    with pytest.raises(InvalidTask, match=r"^payload at (/level){16}/\.\.\. cannot be stored"):
        encode_json(payload)
