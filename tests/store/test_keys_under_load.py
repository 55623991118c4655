"""Whatever is done to tasks with concurrency keys at once: no deadlock, and nobody is left waiting."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg

from taskflow.store import tasks
from taskflow.store.connection import repeat_on_conflict
from taskflow.store.keys import release_waiting_keys
from tests.store.support import Connection, claim, complete, insert, worker


def test_purges_cancellations_and_giving_back_beside_claims_end_in_no_deadlock_and_leave_nothing(
    connection: Connection, dsn: str
) -> None:
    dice = random.Random(7)
    total = 500
    for _ in range(total):
        insert(connection, 1, concurrency_key=f"key {dice.randint(1, 5)}", priority=dice.randint(0, 3))
    (first,) = connection.execute("SELECT min(id) FROM taskflow.tasks").fetchall()[0]
    live = "SELECT 1 FROM taskflow.tasks_live LIMIT 1"

    def work(seed: int) -> None:
        own_dice = random.Random(seed)
        with psycopg.connect(dsn, autocommit=True) as own:
            me = worker(own)
            while own.execute(live).fetchone():
                held = repeat_on_conflict(lambda: claim(own, me, 3))
                while held:
                    with suppress(psycopg.errors.LockNotAvailable):
                        if own_dice.random() < 0.5:
                            tasks.release(own, me, [(task.id, task.attempt) for task in held])
                        else:
                            repeat_on_conflict(lambda: complete(own, me, held))  # noqa: B023
                        held = []

    def interfere(seed: int) -> None:
        own_dice = random.Random(seed)
        with psycopg.connect(dsn, autocommit=True) as own:
            while own.execute(live).fetchone():
                own.execute("SELECT taskflow.cancel(%s)", [first + own_dice.randrange(total)])
                after = first + own_dice.randrange(total)
                own.execute("SELECT taskflow.cancel_waiting(NULL, %s, %s, 1)", [own_dice.randint(0, 3), after])
                release_waiting_keys(own)  # as the leader does

    with ThreadPoolExecutor() as threads:
        running = [threads.submit(one, seed) for seed, one in enumerate([work, work, work, interfere, interfere])]
    for one in running:
        one.result()
    assert connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone() == (total,)
    # They would have been repeated.
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    assert connection.execute(deadlocks).fetchone() == (0,)
