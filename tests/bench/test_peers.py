"""`ops/bench-peers`: how a queue of others is driven and timed; none is installed here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ops.peers.drains import Observation, drain, rate
from ops.peers.queues import QUEUES, Queue
from taskflow.bench.server import Server
from taskflow.errors import TaskflowError

# A queue of fifteen lines: a job is a row, and work is to delete a hundred at once.
PROGRAM = """
import sys
import psycopg

with psycopg.connect(autocommit=True) as connection:
    match sys.argv[1:]:
        case ["install"]:
            connection.execute("CREATE TABLE jobs (id bigint PRIMARY KEY)")
        case ["fill", number]:
            connection.execute("INSERT INTO jobs SELECT generate_series(1, %s)", [int(number)])
        case ["work"]:
            while connection.execute(
                "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs LIMIT 100 FOR UPDATE SKIP LOCKED)"
            ).rowcount:
                connection.execute("SELECT pg_sleep(0.02)")
"""


class Script(Queue):
    """A program in this Python, of which nothing has to be installed."""

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, self.program, *arguments]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "deleting.py"
    path.write_text(PROGRAM)
    return path


def test_the_rate_is_that_of_the_time_under_way() -> None:
    observed = [(0.0, 100), (5.0, 100), (6.0, 90), (7.0, 60), (8.0, 30), (20.0, 0)]
    assert rate([Observation(at, left) for at, left in observed]) == (90 - 30) / (8.0 - 6.0)


def test_what_was_too_short_to_be_timed_is_no_figure() -> None:
    with pytest.raises(TaskflowError, match="more tasks are needed"):
        rate([Observation(0.0, 100), Observation(1.0, 50), Observation(2.0, 0)])


def test_a_queue_is_filled_drained_by_its_own_workers_and_timed(server: Server, program: Path) -> None:
    # Two workers that take a hundred jobs every fiftieth of a second can do 10,000 a second and no more.
    per_second = drain(server, Script("script", [], str(program), "SELECT count(*) FROM jobs"), 5_000, processes=2)
    assert 500 < per_second < 12_000


def test_a_queue_that_cannot_be_set_up_says_why(server: Server, program: Path) -> None:
    program.write_text("raise SystemExit('no such thing')")
    with pytest.raises(TaskflowError, match="script install: no such thing"):
        drain(server, Script("script", [], str(program), "SELECT 0"), 5_000, processes=1)


def test_a_queue_that_gets_more_or_less_than_it_was_filled_with_is_not_timed(server: Server, program: Path) -> None:
    with pytest.raises(TaskflowError, match="filled with 0 jobs instead of 5000"):
        drain(server, Script("script", [], str(program), "SELECT count(*) FROM jobs WHERE id < 0"), 5_000, processes=1)


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_each_queue_has_its_program(queue: Queue) -> None:
    text = (Path(__file__).parents[2] / "ops" / "peers" / queue.program).read_text()
    assert all(command in text for command in ("install", "fill", "work"))
    assert queue.command("work")[1].endswith(queue.program)
