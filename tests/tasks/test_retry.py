from __future__ import annotations

import pytest

from taskflow.tasks.retry import RetryPolicy


@pytest.mark.parametrize("strategy", ["fixed", "linear", "exponential"])
def test_a_name_means_the_policy_with_the_delays_of_the_queue(strategy):
    assert RetryPolicy.of(strategy) == RetryPolicy(strategy, None, None)


def test_a_policy_and_none_mean_themselves():
    policy = RetryPolicy("linear", delay_seconds=2)
    assert RetryPolicy.of(policy) is policy
    assert RetryPolicy.of(None) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"strategy": "quadratic"}, "fixed, linear, exponential"),
        ({"delay_seconds": -1}, "delay_seconds"),
        ({"delay_seconds": float("nan")}, "delay_seconds"),
        ({"delay_seconds": True}, "delay_seconds"),
        ({"max_delay_seconds": 31 * 86_400}, "max_delay_seconds"),
        ({"max_delay_seconds": "1"}, "max_delay_seconds"),
    ],
)
def test_a_policy_that_cannot_work_is_refused_by_name(arguments, said):
    with pytest.raises(ValueError, match=said):
        RetryPolicy(**arguments)


def test_something_else_than_a_policy_is_refused():
    with pytest.raises(ValueError, match="RetryPolicy"):
        RetryPolicy.of(3)
