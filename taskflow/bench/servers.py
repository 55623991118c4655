"""A real server process for the benchmarks, as a user would start it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import httpx

from taskflow.bench.workers import end
from taskflow.errors import TaskflowError
from taskflow.processes import spawn

START_SECONDS = 60.0
PRODUCT = ("-m", "taskflow", "server")
BARE = ("-m", "taskflow.bench.bare_api")


@contextlib.contextmanager
def running_server(dsn: str, arguments: Sequence[str] = PRODUCT, **settings: str) -> Iterator[str]:
    """Run a server with its defaults, but for authentication and `settings`, until the block ends; yields its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TASKFLOW_")}
    environment |= {"DATABASE_URL": dsn, "PORT": str(port), "TASKFLOW_AUTH": "off", **settings}
    with tempfile.TemporaryFile() as output:
        process = spawn([sys.executable, *arguments], environment=environment, output=output)
        try:
            url = f"http://127.0.0.1:{port}"
            limit = time.monotonic() + START_SECONDS
            while not _lives(url):
                if process.poll() is not None or time.monotonic() > limit:
                    output.seek(0)
                    words = b"\n".join(output.read().splitlines()[-20:]).decode(errors="replace")
                    raise TaskflowError(f"the server did not start:\n{words}")
                time.sleep(0.05)
            yield url
        finally:
            end(process)


def _lives(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/live", timeout=2).status_code == 200
    return False
