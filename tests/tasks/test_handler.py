from __future__ import annotations

import asyncio
import functools
import sys
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, Optional, TypeVar

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType, TypedDict

import taskflow.tasks.context
from taskflow import Context, RegistrationError
from taskflow import Context as Attempted
from taskflow.tasks.registry import Registry, task

if TYPE_CHECKING:
    import nowhere
    from nowhere import Missing


class Model(BaseModel):
    url: str


@dataclass
class Record:
    url: str
    size: int = 100


class Keys(TypedDict):
    url: str


Content = TypeVar("Content")


class Box(BaseModel, Generic[Content]):
    content: Content


KeysAlias = TypeAliasType("KeysAlias", Keys)
BoxAlias = TypeAliasType("BoxAlias", Box[Content], type_params=(Content,))
PlainAlias = TypeAliasType("PlainAlias", dict[str, Any])
TextAlias = TypeAliasType("TextAlias", str)


def declare(function, **options):
    return task("mail", registry=Registry(), **options)(function)


def test_a_handler_is_still_the_function_it_was():
    def send(payload: dict, context: Context) -> str:
        return f"{payload} {context}"

    handler = declare(send)
    assert handler({}, None) == "{} None"
    assert handler(payload={}, context=None) == "{} None"
    assert handler.function is send


def test_an_async_handler_is_known_as_one():
    async def send(payload):
        return payload

    handler = declare(send)
    assert handler.is_async
    assert asyncio.run(handler({"a": 1})) == {"a": 1}
    assert not declare(lambda payload: None).is_async


def test_an_object_with_an_async_call_is_async():
    class Sender:
        async def __call__(self, payload): ...

    assert declare(Sender()).is_async


def no_context(payload): ...
def by_name(payload, context): ...
def by_position(payload, ctx): ...
def by_annotation(payload, ctx: Context): ...
def by_dotted_annotation(payload, ctx: taskflow.tasks.context.Context): ...
def optional_context(payload, context: Context | None = None): ...
def old_optional_context(payload, ctx: Optional[Context] = None): ...  # noqa: UP045
def none_first(payload, ctx: None | Context = None): ...  # noqa: RUF036
def union_of_dotted(payload, ctx: typing.Union[None, taskflow.tasks.context.Context] = None): ...  # noqa: RUF036, UP007
def annotated_context(payload, ctx: Annotated[Context, "of the attempt"]): ...
def alias(payload, ctx: Attempted | None = None): ...
def for_type_checkers(payload, ctx: nowhere.Context): ...
def optional_for_type_checkers(payload, ctx: None | nowhere.Context = None): ...  # noqa: RUF036
def old_optional_for_type_checkers(payload, ctx: Optional[nowhere.Context] = None): ...  # noqa: UP045
def other_default(payload, tries=3): ...
def other_annotated_default(payload, tries: int = 3): ...
def other_list(payload, of: list[Context] = ()): ...
def other_union(payload, of: dict[str, Context] | None = None): ...
def other_for_type_checkers(payload, of: dict[str, nowhere.Context] | None = None): ...
def text_for_people(payload, tries: "as often as it takes" = 3): ...  # noqa: F722
def keyword_default(payload, *, tries=3): ...


def quoted_in_optional(payload, ctx=None): ...
def quoted_for_type_checkers(payload, ctx=None): ...


quoted_in_optional.__annotations__["ctx"] = Optional["Context"]  # as in a module that postpones no annotations
quoted_for_type_checkers.__annotations__["ctx"] = Optional["nowhere.Context"]


@pytest.mark.parametrize(
    ("function", "wants"),
    [
        (no_context, False),
        (by_name, True),
        (by_position, True),
        (by_annotation, True),
        (by_dotted_annotation, True),
        (optional_context, True),
        (old_optional_context, True),
        (none_first, True),
        (union_of_dotted, True),
        (annotated_context, True),
        (alias, True),
        (for_type_checkers, True),
        (optional_for_type_checkers, True),
        (old_optional_for_type_checkers, True),
        (quoted_in_optional, True),
        (quoted_for_type_checkers, True),
        (other_default, False),
        (other_annotated_default, False),
        (other_list, False),
        (other_union, False),
        (other_for_type_checkers, False),
        (text_for_people, False),
        (keyword_default, False),
    ],
)
def test_whether_a_function_wants_the_context_is_read_from_its_parameters(function, wants):
    assert declare(function).wants_context is wants


def test_a_decorated_function_keeps_its_parameters():
    @functools.wraps(by_annotation)
    def wrapper(*args, **kwargs):
        return by_annotation(*args, **kwargs)

    assert declare(wrapper).wants_context


def no_parameters(): ...
def any_parameters(*payloads): ...
def three(payload, context, other): ...
def keyword(payload, *, other): ...
def second_is_something_else(payload, size: int): ...
def yields(payload):
    yield


async def yields_async(payload):
    yield


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_parameters, "takes no payload"),
        (any_parameters, "takes no payload"),
        (three, "'other'"),
        (keyword, "'other'"),
        (second_is_something_else, "'size'"),
        (yields, "yields"),
        (yields_async, "yields"),
        (Record, "is a class"),
        (42, "not 42"),
    ],
)
def test_a_function_that_cannot_be_called_with_a_payload_is_refused(function, said):
    with pytest.raises(RegistrationError, match=said):
        declare(function)


def test_an_async_handler_cannot_run_in_a_process_of_its_own():
    async def send(payload): ...

    with pytest.raises(RegistrationError, match="event loop"):
        declare(send, isolation="process")


def test_the_payload_arrives_as_what_the_annotation_says():
    def model(payload: Model): ...
    def record(payload: Record): ...
    def keys(payload: Keys): ...
    def described(payload: Annotated[Model, Field(description="what to fetch")]): ...
    def either(payload: Model | Record): ...

    assert declare(model).parse({"url": "u"}) == Model(url="u")
    assert declare(record).parse({"url": "u"}) == Record("u", 100)
    assert declare(keys).parse({"url": "u"}) == {"url": "u"}
    assert declare(described).parse({"url": "u"}) == Model(url="u")
    assert declare(either).parse({"url": "u", "size": 1}) in (Model(url="u"), Record("u", 1))
    assert declare(record).payload_type is Record


def test_an_alias_is_what_it_stands_for():
    def keys(payload: KeysAlias): ...
    def either(payload: Annotated[KeysAlias | Model, "what to fetch"]): ...
    def generic(payload: BoxAlias[int]): ...
    def text(payload: TextAlias): ...

    assert declare(keys).parse({"url": "u"}) == {"url": "u"}
    assert declare(either).parse({"url": "u"}) in ({"url": "u"}, Model(url="u"))
    assert declare(generic).parse({"content": "1"}) == Box[int](content=1)
    with pytest.raises(RegistrationError, match="JSON object"):
        declare(text)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic takes both from Python 3.12 on")
def test_a_typed_dict_of_an_older_python_is_refused_with_advice():
    def handler(payload: typing.TypedDict("Old", {"url": str})): ...

    with pytest.raises(RegistrationError, match=r"typing_extensions\.TypedDict.* on Python < 3\.12"):
        declare(handler)


def test_a_plain_payload_arrives_untouched():
    def plain(payload: dict[str, Any]): ...
    def aliased(payload: PlainAlias): ...

    payload = {"any": "thing"}
    for function in (plain, aliased, no_context):
        handler = declare(function)
        assert handler.parse(payload) is payload
        assert handler.payload_schema() is None


def test_an_annotation_that_is_no_object_is_refused():
    def text(payload: str): ...
    def things(payload: list[Model]): ...
    def perhaps(payload: Model | None): ...

    for function in (text, things, perhaps):
        with pytest.raises(RegistrationError, match="JSON object"):
            declare(function)


def test_an_annotation_that_only_type_checkers_know_is_refused_with_advice():
    def handler(payload: Missing): ...

    with pytest.raises(RegistrationError, match="TYPE_CHECKING"):
        declare(handler)


def test_a_model_that_pydantic_cannot_check_is_refused():
    @dataclass
    class Odd:
        thing: object.__class__.__subclasshook__

    def handler(payload): ...

    handler.__annotations__["payload"] = Odd
    with pytest.raises(RegistrationError, match="cannot be validated"):
        declare(handler)


def test_the_schema_is_json_schema_2020_12():
    import jsonschema

    def record(payload: Record): ...

    schema = declare(record).payload_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["url"]
