from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
    field_validator,
)

from taskflow import InvalidPayload
from taskflow.tasks.payload import PayloadModel, encode_payload


class Address(BaseModel):
    street: str
    number: int


class Parcel(BaseModel):
    to: Address
    stops: list[Address] = []
    weight: float = Field(1.0, gt=0)


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
    assert not any(value in str(refused.value) for value in ("hunter2", "cba"))


def test_what_is_refused_as_an_instance_can_be_enqueued_as_a_dict():
    for model, payload in ((Login, {"password": "hunter2"}), (ReadsAnother, {"A": 5}), (Hashed, {"word": "abc"})):
        assert json.loads(PayloadModel(model).encode(payload, "mail")) == payload


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
