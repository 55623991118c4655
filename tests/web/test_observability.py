"""The PromQL of the documentation and the alerts: valid, about figures that are served, and each with its runbook."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from flask.testing import FlaskClient
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from taskflow.cli.metrics_port import ProcessFigures
from taskflow.worker.metrics import WorkerMetrics
from tests.debian import debian_program

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob("docs/*.md"))
ALERTS = ROOT / "ops" / "alerts.yml"
# Roles of the database, and fixtures for pytest.
NO_METRIC = re.compile(r"taskflow_(producer|worker|reader|operator|server|dsn|client|prepare|test_)")
# Of what Prometheus adds itself.
ADDED_LABELS = {"le", "instance", "job", "__name__"}
# Of families whose samples come only with something to count: what the code gives them.
WORKER_LABELS = {
    "taskflow_task_duration_seconds": {"queue", "type", "status"},
    "taskflow_task_pickup_seconds": {"queue", "priority"},
    "taskflow_worker_tasks": {"status"},
}


def queries() -> list[tuple[str, str]]:
    """(where, PromQL) of each block of the documentation and each alert."""
    blocks = [
        (page.name, block)
        for page in PAGES
        for block in re.findall(r"^```promql\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    ]
    return blocks + [(rule["alert"], rule["expr"]) for rule in rules()]


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


@pytest.fixture
def served(client: FlaskClient, connection: psycopg.Connection[Any]) -> dict[str, set[str]]:
    """The labels of every series that a server or a worker serves, by its name."""
    connection.execute("SELECT taskflow.enqueue('echo', '{}')")
    connection.execute(
        "INSERT INTO taskflow.task_totals (queue, type, created, completed, failed, retried, dead_lettered, rescued)"
        " VALUES ('q', 't', 5, 1, 1, 1, 1, 1)"
    )
    client.get("/live")
    of_server = text_string_to_metric_families(client.get("/metrics").text)
    of_worker = [*WorkerMetrics().collect(), *ProcessFigures(None).collect()]
    series = labels_by_series([*of_server, *of_worker])
    return series | {"taskflow_worker_slots": set(), "taskflow_worker_slots_busy": set()}  # of a worker that runs


def labels_by_series(families: Iterable[Metric]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for family in families:
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        labels = set(WORKER_LABELS.get(family.name, ())) | {name for s in family.samples for name in s.labels}
        for suffix in suffixes:
            found[family.name + suffix] = labels
    return found


def test_every_series_that_a_query_names_is_served_with_the_labels_that_it_asks_for(
    served: dict[str, set[str]],
) -> None:
    named = queries()
    assert len(named) > 20
    for where, query in named:
        series = set(re.findall(r"\btaskflow_\w+", query))
        assert series, where
        assert series <= served.keys(), where
        labels = {label for part in re.findall(r"(?:by|on|without)\s*\(([^)]*)\)", query) for label in part.split(",")}
        labels |= {label for part in re.findall(r"{([^}]*)}", query) for label in re.findall(r"(\w+)\s*[=!]", part)}
        known = ADDED_LABELS.union(*(served[name] for name in series))
        assert {label.strip() for label in labels if label} <= known, where  # `on ()` names none


def test_every_series_that_a_page_names_is_served(served: dict[str, set[str]]) -> None:
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in served} | served.keys()
    for page in PAGES:
        named = set(re.findall(r"`(taskflow_[a-z_]+)`", page.read_text()))
        not_metrics = {name for name in named if NO_METRIC.fullmatch(name)}
        assert named - not_metrics <= families, page.name


def test_promtool_reads_every_alert_and_every_query(tmp_path: Path) -> None:
    promtool = debian_program("promtool", "prometheus")
    recorded = [{"record": f"doc:query{n}", "expr": query} for n, (_, query) in enumerate(queries())]
    queries_file = tmp_path / "queries.yml"
    queries_file.write_text(json.dumps({"groups": [{"name": "docs", "rules": recorded}]}))

    done = subprocess.run([promtool, "check", "rules", ALERTS, queries_file], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(rules())} rules found" in done.stdout


# Two servers say the same of the database; a minute a value. What fires, with which labels, at which minute.
UNIT_TESTS: list[tuple[dict[str, str], str, int, list[dict[str, str]]]] = [
    ({}, "TaskflowNotScraped", 6, [{}]),
    ({"taskflow_database_up": "1x30"}, "TaskflowNotScraped", 6, []),
    ({"taskflow_database_up": "0x30"}, "TaskflowDatabaseDown", 3, [{}]),
    ({"taskflow_workers_active": "0x30"}, "TaskflowNoWorkers", 5, [{}]),
    ({"taskflow_workers_active": "2x30"}, "TaskflowNoWorkers", 5, []),
    ({"taskflow_is_leader": "0x30"}, "TaskflowNoLeader", 5, [{}]),
    ({'taskflow_queue_oldest_task_age_seconds{queue="a"}': "400x30"}, "TaskflowTasksWait", 10, [{"queue": "a"}]),
    (
        {
            'taskflow_queue_oldest_task_age_seconds{queue="a"}': "400x30",
            'taskflow_queue_paused{queue="a"}': "1x30",
        },
        "TaskflowTasksWait",
        10,
        [],
    ),
    ({'taskflow_queue_paused{queue="a"}': "1x90"}, "TaskflowQueuePaused", 70, [{"queue": "a"}]),
    (
        {'taskflow_tasks_dead_lettered_total{queue="a",type="t"}': "0x5 1x30"},
        "TaskflowDeadLetters",
        10,
        [{"queue": "a", "type": "t"}],
    ),
    ({'taskflow_tasks_dead_lettered_total{queue="a",type="t"}': "7x30"}, "TaskflowDeadLetters", 10, []),
    (
        {'taskflow_tasks_dead_lettered_total{queue="a",type="t"}': "_x20 7x30", "taskflow_database_up": "1x50"},
        "TaskflowDeadLetters",
        25,
        [{"queue": "a", "type": "t"}],
    ),
    (
        {'taskflow_tasks_dead_lettered_total{queue="a",type="t"}': "_x5 7x60", "taskflow_database_up": "1x60"},
        "TaskflowDeadLetters",
        25,
        [],
    ),
    (
        {'taskflow_tasks_dead_lettered_total{queue="a",type="t"}': "7x30", "taskflow_database_up": "1x30"},
        "TaskflowDeadLetters",
        10,
        [],
    ),
    (
        {
            'taskflow_attempts_failed_total{queue="a",type="t"}': "0+60x60",
            'taskflow_tasks_completed_total{queue="a",type="t"}': "0+60x60",
        },
        "TaskflowAttemptsFail",
        30,
        [{"type": "t"}],
    ),
    (
        {
            'taskflow_attempts_failed_total{queue="a",type="t"}': "0+1x60",
            'taskflow_tasks_completed_total{queue="a",type="t"}': "0+60x60",
        },
        "TaskflowAttemptsFail",
        30,
        [],
    ),
    ({'taskflow_tasks_rescued_total{queue="a",type="t"}': "0x5 3x30"}, "TaskflowWorkersDie", 10, [{}]),
    (
        {'taskflow_tasks_rescued_total{queue="a",type="t"}': "_x20 3x30", "taskflow_database_up": "1x50"},
        "TaskflowWorkersDie",
        25,
        [{}],
    ),
    (
        {'taskflow_tasks_rescued_total{queue="a",type="t"}': "3x30", "taskflow_database_up": "1x30"},
        "TaskflowWorkersDie",
        10,
        [],
    ),
    ({"taskflow_worker_slots": "10x30", "taskflow_worker_slots_busy": "10x30"}, "TaskflowSlotsFull", 20, [{}]),
    ({"taskflow_worker_slots": "10x30", "taskflow_worker_slots_busy": "5x30"}, "TaskflowSlotsFull", 20, []),
    ({"taskflow_oldest_transaction_age_seconds": "1801x30"}, "TaskflowOldTransaction", 10, [{}]),
    (
        {
            'taskflow_http_requests_total{status="503"}': "0+60x30",
            'taskflow_http_requests_total{status="200"}': "0+60x30",
        },
        "TaskflowServerErrors",
        15,
        [{}],
    ),
]


def test_each_alert_fires_when_it_should_and_not_otherwise(tmp_path: Path) -> None:
    promtool = debian_program("promtool", "prometheus")
    texts = {rule["alert"]: rule for rule in rules()}
    assert {alert for _, alert, _, _ in UNIT_TESTS} == texts.keys()
    tests = []
    for series, alert, minute, fired in UNIT_TESTS:
        twice = [
            {
                "series": name.replace("{", f'{{instance="{n}",') if "{" in name else f'{name}{{instance="{n}"}}',
                "values": v,
            }
            for name, v in series.items()
            for n in (1, 2)
        ]
        labels = texts[alert]["labels"]
        expected = [{"exp_labels": labels | each} for each in fired]
        # Only whether it fires is compared: the wording has its figure in it.
        query = f"count by ({', '.join(['alertname', 'severity', *fired[0]]) if fired else 'alertname'}) "
        query += f'(ALERTS{{alertname="{alert}",alertstate="firing"}})'
        samples = [
            {
                "labels": "{"
                + ",".join(f'{k}="{v}"' for k, v in {"alertname": alert, **one["exp_labels"]}.items())
                + "}",
                "value": 1,
            }
            for one in expected
        ]
        tests.append(
            {
                "name": f"{alert} {series}",
                "interval": "1m",
                "input_series": twice,
                "promql_expr_test": [{"expr": query, "eval_time": f"{minute}m", "exp_samples": samples}],
            }
        )
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))

    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_its_place_in_the_runbook_and_in_the_list() -> None:
    runbook = (ROOT / "docs" / "operations.md").read_text().partition("\n## Runbook\n")[2]
    listed = re.findall(
        r"^\| \[(\w+)\]\(operations\.md#(\w+)\) \|", (ROOT / "docs" / "observability.md").read_text(), re.M
    )
    alerts = [rule["alert"] for rule in rules()]
    assert re.findall(r"^### (\w+)$", runbook, re.MULTILINE) == alerts
    assert listed == [(alert, alert.lower()) for alert in alerts]
    for rule in rules():
        assert rule["annotations"]["runbook"] == f"operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
