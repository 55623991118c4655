"""The documentation names only what exists, and all that it promises to list; its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import taskflow.handlers  # noqa: F401  (registers the built-in types)
from taskflow.cli.main import main
from taskflow.cluster import Cluster
from taskflow.settings import Settings
from taskflow.settings.aliases import ALIASES, NO_SETTINGS
from taskflow.store.roles import PRODUCER_COLUMNS, ROLES
from taskflow.tasks.registry import registry
from tests.forked import UNMEASURED

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
MIGRATIONS = "".join(path.read_text() for path in sorted(ROOT.glob("migrations/versions/*.py")))
SQL = "".join(path.read_text() for path in sorted(ROOT.glob("sql/**/*.sql")))
PYTHON = "".join(path.read_text() for path in sorted(ROOT.glob("taskflow/**/*.py")))
OPERATIONS, CONTRACT = ROOT / "docs" / "operations.md", ROOT / "docs" / "sql.md"
CONFIGURATION, OBSERVABILITY = ROOT / "docs" / "configuration.md", ROOT / "docs" / "observability.md"
FOR_THE_TESTS = {"TASKFLOW_TEST_DATABASE_URL", "TASKFLOW_TEST_PG_BIN", "TASKFLOW_TEST_WAKE_UPS"}

on_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def commands_on(page: Path) -> list[str]:
    """Every command line that begins with `taskflow`: in blocks of code, indented, or between backticks."""
    shell = [
        line
        for language in ("", "sh", "console", "bash")
        for block in blocks(page, language)
        for line in block.split("\n")
    ]
    shell += [line for line in text_of(page).split("\n") if line.startswith("    ")]
    quoted = re.findall(r"`([^`\n]+)`", prose(page))
    lines = [re.sub(r"^\s*(?:\$ )?(?:\w+: )?(?:[A-Z_]+=(?:\$\([^)]*\)|\S*) )*", "", line) for line in (*shell, *quoted)]
    return [line.split(" #")[0] for line in lines if re.match(r"taskflow [a-z<]", line)]


@on_each_page
def test_every_command_and_its_flags_exist(page: Path) -> None:
    context = click.Context(main)
    for line in commands_on(page):
        name, *rest = line.split()[1:]
        if name in ("<command>", "is"):  # any command; what `taskflow dev` says
            continue
        command: Any = main.get_command(context, name)
        assert command is not None, line
        if rest and rest[0] in getattr(command, "commands", ()):
            command = command.commands[rest[0]]
        known = {"--help", *(option for parameter in command.params for option in parameter.opts)}
        known |= {o for c in getattr(command, "commands", {}).values() for p in c.params for o in p.opts}
        assert {word for word in rest if word.startswith("--")} <= known, line


def variables(name: str) -> set[str]:
    """The environment variable of a setting."""
    return {f"TASKFLOW_{name.upper()}"}


@on_each_page
def test_every_setting_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"\bTASKFLOW_[A-Z_]*[A-Z]\b", text_of(page)))
    assert named - FOR_THE_TESTS - NO_SETTINGS <= set().union(*map(variables, Settings.model_fields))


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_table_with_its_default(name: str) -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", text_of(CONFIGURATION), re.MULTILINE))
    shown = [rows[variable] for variable in variables(name) if variable in rows]
    assert len(shown) == 1, f"{variables(name)} must be one row of the table"
    match Settings.model_fields[name].default:
        case bool(default):
            assert shown[0] == str(default).lower()
        case int(default) | float(default):
            assert float(shown[0]) == default
        case str(default) if default:
            assert shown[0] == f"`{default}`"


def test_every_other_name_of_a_setting_is_in_the_table() -> None:
    table = text_of(CONFIGURATION).partition("## Other names")[2]
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", table, re.MULTILINE)
    assert rows == [
        (alias.variable, ", ".join(f"`TASKFLOW_{name.upper()}`" for name in alias.settings)) for alias in ALIASES
    ]


@on_each_page
def test_every_sql_function_and_table_that_is_named_exists(page: Path) -> None:
    text = re.sub(r"^```python\n.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)  # there it is the package
    assert set(re.findall(r"\btaskflow\.(\w+)\(", text)) <= {path.stem for path in ROOT.glob("sql/functions/*.sql")}
    relations = set(re.findall(r"CREATE TABLE taskflow\.(\w+)", MIGRATIONS))
    relations |= {path.stem for path in ROOT.glob("sql/views/*.sql")}
    assert set(re.findall(r"\b(?:FROM|INTO|UPDATE|COPY|copy) taskflow\.(\w+)\b(?!\()", text)) <= relations


def test_the_contract_lists_the_columns_and_the_rules_of_a_producer() -> None:
    table = text_of(CONTRACT).partition("## Columns of a producer")[2].partition("\n## ")[0]
    rows = [line for line in table.split("\n") if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])} == set(PRODUCER_COLUMNS)

    rules = {name for row in rows for name in re.findall(r"`(\w+_(?:is|are)_\w+)`", row)}
    producers, _, _ = MIGRATIONS.partition("running_tasks_have_a_worker")
    assert rules == set(re.findall(r"CONSTRAINT (\w+)", producers)) - {""} - {
        "running_tasks_have_a_worker_and_others_none"
    }


@on_each_page
def test_every_role_and_every_sqlstate_of_ours_exists(page: Path) -> None:
    assert set(re.findall(r"\bTF\d{3}\b", text_of(page))) <= set(re.findall(r"\bTF\d{3}\b", SQL))
    text = re.sub(r"^```promql\n.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)  # there it is a metric
    named = set(re.findall(r"\btaskflow_(?:producer|worker|reader|operator)\w*", text))
    assert named <= {role.name for role in ROLES}


def test_every_event_that_the_table_explains_is_logged() -> None:
    table = text_of(OBSERVABILITY).partition("## Logs")[2].partition("\n## ")[0]
    events = [name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)]
    assert len(events) > 10
    assert [event for event in events if f'"{event}"' not in PYTHON] == []


def test_the_page_of_task_types_has_every_type_that_comes_along() -> None:
    page = text_of(ROOT / "docs" / "handlers.md")
    built_in = {
        name for name in registry.types() if registry.get(name).function.__module__.startswith("taskflow.handlers")
    }
    assert set(re.findall(r"^## ([a-z_]+)$", page, re.MULTILINE)) == built_in


def test_the_procfile_shown_is_the_procfile() -> None:
    assert f"\n```\n{(ROOT / 'Procfile').read_text()}```\n" in text_of(OPERATIONS)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@on_each_page
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@on_each_page
def test_every_file_that_is_named_exists(page: Path) -> None:
    for path in re.findall(r"`((?:taskflow|sql|tests|docs|ops|migrations)/[\w./-]*)`", prose(page)):
        assert (ROOT / path).exists(), path


@on_each_page
def test_the_python_that_is_shown_compiles(page: Path) -> None:
    for number, source in enumerate(blocks(page, "python"), 1):
        compile(source, f"{page.name}, Python block {number}", "exec")


@pytest.mark.slow
def test_the_pages_about_handlers_and_tests_and_the_examples_do_what_they_say(tmp_path: Path, cluster: Cluster) -> None:
    """Each block that begins with a file's name is that file of the project that `taskflow init` makes. Its tests, and
    those of docs/examples, are run by pytest with our plugin."""
    project, examples = tmp_path / "shop", ROOT / "docs" / "examples"
    assert CliRunner().invoke(main, ["init", str(project)]).exit_code == 0
    for page in (ROOT / "docs" / "adding-a-handler.md", ROOT / "docs" / "testing.md"):
        for block in blocks(page, "python"):
            (name,) = re.findall(r"\A# ([\w/]+\.py)\n", block)
            assert not (project / name).exists(), f"{page.name} shows {name} again"
            (project / name).write_text(block)
    settings = {
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TASKFLOW_TEST_DATABASE_URL": cluster.dsn(),
    }
    plugins = ["-p", "taskflow.testing.plugin", "-p", "no:schemathesis", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "-c", project / "pytest.ini", project / "tests", examples],
        cwd=project,
        env={**os.environ, "PYTEST_ADDOPTS": "", **UNMEASURED, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = [*project.rglob("test_*.py"), *examples.rglob("test_*.py")]
    tests = sum(len(re.findall(r"^ *def test_", path.read_text(), re.MULTILINE)) for path in files)
    assert f"{tests} passed" in done.stdout
