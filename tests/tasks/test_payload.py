from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    PlainSerializer,
    PrivateAttr,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
)

from taskflow import InvalidPayload, InvalidTask
from taskflow.tasks.payload import PayloadModel, encode_json, encode_payload


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
        encode_payload(payload, "mail")
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


class Login(BaseModel):
    password: SecretStr = SecretStr("")
    keys: list[SecretBytes] = []
    any: Any = None


class ReadsAnother(BaseModel):
    a: int = Field(0, validation_alias="A")


class WritesAnother(BaseModel):
    inner: list[WritesAnotherRecord] = []


@dataclass
class WritesAnotherRecord:
    a: Annotated[int, Field(serialization_alias="A~")] = 0


class WritesAnotherList(BaseModel):
    pair: list[int] = Field([1, 2], serialization_alias="p")


class Hashed(BaseModel):
    word: str

    @field_validator("word")
    @classmethod
    def hash(cls, word: str) -> str:
        return word[::-1] + "#"


class HalfCoded(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64")
    data: bytes


@pytest.mark.parametrize(
    ("instance", "problems"),
    [
        (Login(password="hunter2"), {"/password": "secret"}),
        (
            Login(keys=[b"a", b"b"], any={"b": Login(password="c")}),
            dict.fromkeys(["/keys/0", "/keys/1", "/any/b/password"], "secret"),
        ),
        (ReadsAnother(A=5), {"/a": "changed"}),
        (WritesAnother(inner=[WritesAnotherRecord(), WritesAnotherRecord(5)]), {"/inner/1/A~0": "changed"}),
        (WritesAnotherRecord(5), {"/A~0": "changed"}),
        (WritesAnotherList(pair=[3, 4]), {"/p/0": "changed", "/p/1": "changed"}),
        (Hashed(word="abc"), {"/word": "changed"}),
        (HalfCoded(data=b"abc"), {"/data": "changed"}),
        (Address(street="s", number=2**70 + 1), {"/number": "int_parsing_size"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_instance_that_would_reach_the_handler_as_something_else_is_refused(instance, problems):
    for encode in (PayloadModel(type(instance)).encode, encode_payload):
        with pytest.raises(InvalidPayload, match=next(iter(problems))) as refused:
            encode(instance, "mail")
        assert {problem.pointer: problem.code for problem in refused.value.problems} == problems
    assert "hunter2" not in str(refused.value)


def test_what_is_refused_as_an_instance_can_be_enqueued_as_a_dict():
    for model, payload in ((Login, {"password": "hunter2"}), (ReadsAnother, {"A": 5}), (Hashed, {"word": "abc"})):
        assert json.loads(PayloadModel(model).encode(payload, "mail")) == payload


def test_a_number_that_a_model_writes_outside_of_json_is_refused():
    class Constants(BaseModel):
        model_config = ConfigDict(ser_json_inf_nan="constants")
        number: float

    with pytest.raises(InvalidTask, match="cannot be stored as JSON"):
        PayloadModel(Constants).encode(Constants(number=math.nan), "mail")


class Known(Login):
    @field_serializer("password", when_used="json")
    def write(self, password: SecretStr) -> str:
        return password.get_secret_value()


class Choices(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    a: int = Field(0, validation_alias=AliasChoices("A", "a"))
    b: int = Field(0, validation_alias="B")


class Cached(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    word: str
    hidden: str = Field("", exclude=True)
    _lock: object = PrivateAttr(default_factory=object)
    seen: list[int] = []

    @computed_field
    def number(self) -> float:
        return random.random()


@dataclass(eq=False)
class ComparedByIdentity:
    word: str = "w"
    tags: set[str] = field(default_factory=lambda: {str(n) for n in range(100)})


class Loose(BaseModel):
    either: Path | str | date = ""
    at: datetime = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))  # 2:30 comes twice
    any: Any = {1: (date(2026, 1, 1), Decimal("1.50"))}
    parts: dict[str, Address | Parcel] = {}
    shape: Annotated[float, PlainSerializer(lambda value: round(value, 2), when_used="json")] = 0.0


class PutRight(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)
    word: str
    parts: list[str] = []


@dataclass
class PutRightRecord:
    word: Annotated[str, BeforeValidator(lambda word: word.lower())]
    note: Annotated[str | None, AfterValidator(lambda note: note or None)] = None
    needed: Annotated[str | None, AfterValidator(lambda note: note or None)] = field(kw_only=True)
    inner: list[PutRight] = field(default_factory=list)


class First(BaseModel):
    word: str
    more: int = 0


class Second(BaseModel):
    word: str


class MoreThanKnown(Address):
    more: int = 1


@pytest.mark.parametrize(
    ("annotation", "instance"),
    [
        (Login, Login(any="*** no secret")),
        (Known, Known(password="hunter2", any="***")),
        (Choices, Choices(A=5, B=6)),
        (Cached, Cached(word="w", hidden="h", seen=[2, 1])),
        (ComparedByIdentity, ComparedByIdentity()),
        (Loose, Loose(either=Path("p"), shape=1.2345)),
        (Loose, Loose(either=date(2026, 1, 1), parts={"a/b": MoreThanKnown(street="s", number=1)})),
        (PutRight, PutRight.model_construct(word=" w ", parts=[" a", "b"])),
        (PutRightRecord, PutRightRecord("W", "", [PutRight.model_construct(word=" w")], needed="")),
        (First | Second, Second(word="w")),
        (Address, MoreThanKnown(street="s", number=1, more=2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_instance_is_sound_where_its_model_is_content_with_what_is_read_back(annotation, instance):
    model = PayloadModel(annotation)
    model.parse(json.loads(model.encode(instance, "mail")), "mail")


def test_another_models_instance_is_refused():
    with pytest.raises(InvalidPayload, match="does not fit"):
        PARCEL.encode(Address(street="s", number=1), "parcel")


def test_what_is_stored_is_what_was_given_not_what_the_model_makes_of_it():
    assert json.loads(PARCEL.encode({"to": {"street": "s", "number": "1"}}, "parcel")) == {
        "to": {"street": "s", "number": "1"}
    }
