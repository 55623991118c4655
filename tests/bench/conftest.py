"""The server that is measured, for the tests of benchmarks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskflow.bench.server import Server
from taskflow.cluster import Cluster


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[Server]:
    with Server(cluster.dsn(), cluster.log) as opened:
        yield opened
