"""Workers that are killed or stopped at any moment: nothing is lost, nothing is done twice under one number."""

from __future__ import annotations

import signal

import psutil
import pytest
from psycopg.types.json import Jsonb

from tests.acceptance.ledger import (
    SOON,
    assert_in_order,
    assert_ran_once,
    enqueue,
    outcomes,
    runs,
    settle,
    states,
    value,
)
from tests.acceptance.support import Gate

KILLS = 5
TASKS = 3000


def test_five_kills_in_the_middle_of_3000_tasks_lose_nothing_and_every_attempt_is_recorded(
    connection, dsn, start_worker, processes, wait_until, tmp_path
) -> None:
    file = tmp_path / "ran"
    file.touch()
    processes.start("scheduler", dsn=dsn, env=SOON)

    def start():
        return start_worker(dsn, "--concurrency", "10", "--no-leader", env=SOON)

    workers = [start(), start()]
    ids = enqueue(connection, "record", {"file": str(file), "seconds": 0.01}, TASKS)
    for kill in range(1, KILLS + 1):
        wait_until(lambda done=kill * TASKS // (KILLS + 2): states(connection).get("completed", 0) >= done)
        victim = workers.pop(0)
        wait_until(lambda pid=victim.pid: running_on(connection, pid) > 0, what="the victim runs something")
        victim.kill()
        workers.append(start())
    wait_until(lambda: settle(connection, ids), timeout=60)

    assert_in_order(connection)
    assert_ran_once(file)
    assert {task_id for task_id, _ in runs(file)} == set(ids)
    assert outcomes(connection).keys() == {"succeeded", "lost"}
    lost_workers = connection.execute(
        "SELECT count(DISTINCT worker_id), bool_and(error ~ 'worker \\d+ was lost') FROM taskflow.executions"
        " WHERE outcome = 'lost'"
    ).fetchone()
    assert lost_workers[0] >= KILLS - 1, "a kill hit a worker between two claims more than once"
    assert lost_workers[1]


def running_on(connection, pid: int) -> int:
    return connection.execute(
        "SELECT count(*) FROM taskflow.tasks t JOIN taskflow.workers w ON w.id = t.worker_id"
        " WHERE t.state = 'running' AND w.pid = %s",
        (pid,),
    ).fetchone()[0]


def test_a_sleeper_beyond_the_heartbeat_limit_cannot_complete_what_ran_elsewhere_and_goes_on_under_a_new_id(
    connection, dsn, gate, tmp_path, start_worker, processes, wait_until
) -> None:
    processes.start("scheduler", dsn=dsn, env=SOON)
    sleeper = start_worker(dsn, "--concurrency", "1", "--no-leader", env=SOON)
    [task] = enqueue(connection, "blocking", gate.payload, retry_delay=0)
    wait_until(lambda: gate.arrivals() == [(task, 1)])
    old_id = value(connection, "worker_id", task)
    sleeper.signal(signal.SIGSTOP)
    wait_until(lambda: outcomes(connection) == {"lost": 1})
    second = Gate(tmp_path, "second")
    connection.execute("UPDATE taskflow.tasks SET payload = %s", (Jsonb(second.payload),))
    other = start_worker(dsn, "--concurrency", "1", "--no-leader", env=SOON)
    wait_until(lambda: second.arrivals() == [(task, 2)], what="the task runs elsewhere")

    sleeper.signal(signal.SIGCONT)
    gate.open()
    refused = wait_until(lambda: [e for e in sleeper.events() if e["event"] == "completion_refused"])
    assert [(event["task_id"], event["attempt"], event["worker_id"]) for event in refused] == [(task, 1, old_id)]
    assert value(connection, "state", task) == "running"
    second.open()
    wait_until(lambda: settle(connection, [task]))
    assert value(connection, "result", task) == {"attempt": 2}
    assert value(connection, "worker_id", task) != old_id
    assert_in_order(connection)

    assert other.stop() == 0, other.logs()
    wait_until(lambda: "worker_registered_anew" in sleeper.logs())
    [later] = enqueue(connection, "noop")
    wait_until(lambda: settle(connection, [later]))
    assert value(connection, "worker_id", later) > old_id
    assert sleeper.running


def test_a_killed_worker_takes_the_processes_of_its_handlers_along(connection, dsn, start_worker, wait_until) -> None:
    worker = start_worker(dsn, "--concurrency", "2", "--no-leader")
    enqueue(connection, "spin_apart", {"seconds": 60}, 2)
    wait_until(lambda: len(worker.children()) == 2)
    children = [psutil.Process(pid) for pid in worker.children()]
    worker.kill()
    wait_until(lambda: not any(is_alive(child) for child in children))


def test_a_killed_member_of_several_is_replaced_and_its_tasks_run_elsewhere(
    connection, dsn, gate, start_worker, wait_until
) -> None:
    supervisor = start_worker(dsn, "--processes", "2", "--concurrency", "1", env=SOON)
    wait_until(lambda: len(pids(connection)) == 2)
    [task] = enqueue(connection, "blocking", gate.payload, retry_delay=0)
    wait_until(lambda: gate.arrivals() == [(task, 1)])
    before = pids(connection)
    [victim] = connection.execute(
        "SELECT w.pid FROM taskflow.tasks t JOIN taskflow.workers w ON w.id = t.worker_id WHERE t.id = %s", (task,)
    ).fetchone()
    assert victim in supervisor.children()
    psutil.Process(victim).kill()
    wait_until(lambda: (task, 2) in gate.arrivals(), what="the task runs elsewhere")
    wait_until(lambda: len(pids(connection) - before) == 1 and victim not in pids(connection))
    gate.open()
    wait_until(lambda: settle(connection, [task]))
    assert_in_order(connection)
    assert "worker_process_died" in supervisor.logs()
    assert supervisor.stop() == 0, supervisor.logs()
    assert pids(connection) == set()


def test_members_do_not_outlive_a_killed_supervisor(connection, dsn, start_worker, wait_until, processes) -> None:
    supervisor = start_worker(dsn, "--processes", "2")
    wait_until(lambda: len(pids(connection)) == 2)
    supervisor.kill()
    wait_until(lambda: not processes.left_over())
    assert pids(connection) == set(), "they end as with SIGTERM: drained, and with a farewell"


@pytest.mark.parametrize("kind", ["worker", "scheduler"])
def test_two_of_each_at_once_share_the_work_and_one_leads(
    connection, dsn, start_worker, processes, wait_until, kind, tmp_path
) -> None:
    file = tmp_path / "ran"
    file.touch()
    if kind == "worker":
        leaders = [start_worker(dsn, "--concurrency", "5", env=SOON) for _ in range(2)]
    else:
        leaders = [processes.start("scheduler", dsn=dsn, env=SOON) for _ in range(2)]
        start_worker(dsn, "--no-leader", env=SOON)
    ids = enqueue(connection, "record", {"file": str(file), "seconds": 0.01}, 300)
    wait_until(lambda: settle(connection, ids))
    assert_in_order(connection)
    assert_ran_once(file)
    wait_until(lambda: elections(leaders) > 0)
    assert elections(leaders) == 1
    holder = next(process for process in leaders if "leader_elected" in process.logs())
    holder.kill()
    wait_until(lambda: elections(leaders) == 2, what="the other one leads")
    assert states(connection) == {"completed": 300}


def elections(leaders) -> int:
    return sum(process.logs().count("leader_elected") for process in leaders)


def pids(connection) -> set[int]:
    return {row[0] for row in connection.execute("SELECT pid FROM taskflow.workers")}


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
