"""The pages of docs/ that are made from the code are those that the code makes, and leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import taskflow
from ops.pages import PAGES, command_line
from taskflow import AsyncClient, Client, Context, Registry, TaskHandler, testing
from taskflow.settings import Settings, load
from taskflow.tasks.new_task import EnqueueOptions
from taskflow.tasks.registry import DecoratorOptions
from taskflow.web import create_app
from taskflow.web.http.problems import KINDS
from taskflow.web.openapi.endpoints import endpoints
from taskflow.web.openapi.explanations import EXPLANATIONS

ROOT = Path(__file__).resolve().parent.parent
PYTHON_REFERENCE = (ROOT / "docs" / "python-reference.md").read_text(encoding="utf-8")
PYTHON = "".join(path.read_text() for path in sorted((ROOT / "taskflow").rglob("*.py")))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_makes_it(name: str) -> None:
    current = (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name]()
    assert current, f"docs/{name} is not current: run ops/generate-docs"


def test_every_code_of_an_error_is_explained() -> None:
    assert set(EXPLANATIONS) == set(KINDS)


def test_every_error_that_is_raised_has_a_code_of_the_list() -> None:
    raised = set(re.findall(r"\bProblem\(\s*\"(\w+)\"", PYTHON))
    assert len(raised) > 20
    assert raised <= set(KINDS)


def test_every_setting_is_explained() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_operation_is_in_the_reference_with_an_example() -> None:
    page = (ROOT / "docs" / "api-reference.md").read_text(encoding="utf-8")
    app = create_app(load(database_url="postgresql://localhost/taskflow"))
    for endpoint in endpoints(app):
        assert f"### {endpoint.method} {endpoint.path}\n" in page or f"`{endpoint.path}`" in page, endpoint.path
    assert page.count("```sh\n") == len({(endpoint.view, endpoint.method) for endpoint in endpoints(app)})


@pytest.mark.parametrize(
    "group", ["enqueue", "tasks", "queues", "schedules", "workers", "dlq", "stats", "top", "keys", "completion"]
)
def test_every_command_has_an_example(group: str) -> None:
    shown = command_line.examples()
    of_group = [path for path, _ in command_line.paths() if path.split()[0] == group]
    assert of_group
    assert [path for path in of_group if path not in shown] == []


def section(title: str) -> str:
    """What stands below a heading of the Python reference, up to the next one."""
    return PYTHON_REFERENCE.partition(f"### {title}\n")[2].partition("\n##")[0]


def public_methods(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}


@pytest.mark.parametrize("name", taskflow.__all__)
def test_every_public_name_is_in_the_python_reference(name: str) -> None:
    assert re.search(rf"^(?:##+ .*\b{name}\b|\| `{name}` \|)", PYTHON_REFERENCE, re.MULTILINE)


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_of_the_testing_module_is_in_the_python_reference(name: str) -> None:
    assert f"### testing.{name}\n" in PYTHON_REFERENCE


@pytest.mark.parametrize("kind", [Client, Context, Registry, TaskHandler, testing.Harness])
def test_every_public_method_has_a_signature_and_a_text(kind: type) -> None:
    for name in public_methods(kind):
        signature, _, text = section(f"{kind.__name__}.{name}").removeprefix("\n```\n").partition("\n```\n")
        assert f".{name}(" in signature, name
        assert len(text.split()) > 5, name


@pytest.mark.parametrize(
    ("title", "options"), [("The decorator task", DecoratorOptions), ("Client.enqueue", EnqueueOptions)]
)
def test_every_option_is_explained_with_its_type(title: str, options: type) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", section(title), re.MULTILINE)
    assert {name for name, type_, meaning in rows if type_ and meaning} >= set(options.__annotations__)


def test_the_python_reference_shows_no_paths_of_modules_and_no_addresses() -> None:
    shown = "\n".join(re.findall(r"^```\n(.*?)^```$", PYTHON_REFERENCE, re.MULTILINE | re.DOTALL))
    shown += "\n".join(re.findall(r"^\| `\w+` \| (.+?) \|", PYTHON_REFERENCE, re.MULTILINE))
    assert not re.search(
        r"taskflow\.(?:client|tasks|store|errors)|typing\.|<|TypeVar|~|Unpack|Literal|PayloadT\b", shown
    )


def test_the_asynchronous_client_has_the_methods_of_the_other() -> None:
    assert public_methods(AsyncClient) == public_methods(Client)
