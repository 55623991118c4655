"""Schedules with real processes: each fire time one task, whoever leads and whoever is killed."""

from __future__ import annotations

import signal
from datetime import timedelta
from itertools import pairwise

from tests.acceptance.support import ROOT

# So that a dead leader is replaced within a few seconds.
QUICK = {"TASKFLOW_HEARTBEAT_TIMEOUT": "2", "TASKFLOW_HEARTBEAT_INTERVAL": "0.5"}
STEP = timedelta(seconds=0.25)
CODE = """
from taskflow import task

@task("every_second", interval=1, queue="beats", timeout=7)
def every_second(payload):
    return "beat"
"""


def fire_times(connection, schedule):
    rows = connection.execute(
        "SELECT fire_at FROM taskflow.schedule_runs WHERE schedule_id = %s AND task_id IS NOT NULL ORDER BY 1",
        [schedule],
    )
    return [row[0] for row in rows]


def test_the_leader_is_killed_again_and_again_and_each_fire_time_has_one_task(
    dsn, connection, start_worker, processes, wait_until
) -> None:
    ids = [
        connection.execute(
            "INSERT INTO taskflow.schedules (name, type, interval, missed) VALUES (%s, 'noop', 0.25, 'all')"
            " RETURNING id",
            [f"s{number}"],
        ).fetchone()[0]
        for number in range(5)
    ]
    running = [start_worker(dsn, env=QUICK) for _ in range(2)]
    running.append(processes.start("scheduler", dsn=dsn, env=QUICK))

    def leader():
        row = connection.execute("SELECT holder FROM taskflow.leases WHERE expires_at > now()").fetchone()
        found = [process for process in running if row and f":{process.pid}:" in row[0]]
        return found[0] if found else None

    def runs():
        return connection.execute("SELECT min(run_count) FROM taskflow.schedules").fetchone()[0]

    for _ in range(2):
        before = runs()
        wait_until(lambda before=before: runs() > before + 4)
        first = wait_until(leader)
        first.signal(signal.SIGKILL)
        running.remove(first)
        wait_until(leader)
    before = runs()
    wait_until(lambda: runs() > before + 4)
    for process in running:
        process.stop()

    for schedule in ids:
        fired = fire_times(connection, schedule)
        assert {later - earlier for earlier, later in pairwise(fired)} == {STEP}
        tasks = connection.execute("SELECT count(*) FROM taskflow.tasks WHERE schedule_id = %s", [schedule]).fetchone()
        assert tasks == (len(fired),)


def test_a_schedule_in_code_runs_and_ends_with_the_code(dsn, connection, start_worker, wait_until, tmp_path) -> None:
    (tmp_path / "recurring.py").write_text(CODE)
    env = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    workers = [start_worker(dsn, "--import", "recurring", env=env) for _ in range(2)]

    def completed():
        return connection.execute(
            "SELECT count(*) FROM taskflow.tasks WHERE type = 'every_second' AND queue = 'beats' AND timeout = 7"
            " AND state = 'completed' AND result = '\"beat\"'"
        ).fetchone()[0]

    wait_until(lambda: completed() >= 3)
    assert connection.execute("SELECT count(*) FROM taskflow.schedules").fetchone() == (1,)
    for worker in workers:
        assert worker.stop() == 0
    (tmp_path / "recurring.py").write_text(CODE.replace("interval=1, ", ""))
    start_worker(dsn, "--import", "recurring", env=env)
    wait_until(lambda: connection.execute("SELECT count(*) FROM taskflow.schedules").fetchone() == (0,))
