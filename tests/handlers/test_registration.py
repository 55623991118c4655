from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import taskflow.handlers
from taskflow.tasks.registry import registry

FILES = [path.stem for path in Path(taskflow.handlers.__file__).parent.glob("*.py") if not path.stem.startswith("_")]
WITH_A_FIXED_SHAPE = [
    *("compute", "data_export", "email", "fail", "http", "image_resize", "math", "report", "sleep", "sql", "webhook"),
]


def test_every_file_is_a_type_of_its_name() -> None:
    assert set(FILES) == {"demo", "echo", *WITH_A_FIXED_SHAPE}
    assert set(FILES) <= set(registry.types())


def test_importing_the_package_alone_registers_all() -> None:
    program = "import taskflow.handlers; from taskflow.tasks.registry import registry; print(*registry.types())"
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert set(output.split()) == set(FILES)


@pytest.mark.parametrize("type", WITH_A_FIXED_SHAPE)
def test_the_schema_of_a_type_is_valid_closed_and_describes_every_field(type: str) -> None:
    schema = registry.get(type).payload_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert all(field.get("description") for field in schema["properties"].values())


@pytest.mark.parametrize("type", ["echo", "demo"])
def test_a_type_for_any_object_has_no_schema(type: str) -> None:
    assert registry.get(type).payload_schema() is None


@pytest.mark.parametrize("type", WITH_A_FIXED_SHAPE)
def test_every_type_says_what_it_is_for(type: str) -> None:
    assert registry.get(type).function.__doc__


@pytest.mark.parametrize(
    ("type", "payload", "pointer"),
    [
        ("data_export", {}, []),
        ("data_export", {"query": "SELECT 1", "export": "orders"}, ["export"]),
        ("data_export", {"query": "SELECT 1", "path": "../x"}, ["path"]),
        ("data_export", {"query": "SELECT 1", "format": "pdf"}, ["format"]),
        ("data_export", {"query": "SELECT 1", "params": {"a": {}}}, ["params", "a"]),
        ("image_resize", {"path": "a", "url": "http://b", "sizes": [{"width": 1}]}, ["path"]),
        ("image_resize", {"sizes": [{"width": 1}]}, []),
        ("image_resize", {"path": "/a", "sizes": [{"width": 1}]}, ["path"]),
        ("image_resize", {"path": "a", "sizes": [{"width": 1}, {"name": "x"}]}, ["sizes", 1]),
        ("image_resize", {"url": "file:///etc/passwd", "sizes": [{"width": 1}]}, ["url"]),
        ("report", {"type": "hourly"}, ["type"]),
        ("report", {"type": "daily", "path": "a/../b.html"}, ["path"]),
        ("report", {"type": "daily", "email_to": ["a@b.example", "nobody"]}, ["email_to", 1]),
        ("compute", {"operation": "matrix", "n": 501}, ["n"]),
        ("compute", {"operation": "primes", "n": "9"}, ["n"]),
    ],
)
def test_the_schema_finds_what_is_wrong_where_it_is(
    type: str, payload: dict[str, object], pointer: list[object]
) -> None:
    """So the API answers 422 with the place, though it knows none of this code."""
    validator = jsonschema.Draft202012Validator(registry.get(type).payload_schema())
    errors = list(validator.iter_errors(payload))
    assert [list(error.absolute_path) for error in errors] == [pointer]
    assert "given schemas" not in errors[0].message or "params" in pointer


@pytest.mark.parametrize(
    ("type", "payload"),
    [
        ("data_export", {"query": "SELECT 1", "params": {"a": [1, None]}, "path": "a/b.csv"}),
        ("data_export", {"export": "orders", "format": "xlsx"}),
        ("image_resize", {"path": "a", "sizes": [{"width": 1}, {"height": 2, "name": "x"}]}),
        ("image_resize", {"url": "https://b", "sizes": [{"width": 1, "height": 1}], "fit": "cover"}),
        ("report", {"type": "custom", "from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00+01:00"}),
        ("report", {"type": "daily", "path": "a.html", "email_to": ["a@b.example"]}),
    ],
)
def test_the_schema_takes_what_the_handler_takes(type: str, payload: dict[str, object]) -> None:
    handler = registry.get(type)
    jsonschema.Draft202012Validator(handler.payload_schema()).validate(payload)
    assert handler.parse(payload)
