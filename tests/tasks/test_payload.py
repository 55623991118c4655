from __future__ import annotations

import json
import math
import traceback
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    computed_field,
)

from taskflow import InvalidPayload, InvalidTask
from taskflow.tasks.payload import PayloadModel, encode_payload


class Address(BaseModel):
    street: str
    number: int


class Parcel(BaseModel):
    to: Address
    stops: list[Address] = []
    weight: float = Field(1.0, gt=0)


@dataclass
class Letter:
    to: str
    sent: date | None = None


PARCEL = PayloadModel(Parcel)


@pytest.mark.parametrize("payload", [[1], "text", 3, None, Parcel])
def test_a_payload_that_is_no_object_is_refused(payload):
    with pytest.raises(InvalidTask, match="payload must be a mapping"):
        encode_payload(payload, "mail")


def test_mappings_models_and_dataclasses_are_objects():
    assert encode_payload(MappingProxyType({"a": 1}), "mail") == '{"a":1}'
    assert json.loads(encode_payload(Letter("me", date(2026, 1, 2)), "mail")) == {"to": "me", "sent": "2026-01-02"}
    assert json.loads(encode_payload(Address(street="s", number=1), "mail")) == {"street": "s", "number": 1}


def test_every_problem_has_a_json_pointer_a_code_and_a_sentence():
    with pytest.raises(InvalidPayload) as refused:
        PARCEL.parse({"to": {"street": 1}, "stops": [{"street": "s", "number": "x"}], "weight": 0}, "parcel")
    problems = {problem.pointer: problem.code for problem in refused.value.problems}
    assert problems == {
        "/to/street": "string_type",
        "/to/number": "missing",
        "/stops/0/number": "int_parsing",
        "/weight": "greater_than",
    }
    assert "parcel" in str(refused.value)
    assert "/to/number: Field required" in str(refused.value)


def test_pointers_name_places_in_the_payload_not_members_of_a_union():
    class Cat(BaseModel):
        kind: Literal["cat"]
        lives: int

    class Dog(BaseModel):
        kind: Literal["dog"]
        tricks: list[str]

    class Visit(BaseModel):
        pet: Cat | Dog = Field(discriminator="kind")

    with pytest.raises(InvalidPayload) as refused:
        PayloadModel(Visit).parse({"pet": {"kind": "cat", "lives": "nine"}}, "visit")
    assert [problem.pointer for problem in refused.value.problems] == ["/pet/lives"]


def test_the_check_at_enqueue_is_the_check_at_run():
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        day: date

    model = PayloadModel(Strict)
    encoded = model.encode({"day": date(2026, 1, 2)}, "mail")
    assert model.parse(json.loads(encoded), "mail") == Strict(day=date(2026, 1, 2))
    assert model.encode(Strict(day=date(2026, 1, 2)), "mail") == encoded


def test_an_instance_with_aliases_and_computed_fields_can_be_read_back():
    class Aliased(BaseModel):
        model_config = ConfigDict(extra="forbid")
        street_name: str = Field(alias="streetName")

        @computed_field
        def shout(self) -> str:
            return self.street_name.upper()

    model = PayloadModel(Aliased)
    instance = Aliased(streetName="s")
    assert model.parse(json.loads(model.encode(instance, "mail")), "mail") == instance


def test_an_instance_that_was_spoiled_after_its_making_is_refused():
    parcel = Parcel(to=Address(street="s", number=1))
    parcel.weight = -1
    with pytest.raises(InvalidPayload, match="/weight"):
        PARCEL.encode(parcel, "parcel")
    parcel.weight = "heavy"
    with pytest.raises(InvalidPayload, match="does not fit"):
        PARCEL.encode(parcel, "parcel")


def test_an_instance_with_a_nan_or_a_nul_is_refused():
    parcel = Parcel(to=Address(street="s", number=1))
    parcel.weight = float("nan")
    with pytest.raises(InvalidTask, match="/weight"):
        PARCEL.encode(parcel, "parcel")
    with pytest.raises(InvalidTask, match="/to/street"):
        PARCEL.encode(Parcel(to=Address(street="\x00", number=1)), "parcel")


class Wide(BaseModel):
    """A field of every kind that pydantic writes as JSON and orjson does not, beside one that may be None."""

    price: Decimal = Decimal("9.990")
    path: Path = Path("a/b")
    wait: timedelta = timedelta(days=1, microseconds=5)
    sizes: set[int] = {1, 2**40}
    names: dict[int, str] = {1: "one"}
    page: HttpUrl = HttpUrl("https://example.com/")
    note: str | None = None
    number: float | None = None
    any: Any = None


@dataclass
class WideRecord:
    price: Decimal = Decimal("9.990")
    path: Path = Path("a/b")
    wait: timedelta = timedelta(days=1, microseconds=5)
    sizes: frozenset[int] = frozenset({1, 2**40})
    names: dict[int, str] = field(default_factory=lambda: {1: "one"})
    note: str | None = None
    number: float | None = None
    any: Any = None


@pytest.mark.parametrize("kind", [Wide, WideRecord])
@pytest.mark.parametrize(
    "said", [{}, {"note": "null"}, {"note": "x", "any": "\\u0000"}, {"any": {1: {None}}}], ids=repr
)
def test_an_instance_may_hold_none_beside_what_only_its_model_can_write(kind, said):
    model = PayloadModel(kind)
    read = model.parse(json.loads(model.encode(kind(**said), "mail")), "mail")
    assert (read.price, read.path, read.wait, read.sizes, read.names) == (
        Decimal("9.990"),
        Path("a/b"),
        timedelta(days=1, microseconds=5),
        {1, 2**40},
        {1: "one"},
    )
    assert read.note == said.get("note")


@pytest.mark.parametrize("kind", [Wide, WideRecord])
@pytest.mark.parametrize(
    ("said", "where", "what"),
    [
        ({"number": math.nan}, "/number", "nan is no JSON number"),
        ({"any": [1, {"b": (math.inf,)}]}, "/any/1/b/0", "inf is no JSON number"),
        ({"any": {1: {math.nan}}}, "/any/1/0", "nan is no JSON number"),
        ({"note": "a\x00"}, "/note", "NUL"),
        ({"any": {"\x00": 1}}, "/any", "NUL"),
        ({"path": Path("a\x00")}, "/path", "NUL"),
    ],
    ids=repr,
)
def test_a_nan_or_a_nul_beside_what_only_a_model_can_write_is_located(kind, said, where, what):
    with pytest.raises(InvalidTask, match=f"payload at {where} cannot be stored as JSON: .*{what}"):
        PayloadModel(kind).encode(kind(**said), "mail")


def test_a_number_that_a_model_writes_outside_of_json_is_refused():
    class Constants(BaseModel):
        model_config = ConfigDict(ser_json_inf_nan="constants")
        number: float

    with pytest.raises(InvalidTask, match="cannot be stored as JSON"):
        PayloadModel(Constants).encode(Constants(number=math.nan), "mail")


def test_another_models_instance_is_refused():
    with pytest.raises(InvalidPayload, match="does not fit"):
        PARCEL.encode(Address(street="s", number=1), "parcel")


@dataclass(slots=True)
class Login:
    name: str
    key: bytes = b""
    parcel: Parcel | None = None


@pytest.mark.parametrize(
    ("instance", "places"),
    [
        (Login(76543), {"/name"}),
        (Login("anna", b"76543\xff\x00"), {"/key"}),
        (Login("76543\ud800"), {"/name"}),
        (Login("anna", parcel=Parcel.model_construct(to=76543)), {"/parcel"}),
        (Login(76543, "76543"), {"/name", "/key"}),
        (Address(street="76543", number=1), {""}),
    ],
)
def test_what_a_model_does_not_write_is_named_without_its_values(instance, places):
    with pytest.raises(InvalidPayload, match="The payload does not fit the type 'login'") as caught:
        PayloadModel(Login).encode(instance, "login")
    assert {problem.pointer for problem in caught.value.problems} == places
    assert "76543" not in "".join(traceback.format_exception(caught.value))


def test_what_is_no_object_is_refused_without_repeating_it():
    with pytest.raises(InvalidTask, match="not str") as caught:
        encode_payload("s3cret", "mail")
    assert "s3cret" not in str(caught.value)


def test_what_is_stored_is_what_was_given_not_what_the_model_makes_of_it():
    assert json.loads(PARCEL.encode({"to": {"street": "s", "number": "1"}}, "parcel")) == {
        "to": {"street": "s", "number": "1"}
    }
