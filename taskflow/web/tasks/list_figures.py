"""The figures that every list of tasks carries: how much waits, runs and has ended, from one reading."""

from __future__ import annotations

from collections import Counter
from typing import Any

from taskflow.tasks.task import PRIORITY_NAMES, STATES, WAITING_STATES
from taskflow.web.access.auth import principal
from taskflow.web.reporting.statistics import PRIORITIES
from taskflow.web.services import services


def list_figures() -> dict[str, Any]:
    """Of what whoever asks may see; what lives exactly, what has ended as the leader counted it some seconds ago."""
    figures, queues = services().figures, principal().queues
    states: Counter[str] = Counter()
    levels: Counter[tuple[str, str]] = Counter()
    depths: Counter[str] = Counter()
    for live in figures.live(queues):
        states[live.state] += live.tasks
        levels[PRIORITY_NAMES[live.priority], live.state] += live.tasks
        depths[live.queue] += live.tasks if live.state in WAITING_STATES else 0
    for ended in figures.ended(queues):
        states[ended.state] += ended.tasks
    return {
        "queues": {
            name: {"queued": levels[name, "pending"], "pending_unacked": levels[name, "running"]} for name in PRIORITIES
        },
        "queue_depths": dict(sorted(depths.items())),
        "total_pending": states["pending"],
        "scheduled_count": states["scheduled"],
        "dlq_size": states["dead_letter"],
        "totals": {state: states[state] for state in STATES} | {"total": sum(states.values())},
    }
