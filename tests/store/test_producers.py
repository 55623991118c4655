"""The contract for other services: plain INSERT, enqueue, enqueue_many, COPY, cancel, retry_task, task_status."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from taskflow.cluster import Cluster
from taskflow.store.migrate import migrate
from tests.store.support import Connection, claim, complete, insert, row, worker


def enqueue(
    connection: Connection, *, options: dict[str, Any] | None = None, **arguments: Any
) -> tuple[int, bool, str]:
    arguments = {"type": "noop", **arguments}
    if options is not None:
        arguments["options"] = json.dumps(options)
    named = ", ".join(f"{name} => %({name})s" for name in arguments)
    found = connection.execute(f"SELECT * FROM taskflow.enqueue({named})", arguments).fetchone()
    assert found is not None
    return found  # type: ignore[return-value]


def test_an_insert_of_a_type_alone_is_a_whole_task(connection: Connection) -> None:
    (task_id,) = insert(connection)
    columns = ("state", "queue", "priority", "attempt", "max_attempts", "timeout", "payload", "created_by")
    assert row(connection, task_id, *columns) == ("pending", "default", 1, 0, 5, 300.0, {}, "postgres")


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"priority": 9}, "priority_is_0_to_3"),
        ({"priority": -1}, "priority_is_0_to_3"),
        ({"type": ""}, "type_is_1_to_200_characters"),
        ({"type": "x" * 201}, "type_is_1_to_200_characters"),
        ({"type": "ü" * 201}, "type_is_1_to_200_characters"),
        ({"queue": "a b"}, "queue_is_1_to_100_letters_digits_dot_dash_underscore_colon"),
        ({"payload": "[1]"}, "value_is_a_json_object"),
        ({"payload": json.dumps({"x": "y" * 2_000_000})}, "value_is_at_most_1_mib"),
        ({"unique_key": ""}, "key_is_1_to_500_characters"),
        ({"concurrency_key": "x" * 501}, "key_is_1_to_500_characters"),
        ({"unique_key": "ü" * 501}, "key_is_1_to_500_characters"),
        ({"max_attempts": 0}, "max_attempts_is_1_to_1000"),
        ({"timeout": 0}, "timeout_is_positive_and_at_most_30_days"),
        ({"timeout": float("nan")}, "timeout_is_positive_and_at_most_30_days"),
        ({"retry_delay": -1}, "retry_delay_is_0_to_30_days"),
        ({"run_at": "infinity"}, "run_at_is_a_finite_time"),
        ({"run_at": "9999-01-01"}, "run_at_is_a_finite_time"),
        ({"tags": [str(n) for n in range(21)]}, "tags_are_at_most_20"),
        ({"tags": [None]}, "tags_are_not_null"),
        ({"tags": ["t" * 20_480]}, "tags_are_at_most_20_kb"),
        ({"metadata": "1"}, "value_is_a_json_object"),
        ({"state": "running"}, "running_tasks_have_a_worker_and_others_none"),
    ],
)
def test_nonsense_is_refused_by_a_constraint_that_says_what_is_wrong(
    connection: Connection, columns: dict[str, Any], constraint: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        insert(connection, **columns)
    assert refused.value.diag.constraint_name == constraint
    assert connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone() == (0,)


def test_copy_is_as_good_as_insert(connection: Connection) -> None:
    with connection.cursor().copy("COPY taskflow.tasks (type, payload) FROM STDIN") as copy:
        for number in range(1000):
            copy.write_row(("noop", json.dumps({"n": number})))
    assert len(claim(connection, worker(connection), 1000)) == 1000


def test_enqueue_takes_every_option(connection: Connection) -> None:
    options = {
        "max_attempts": 7, "timeout": 1.5, "retry_strategy": "linear", "retry_delay": 2, "max_retry_delay": 3,
        "concurrency_key": "c", "metadata": {"user": 7}, "tags": ["a", "b"],
    }  # fmt: skip
    task_id, created, state = enqueue(
        connection, payload='{"a": 1}', queue="q", priority=3, unique_key="u", options=options
    )
    assert (created, state) == (True, "pending")
    columns = (
        "payload", "queue", "priority", "unique_key", "max_attempts", "timeout", "retry_strategy::text", "retry_delay",
        "max_retry_delay", "concurrency_key", "metadata", "tags",
    )  # fmt: skip
    assert row(connection, task_id, *columns) == (
        {"a": 1}, "q", 3, "u", 7, 1.5, "linear", 2.0, 3.0, "c", {"user": 7}, ["a", "b"],
    )  # fmt: skip


def test_a_task_for_later_is_scheduled(connection: Connection) -> None:
    assert enqueue(connection, options={"delay": 60})[2] == "scheduled"
    assert enqueue(connection, run_at="2100-01-01")[2] == "scheduled"
    assert enqueue(connection, run_at="2020-01-01")[2] == "pending"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prioritty": 1}, 'there is no option "prioritty"'),
        ({"tags": "a"}, 'option "tags" must be of type array'),
        ({"on_conflict": "maybe"}, "on_conflict must be"),
        ({"delay": -1}, "delay must be"),
    ],
)
def test_a_wrong_option_is_refused_and_named(connection: Connection, options: dict[str, Any], message: str) -> None:
    with pytest.raises(psycopg.DataError, match=message):
        enqueue(connection, options=options)


def test_a_unique_key_makes_one_live_task_a_type(connection: Connection) -> None:
    first = enqueue(connection, unique_key="u")
    assert enqueue(connection, unique_key="u") == (first[0], False, "pending")
    assert enqueue(connection, type="other", unique_key="u")[1]
    me = worker(connection)
    claimed = claim(connection, me)
    assert enqueue(connection, unique_key="u") == (first[0], False, "running")
    complete(connection, me, claimed)
    again = enqueue(connection, unique_key="u")
    assert again[1]
    assert again[0] != first[0]


def test_on_conflict_error_names_the_rival(connection: Connection) -> None:
    first = enqueue(connection, unique_key="u")
    with pytest.raises(psycopg.Error) as refused:
        enqueue(connection, unique_key="u", options={"on_conflict": "error"})
    assert refused.value.sqlstate == "TF410"
    assert refused.value.diag.message_detail == str(first[0])


def test_on_conflict_replace_changes_the_waiting_one(connection: Connection) -> None:
    first = enqueue(connection, unique_key="u", payload='{"v": 1}')
    second = enqueue(
        connection,
        unique_key="u",
        payload='{"v": 2}',
        priority=3,
        run_at="2100-01-01",
        options={"on_conflict": "replace"},
    )
    assert second == (first[0], False, "scheduled")
    assert row(connection, first[0], "payload", "priority", "version") == ({"v": 2}, 3, 2)


def test_on_conflict_replace_leaves_a_running_one_alone(connection: Connection) -> None:
    first = enqueue(connection, unique_key="u", payload='{"v": 1}')
    claim(connection, worker(connection))
    again = enqueue(connection, unique_key="u", payload='{"v": 2}', options={"on_conflict": "replace"})
    assert again == (first[0], False, "running")
    assert row(connection, first[0], "payload") == ({"v": 1},)


def test_two_transactions_with_one_key_make_one_task(connection: Connection, dsn: str) -> None:
    with psycopg.connect(dsn) as other:
        first = enqueue(other, unique_key="u")
        other.rollback()
        second = enqueue(connection, unique_key="u")
    assert second[1]
    assert second[0] != first[0]


def test_enqueue_many_answers_for_each_in_its_place(connection: Connection) -> None:
    live = enqueue(connection, unique_key="old")
    given = [
        {"type": "noop", "payload": {"n": 0}},
        {"type": "noop", "unique_key": "old"},
        {"type": "noop", "unique_key": "new", "delay": 60},
        {
            "type": "noop",
            "payload": {"n": 3},
            "priority": 3,
            "queue": "q",
            "tags": ["t"],
            "run_at": "2100-01-01T00:00:00Z",
        },
    ]
    rows = connection.execute("SELECT * FROM taskflow.enqueue_many(%s) ORDER BY index", (json.dumps(given),)).fetchall()
    assert [(index, created, state) for index, _, created, state in rows] == [
        (0, True, "pending"), (1, False, "pending"), (2, True, "scheduled"), (3, True, "scheduled"),
    ]  # fmt: skip
    assert rows[1][1] == live[0]
    assert row(connection, rows[0][1], "payload") == ({"n": 0},)
    assert row(connection, rows[3][1], "payload", "priority", "queue", "tags") == ({"n": 3}, 3, "q", ["t"])


@pytest.mark.parametrize("option", [{}, {"tags": ["t"]}], ids=["plain", "with_options"])
def test_enqueue_many_gives_each_its_id(connection: Connection, option: dict[str, Any]) -> None:
    given = [{"type": "noop", "payload": {"n": n}, "queue": f"q{n % 3}", "priority": n % 4} for n in range(500)]
    given[250] |= option
    rows = connection.execute("SELECT index, id FROM taskflow.enqueue_many(%s)", (json.dumps(given),)).fetchall()
    stored = connection.execute("SELECT id, (payload ->> 'n')::int, queue, priority FROM taskflow.tasks").fetchall()
    assert sorted(rows) == [(n, id) for id, n, _, _ in sorted(stored, key=lambda task: task[1])]
    assert all((queue, priority) == (f"q{n % 3}", n % 4) for _, n, queue, priority in stored)
    assert len(rows) == len({id for _, id in rows}) == 500


def test_enqueue_many_takes_unique_keys_in_the_order_of_code_points_whatever_the_collation(
    cluster: Cluster, connection: Connection
) -> None:
    provider = "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'"
    try:
        connection.execute(f"CREATE DATABASE by_words TEMPLATE template0 ENCODING 'UTF8' {provider}".encode())
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this PostgreSQL was built without ICU")
    migrate(cluster.dsn("by_words"))
    words = ["a", "B", "é", "Z", "a-b", "ab", "\uffff", "\U0001f600", "_"]
    given = [{"type": type_, "unique_key": key} for key in words for type_ in words]
    with psycopg.connect(cluster.dsn("by_words"), autocommit=True) as there:
        rows = there.execute("SELECT index FROM taskflow.enqueue_many(%s) ORDER BY id", (json.dumps(given),)).fetchall()
    connection.execute("DROP DATABASE by_words WITH (FORCE)")
    stored = [(given[index]["type"], given[index]["unique_key"]) for (index,) in rows]
    assert stored == sorted(stored)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ('{"type": "noop"}', "must be a JSON array"),
        ('[{"type": "noop"}, 7]', "task 1 is number, not an object"),
        ('[{"type": "noop", "colour": 1}]', "task 0 has unknown fields: colour"),
    ],
)
def test_enqueue_many_refuses_what_is_no_list_of_tasks(connection: Connection, tasks: str, message: str) -> None:
    with pytest.raises(psycopg.DataError, match=message):
        connection.execute("SELECT * FROM taskflow.enqueue_many(%s)", (tasks,))


def test_null_is_the_default_with_and_without_a_unique_key(connection: Connection) -> None:
    plain = {"type": "noop", "payload": None, "queue": None, "priority": None}
    nothing = plain | dict.fromkeys(("run_at", "delay", "max_attempts", "metadata", "tags", "on_conflict"))
    for tasks in ([plain], [nothing, {**nothing, "unique_key": "u"}]):
        rows = connection.execute("SELECT id FROM taskflow.enqueue_many(%s)", (json.dumps(tasks),)).fetchall()
        for (task_id,) in rows:
            columns = ("state", "payload", "queue", "priority", "max_attempts", "metadata", "tags")
            assert row(connection, task_id, *columns) == ("pending", {}, "default", 1, 5, {}, [])
        assert len(rows) == len(tasks)


def test_enqueue_many_is_all_or_nothing(connection: Connection) -> None:
    given = json.dumps([{"type": "noop"}, {"type": "noop", "priority": 9}])
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("SELECT * FROM taskflow.enqueue_many(%s)", (given,))
    assert connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone() == (0,)


def cancel(connection: Connection, task_id: int) -> str | None:
    found = connection.execute("SELECT taskflow.cancel(%s)", (task_id,)).fetchone()
    assert found is not None
    return None if found[0] is None else str(found[0])


def test_cancel_ends_what_waits_asks_what_runs_and_leaves_what_has_ended(connection: Connection) -> None:
    waiting, running = insert(connection, 2)
    assert cancel(connection, waiting) == "cancelled"
    me = worker(connection)
    claimed = claim(connection, me)
    assert cancel(connection, running) == "running"
    assert row(connection, running, "cancel_requested") == (True,)
    complete(connection, me, claimed)
    assert cancel(connection, running) == "completed"
    assert cancel(connection, waiting) == "cancelled"
    assert cancel(connection, 10**15) is None


def test_retry_makes_an_ended_task_pending_again(connection: Connection) -> None:
    (task_id,) = insert(connection)
    me = worker(connection)
    complete(connection, me, claim(connection, me), "failed", details='{"error": "no", "final": true}')
    options = json.dumps({"payload": {"fixed": True}, "queue": "q", "priority": 3})
    assert connection.execute("SELECT taskflow.retry_task(%s, %s)", (task_id, options)).fetchone() == ("pending",)
    columns = ("state", "failures", "attempt", "payload", "queue", "priority", "finished_at")
    assert row(connection, task_id, *columns) == ("pending", 0, 1, {"fixed": True}, "q", 3, None)
    assert connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone() == (1,)


@pytest.mark.parametrize("state", ["completed", "cancelled"])
def test_retry_brings_back_what_lies_in_a_days_partition(connection: Connection, state: str) -> None:
    (task_id,) = insert(connection)
    if state == "completed":
        me = worker(connection)
        complete(connection, me, claim(connection, me))
    else:
        cancel(connection, task_id)
    assert connection.execute("SELECT taskflow.retry_task(%s)", (task_id,)).fetchone() == ("pending",)
    assert [task.id for task in claim(connection, worker(connection))] == [task_id]


def test_retry_of_what_has_not_ended_is_refused(connection: Connection) -> None:
    (task_id,) = insert(connection)
    with pytest.raises(psycopg.Error) as refused:
        connection.execute("SELECT taskflow.retry_task(%s)", (task_id,))
    assert refused.value.sqlstate == "TF409"
    assert connection.execute("SELECT taskflow.retry_task(0)").fetchone() == (None,)
    with pytest.raises(psycopg.DataError, match="no option colour"):
        connection.execute("SELECT taskflow.retry_task(%s, '{\"colour\": 1}')", (task_id,))


def test_retry_says_which_task_has_taken_the_unique_key(connection: Connection) -> None:
    first = enqueue(connection, unique_key="u")
    cancel(connection, first[0])
    second = enqueue(connection, unique_key="u")
    with pytest.raises(psycopg.Error) as refused:
        connection.execute("SELECT taskflow.retry_task(%s)", (first[0],))
    assert (refused.value.sqlstate, refused.value.diag.message_detail) == ("TF410", str(second[0]))


def test_task_status_follows_a_task_wherever_it_is(connection: Connection) -> None:
    (task_id,) = insert(connection)
    status = "SELECT state, attempt, result FROM taskflow.task_status(%s)"
    assert connection.execute(status, (task_id,)).fetchone() == ("pending", 0, None)
    me = worker(connection)
    complete(connection, me, claim(connection, me), result="[1]")
    assert connection.execute(status, (task_id,)).fetchone() == ("completed", 1, [1])
    assert connection.execute(status, (0,)).fetchone() is None


def test_a_producer_reaches_only_what_it_created(connection: Connection, dsn: str) -> None:
    (theirs,) = insert(connection)
    with connection.transaction():
        connection.execute("CREATE ROLE shop LOGIN IN ROLE taskflow_producer")
    try:
        with psycopg.connect(dsn, user="shop", autocommit=True) as shop:
            own = enqueue(shop)[0]
            (inserted,) = insert(shop)
            assert cancel(shop, theirs) is None
            assert shop.execute("SELECT * FROM taskflow.task_status(%s)", (theirs,)).fetchall() == []
            assert shop.execute("SELECT state FROM taskflow.task_status(%s)", (own,)).fetchone() == ("pending",)
            for forbidden in (
                "SELECT payload FROM taskflow.tasks",
                "INSERT INTO taskflow.tasks (type, state) VALUES ('noop', 'completed')",
                "INSERT INTO taskflow.tasks (type, created_by) VALUES ('noop', 'postgres')",
                "UPDATE taskflow.tasks SET priority = 3",
                "SELECT * FROM taskflow.claim_tasks(1, '{default}', '{noop}', 1, '{}', '{}')",
                f"SELECT taskflow.retry_task({own})",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    shop.execute(forbidden)
            assert cancel(shop, own) == cancel(shop, inserted) == "cancelled"
    finally:
        connection.execute("DROP OWNED BY shop")
        connection.execute("DROP ROLE shop")
    assert row(connection, theirs, "state") == ("pending",)
