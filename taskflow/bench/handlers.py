"""The task types that the benchmarks run; `taskflow worker --import taskflow.bench.handlers` knows them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from taskflow import task


@task("bench.noop")
def noop(payload: dict[str, Any]) -> None:
    """Nothing: what is measured is everything around it."""


@task("bench.stamp")
def stamp(payload: dict[str, Any]) -> float:
    """The moment the handler began, by this machine's clock."""
    return time.time()


@task("bench.nap")
def nap(payload: dict[str, Any]) -> list[float]:
    """Hold a slot for `seconds`; answers when it began and when it ended."""
    began = time.time()
    time.sleep(payload["seconds"])
    return [began, time.time()]


@task("bench.async_nap")
async def async_nap(payload: dict[str, Any]) -> list[float]:
    """The same on the event loop."""
    began = time.time()
    await asyncio.sleep(payload["seconds"])
    return [began, time.time()]
