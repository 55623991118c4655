"""wrk, the load generator: how many requests a second a server answers, and how long each takes."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass

from taskflow.errors import TaskflowError

SCRIPT = """
wrk.method = "{method}"
wrk.body = [[{body}]]
wrk.headers["Content-Type"] = "application/json"
{pace}
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %f %f %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(95),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""
# Each connection waits so long before each request, in milliseconds: a random time, or all would come at once.
PACE = """
delay = function() return math.random(0, {most}) end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: requests a second, the median and the 95th percentile in milliseconds."""

    per_second: float
    p50_ms: float
    p95_ms: float


def put_load_on(
    url: str,
    *,
    method: str = "GET",
    body: str = "",
    clients: int = 50,
    seconds: float = 4.0,
    per_second: float | None = None,
) -> Load:
    """Send requests from that many keep-alive connections. `per_second`: about so many in all, instead of as many as
    are answered. Raises `TaskflowError` if there is no wrk, or if any request fails."""
    program = shutil.which("wrk")
    if program is None:
        raise TaskflowError("This benchmark needs wrk (apt-get install wrk, or https://github.com/wg/wrk).")
    pace = "" if per_second is None else PACE.format(most=round(2000 * clients / per_second))
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT.format(method=method, body=body, pace=pace))
        script.flush()
        command = [program, "-t", "1", "-c", str(clients), "-d", f"{max(1, round(seconds))}s", "-s", script.name, url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    result = re.search(r"^RESULT (\d+) (\d+) (\S+) (\S+) (\d+)$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or result is None:
        raise TaskflowError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    requests, microseconds, p50, p95, errors = (float(text) for text in result.groups())
    if errors or not requests:
        raise TaskflowError(f"{errors:g} of {requests:g} requests to {url} failed")
    return Load(requests / microseconds * 1e6, p50 / 1000, p95 / 1000)
