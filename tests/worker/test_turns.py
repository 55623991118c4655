"""The order and the shares in which a worker claims from its queues."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskflow.store.queues import QueueSettings
from taskflow.worker.turns import Turns


def claim(turns: Turns, backlog: dict[str, int], wanted: int) -> Counter[str]:
    """What a claim brings from queues in which so many tasks wait, as the database does it."""
    plan = turns.plan(list(backlog), wanted)
    claimed: Counter[str] = Counter()
    for name, most in plan:
        left = wanted - claimed.total()
        count = min(left, backlog[name] - claimed[name], left if most is None else most)
        claimed[name] += count
    claimed = +claimed
    turns.took(plan, claimed)
    for name, count in claimed.items():
        backlog[name] -= count
    return claimed


def known(**weights: int) -> Turns:
    turns = Turns()
    turns.learn({name: QueueSettings(name, weight=weight) for name, weight in weights.items()})
    return turns


@pytest.mark.parametrize("wanted", [1, 7, 20, 500])
def test_shares_follow_the_weights(wanted: int) -> None:
    turns = known(a=1, b=2, c=7)
    taken: Counter[str] = Counter()
    backlog = dict.fromkeys("abc", 1_000_000)
    while taken.total() < 10_000:
        taken += claim(turns, backlog, wanted)
    shares = {name: taken[name] / taken.total() for name in "abc"}
    assert shares == pytest.approx({"a": 0.1, "b": 0.2, "c": 0.7}, abs=0.02)


def test_a_higher_priority_is_emptied_first() -> None:
    turns = Turns()
    turns.learn({"high": QueueSettings("high", priority=5), "low": QueueSettings("low", weight=100)})
    backlog = {"low": 100, "high": 30}
    assert claim(turns, backlog, 20) == {"high": 20}
    assert claim(turns, backlog, 20) == {"high": 10, "low": 10}


def test_what_a_queue_does_not_fill_is_the_others() -> None:
    turns = known(a=1, b=99)
    assert claim(turns, {"a": 1000, "b": 3}, 100) == {"a": 97, "b": 3}


def test_a_queue_that_had_no_work_saves_nothing_up() -> None:
    turns = known(a=1, b=1)
    backlog = {"a": 1_000_000, "b": 0}
    for _ in range(100):
        claim(turns, backlog, 20)
    backlog["b"] = 1_000_000
    taken: Counter[str] = Counter()
    for _ in range(10):
        taken += claim(turns, backlog, 20)
    assert taken["a"] == pytest.approx(taken["b"], abs=40)


def test_one_queue_is_one_turn() -> None:
    assert known(a=3).plan(["a"], 500) == [("a", None)]


@settings(deadline=None)
@given(
    backlog=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 60), min_size=1),
    weights=st.lists(st.integers(1, 1000), min_size=8, max_size=8),
    priorities=st.lists(st.integers(0, 2), min_size=8, max_size=8),
    wanted=st.integers(1, 100),
)
def test_no_slot_stays_idle_while_a_queue_has_work(
    backlog: dict[str, int], weights: list[int], priorities: list[int], wanted: int
) -> None:
    turns = Turns()
    turns.learn(
        {
            name: QueueSettings(name, priority=priority, weight=weight)
            for name, weight, priority in zip("abcdefgh", weights, priorities, strict=True)
        }
    )
    while total := sum(backlog.values()):
        assert claim(turns, backlog, wanted).total() == min(wanted, total)
