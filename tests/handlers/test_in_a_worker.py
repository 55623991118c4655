"""The types with files and processes, as a worker runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from PIL import Image

import taskflow.handlers  # noqa: F401  (registers the types)
from taskflow.tasks.registry import registry
from tests.worker.conftest import Bench


def test_each_type_completes_with_its_result_and_its_files(
    dsn: str, connection: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKFLOW_FILES_ROOT", str(tmp_path))
    monkeypatch.setenv("TASKFLOW_EXPORT_QUERIES", "true")
    Image.new("RGB", (60, 30)).save(tmp_path / "in.png")
    bench = Bench(dsn, connection)
    bench.registry = registry

    def enqueue(type: str, /, **payload: Any) -> int:
        return bench.enqueue(type, json.dumps(payload))

    with bench.worker(types=("compute", "data_export", "image_resize", "report"), concurrency=1):
        primes = enqueue("compute", operation="primes", n=1000)
        image = enqueue("image_resize", path="in.png", sizes=[{"width": 20}])
        export = enqueue("data_export", query="SELECT type FROM taskflow.task_list ORDER BY id", path="types.csv")
        report = enqueue("report", type="weekly", path="week.html")
        refused = enqueue("image_resize", path="in.png", sizes=[{"width": 0}])
        bench.wait(lambda: bench.task(refused, "finished_at")[0] is not None, 60)
        results = {task: bench.task(task, "result")[0] for task in (primes, image, export, report)}
        assert results[primes]["result"] == 168
        made = results[image]["files"][0]
        assert (made["path"], made["width"], made["height"]) == (f"images/{image}/20x.png", 20, 10)
        assert (tmp_path / made["path"]).stat().st_size == made["bytes"]
        assert results[export]["rows"] == 5
        assert results[report]["attempts"]["total"] == 0
        state, progress, error = bench.task(refused, "state", "progress", "error")
        assert (state, progress, "/sizes/0/width" in error) == ("dead_letter", None, True)
    assert (tmp_path / "types.csv").read_text().splitlines()[:3] == ["type", "compute", "image_resize"]
    assert "<h1>Tasks" in (tmp_path / "week.html").read_text()
