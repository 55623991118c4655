from __future__ import annotations

import math
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson
import psycopg
import pytest

from taskflow import InvalidTask, NewTask, TaskflowError, task
from taskflow.client.requests import ClientSettings, as_new_tasks, many_tasks
from taskflow.store.client_statements import COPY_LOOKAHEAD, MANY_BYTES, MANY_TASKS, enqueue_many
from taskflow.tasks.registry import Registry
from taskflow.tasks.task import Priority


@task("mail", queue="outbox", priority="high", max_attempts=3, registry=Registry())
def send(payload: dict): ...


def test_enqueue_many_answers_in_the_order_given(client):
    answers = client.enqueue_many(NewTask("mail", {"n": n}) for n in range(MANY_TASKS * 2 + 5))
    assert [client.get(answers[n].id).payload["n"] for n in (0, 999, 1000, 2004)] == [0, 999, 1000, 2004]
    assert len({answer.id for answer in answers}) == MANY_TASKS * 2 + 5


def test_enqueue_many_answers_in_order_with_keys_among_the_tasks(client):
    keys = ["b", None, "a", "b", None]
    answers = client.enqueue_many(
        {"type": "mail", "payload": {"n": n}, "unique_key": key} for n, key in enumerate(keys)
    )
    assert [answer.created for answer in answers] == [True, True, True, False, True]
    assert answers[3].id == answers[0].id
    assert [client.get(answer.id).payload["n"] for answer in answers] == [0, 1, 2, 0, 4]


def test_a_call_is_bounded_in_bytes_whatever_the_characters():
    many = enqueue_many([NewTask("mail", {"text": "€" * 300_000})] * 40)
    sizes = [len(operation.parameters[0].encode()) for operation in many.operations]
    assert len(sizes) == 3
    assert max(sizes) <= MANY_BYTES + MANY_TASKS  # and the commas


def test_enqueue_many_stores_every_option(client):
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    (answer,) = client.enqueue_many(
        [
            {
                "type": "mail",
                "payload": {"a": "ä"},
                "queue": "outbox",
                "priority": "low",
                "run_at": at,
                "max_attempts": 2,
                "timeout": 5,
                "retry": "fixed",
                "concurrency_key": "c",
                "metadata": {"m": None},
                "tags": ["t"],
            }
        ]
    )
    stored = client.get(answer.id)
    assert answer.state == "scheduled"
    assert (stored.payload, stored.queue, stored.priority, stored.run_at) == ({"a": "ä"}, "outbox", 0, at)
    assert (stored.max_attempts, stored.timeout, stored.concurrency_key) == (2, 5.0, "c")
    assert (stored.metadata, stored.tags) == ({"m": None}, ["t"])


def test_enqueue_many_of_nothing_is_nothing(client):
    assert client.enqueue_many([]) == []


def test_enqueue_many_is_all_or_none(client, count):
    tasks = [NewTask("mail")] * 1_500 + [NewTask("mail", run_at=datetime(1999, 1, 1, tzinfo=UTC))]
    with pytest.raises(InvalidTask):
        client.enqueue_many(tasks)
    assert count() == 0


@pytest.mark.parametrize("bulk", ["enqueue_many", "copy"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"payload": {}}, "task 2: it has no type"),
        ({"type": "mail", "payload": {"a": "\x00"}}, "task 2: payload at /a"),
        ({"type": "mail", "max_retries": 1}, "task 2: a task has no option 'max_retries'"),
        ({"type": "mail", "payload": {"a": "x" * 300_000}}, "task 2: the payload has"),
        ("mail", "task 2: a task is a NewTask or a mapping"),
        ({"type": "mail", 1: 1}, "task 2: the key 1 is no text"),
        ({"type": "mail", "self": 1}, "task 2: a task has no option 'self'"),
    ],
    ids=["type", "payload", "option", "size", "kind", "key", "self"],
)
def test_the_task_that_is_wrong_is_named(client, count, bulk, wrong, said):
    with pytest.raises(InvalidTask, match=said):
        getattr(client, bulk)([{"type": "mail"}, NewTask("mail"), wrong])
    assert count() == 0


@pytest.mark.parametrize("bulk", ["enqueue_many", "copy"])
def test_the_task_that_a_generator_cannot_make_is_named(client, count, bulk):
    letter = task("letter", registry=Registry())(lambda payload: None)
    numbers = [*range(COPY_LOOKAHEAD + 5), math.nan, 0]
    with pytest.raises(InvalidTask, match=rf"^task {COPY_LOOKAHEAD + 5}: payload at /n cannot be stored as JSON: nan"):
        getattr(client, bulk)(letter.new({"n": n}) for n in numbers)
    assert count() == 0


@pytest.mark.parametrize("bulk", ["enqueue_many", "copy"])
def test_what_else_a_generator_raises_is_raised_as_it_is(client, count, bulk):
    def tasks(error):
        yield NewTask("mail")
        raise error

    for error in (LookupError("the source broke"), TaskflowError("it too"), KeyError()):
        with pytest.raises(type(error)) as raised:
            getattr(client, bulk)(tasks(error))
        assert raised.value is error
        assert raised.value.args == error.args
        assert "task 1" not in str(error)
    assert count() == 0


LIMITS = ClientSettings("", max_payload_bytes=10_000)


@pytest.mark.parametrize(
    "more",
    [{}, {"queue": "outbox"}, {"priority": 3}, {"queue": None, "priority": None}, {"queue": "a.b", "priority": 0}],
    ids=repr,
)
@pytest.mark.parametrize("value", [None, {"a": [None, "ä", 1.5, "null"]}], ids=repr)
def test_plain_tasks_are_encoded_together_and_say_the_same(more, value):
    tasks = [{"type": "mail", "payload": {"value": value}, **more}, {"type": "other", "payload": {}}]
    together, one_by_one = many_tasks(tasks, LIMITS), enqueue_many(list(as_new_tasks(tasks, LIMITS)))
    assert together.operations[0].sql != one_by_one.operations[0].sql
    ((said,), (expected,)) = (
        [[{name: v for name, v in task.items() if v is not None} for task in orjson.loads(op.parameters[0])]]
        for op in (together.operations[0], one_by_one.operations[0])
    )
    assert said == expected


@dataclass
class Letter:
    to: str


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "mail"},
        {"type": "mail", "payload": None},
        {"type": "mail", "payload": Letter("a")},
        {"type": "mail", "payload": OrderedDict(a=1)},
        {"type": send, "payload": {}},
        {"type": "mail", "payload": {}, "priority": "high"},
        {"type": "mail", "payload": {}, "priority": Priority.HIGH},
        {"type": "mail", "payload": {"pair": (1, None)}},
        {"type": "mail", "payload": {"letter": Letter("a"), "null": None}},
        {"type": "mail", "payload": {"a": "\\u0000"}},
        {"type": "mail", "payload": {"a": "x" * 9_980}},
        {"type": "mail", "payload": {}, "tags": ["a"]},
        NewTask("mail"),
    ],
    ids=repr,
)
def test_a_task_of_another_kind_is_stored_the_same(client, odd):
    alone, beside = client.enqueue_many([odd]), client.enqueue_many([{"type": "mail", "payload": {}}, odd])
    one = client.enqueue_new(odd if isinstance(odd, NewTask) else NewTask(**odd))
    stored = [client.get(id) for id in (alone[0].id, beside[1].id, one.id)]
    kept = [(t.type, t.payload, t.queue, t.priority, t.max_attempts, t.tags, t.created_by, t.state) for t in stored]
    assert kept[0] == kept[1] == kept[2]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"type": "", "payload": {}}, "type must be a text of 1 to 200 characters"),
        ({"type": ["mail"], "payload": {}}, "type must be a text"),
        ({"type": "mail", "payload": {}, "queue": "a b"}, "queue must be 1 to 100 letters"),
        ({"type": "mail", "payload": {}, "queue": {}}, "queue must be 1 to 100 letters"),
        ({"type": "mail", "payload": {}, "priority": 4}, "priority must be 0 to 3"),
        ({"type": "mail", "payload": {}, "priority": True}, "priority must be 0 to 3"),
        ({"type": "mail", "payload": {"a": [None, math.nan]}}, "payload at /a/1 cannot be stored as JSON: nan"),
        ({"type": "mail", "payload": {"a": None, "b": "\x00"}}, "payload at /b .*NUL"),
        ({"type": "mail", "payload": {"a": "\ud800"}}, "payload at /a cannot be stored"),
        ({"type": "mail", "payload": {1: None}}, "payload cannot be stored as JSON: the key 1 is no text"),
        ({"type": "mail", "payload": {"a": {1, 2}}}, "payload at /a cannot be stored"),
        ({"payload": {}, "queue": "a"}, "it has no type"),
    ],
    ids=repr,
)
def test_a_plain_task_that_is_wrong_is_named(client, count, wrong, said):
    with pytest.raises(InvalidTask, match=f"^task 1: {said}"):
        client.enqueue_many([{"type": "mail", "payload": {}}, wrong])
    assert count() == 0


@pytest.mark.parametrize("odd", [True, 1.0], ids=repr)
def test_a_priority_is_checked_beside_one_that_python_takes_for_the_same(client, count, odd):
    with pytest.raises(InvalidTask, match=f"^task 1: priority must be 0 to 3 .* not {odd}"):
        client.enqueue_many([{"type": "mail", "payload": {}, "priority": priority} for priority in (1, odd)])
    assert count() == 0


def test_a_thousand_plain_tasks_may_be_longer_than_one_may_be(client, count):
    answers = client.enqueue_many({"type": "mail", "payload": {"text": "x" * 2_000}} for _ in range(MANY_TASKS + 1))
    assert [len(set(answers)), count("length(payload ->> 'text') = 2000")] == [MANY_TASKS + 1, MANY_TASKS + 1]


def test_two_callers_with_the_same_keys_in_opposite_order_do_not_end_in_a_deadlock(client, dsn):
    keys = [f"k{n:05d}" for n in range(MANY_TASKS + 500)]

    def enqueue(order):
        return client.enqueue_many({"type": "mail", "unique_key": key} for key in order)

    with ThreadPoolExecutor(2) as threads:
        forward, backward = threads.submit(enqueue, keys), threads.submit(enqueue, keys[::-1])
    assert [a.id for a in forward.result()] == [a.id for a in backward.result()][::-1]


def test_copy_counts_and_stores(client, count):
    assert client.copy(NewTask("mail", {"n": n}) for n in range(COPY_LOOKAHEAD + 5)) == COPY_LOOKAHEAD + 5
    assert (
        count("type = 'mail' AND queue = 'default' AND priority = 1 AND metadata = '{}' AND tags = '{}'")
        == COPY_LOOKAHEAD + 5
    )
    assert count("run_at = created_at AND state = 'pending'") == COPY_LOOKAHEAD + 5


def test_copy_stores_every_option_beside_tasks_without_any(client, connection):
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    everything = {
        "type": "mail",
        "payload": {"a": 'tab\t line\n backslash\\ quote" ä'},
        "queue": "outbox",
        "priority": "low",
        "run_at": at,
        "unique_key": "k",
        "max_attempts": 2,
        "timeout": 5,
        "retry": "fixed",
        "concurrency_key": "c",
        "metadata": {"m": None},
        "tags": ["t", "with,comma", '"'],
    }
    assert client.copy([everything, {"type": "mail"}, send.new({"n": 1})]) == 3
    ids = [row[0] for row in connection.execute("SELECT id FROM taskflow.tasks ORDER BY id").fetchall()]
    full, bare, handled = (client.get(id) for id in ids)
    assert (full.payload, full.queue, full.priority, full.run_at) == (everything["payload"], "outbox", 0, at)
    assert (full.unique_key, full.max_attempts, full.timeout, full.concurrency_key) == ("k", 2, 5.0, "c")
    assert (full.metadata, full.tags) == ({"m": None}, ["t", "with,comma", '"'])
    assert (bare.queue, bare.priority, bare.metadata, bare.tags, bare.unique_key) == ("default", 1, {}, [], None)
    assert bare.run_at == bare.created_at
    assert (handled.queue, handled.priority, handled.max_attempts) == ("outbox", 2, 3)


def test_copy_takes_tasks_whose_options_differ_at_any_place(client, count):
    def tasks():
        for n in range(COPY_LOOKAHEAD * 3):
            yield NewTask(
                "mail", {"n": n}, **({"queue": "q"} if n % 700 == 699 else {"tags": ["t"]} if n == 2_500 else {})
            )

    assert client.copy(tasks()) == COPY_LOOKAHEAD * 3
    assert count("queue = 'q'") == 4
    assert count("tags = '{t}' AND payload = '{\"n\": 2500}'") == 1
    assert count("queue = 'default' AND tags = '{}'") == COPY_LOOKAHEAD * 3 - 5


def test_copy_of_nothing_is_nothing(client):
    assert client.copy([]) == 0


def test_copy_refuses_what_only_enqueue_can_do(client, count):
    with pytest.raises(InvalidTask, match="use run_at"):
        client.copy([{"type": "mail", "delay": 5}])
    with pytest.raises(InvalidTask, match="use enqueue_many"):
        client.copy([{"type": "mail"}] * COPY_LOOKAHEAD + [{"type": "mail", "unique_key": "k", "on_conflict": "skip"}])
    assert count() == 0


def test_copy_with_a_key_that_is_taken_stores_nothing(client, count):
    client.enqueue("mail", unique_key="k")
    with pytest.raises(TaskflowError):
        client.copy([{"type": "mail"}, {"type": "mail", "unique_key": "k"}])
    assert count() == 1


def test_copy_takes_a_generator_that_fails_and_stores_nothing(client, count):
    def tasks():
        yield from ({"type": "mail"} for _ in range(COPY_LOOKAHEAD + 1))
        raise LookupError("the source broke")

    with pytest.raises(LookupError):
        client.copy(tasks())
    assert count() == 0
    assert client.copy([{"type": "mail"}]) == 1


def test_the_connection_of_a_failed_copy_can_be_used_again(client, dsn):
    with psycopg.connect(dsn) as own:
        with pytest.raises(InvalidTask), own.transaction():
            client.copy([{"type": "mail", "run_at": datetime(1999, 1, 1, tzinfo=UTC)}], connection=own)
        assert client.copy([{"type": "mail"}], connection=own) == 1
