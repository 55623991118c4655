from __future__ import annotations

import pytest
from pydantic import ValidationError

from taskflow.errors import DeadLetter, InvalidPayload
from taskflow.handlers.math import Math

LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("operation", "a", "b", "result"),
    [
        ("add", 2, 3, 5),
        ("subtract", 2, 3, -1),
        ("multiply", 6, 7, 42),
        ("divide", 1, 4, 0.25),
        ("add", 0.5, 1, 1.5),
        ("add", 2**60, 1, 2**60 + 1),
        ("multiply", 0, 5, 0),
        ("divide", 0, 5, 0),
    ],
)
def test_math_does_the_sum(run, operation, a, b, result) -> None:
    assert run("math", {"operation": operation, "a": a, "b": b}) == {"result": result}


@pytest.mark.parametrize("zero", [0, 0.0, -0.0])
def test_division_by_zero_is_final(run, zero) -> None:
    with pytest.raises(DeadLetter, match="divided by zero"):
        run("math", {"operation": "divide", "a": 1, "b": zero})


@pytest.mark.parametrize(
    ("operation", "a", "b"),
    [("multiply", 1e200, 1e200), ("add", 1.7e308, 1.7e308), ("subtract", -1.7e308, 1.7e308), ("divide", 1e300, 1e-300)],
)
def test_a_result_that_is_no_finite_number_is_final(run, operation, a, b) -> None:
    with pytest.raises(DeadLetter, match="too large"):
        run("math", {"operation": operation, "a": a, "b": b})


def test_integers_are_exact_up_to_64_bits_and_floating_beyond(run) -> None:
    exact = run("math", {"operation": "add", "a": LARGEST, "b": 0})["result"]
    beyond = run("math", {"operation": "add", "a": LARGEST, "b": 1})["result"]
    assert (exact, type(exact)) == (LARGEST, int)
    assert (beyond, type(beyond)) == (float(2**63), float)


@pytest.mark.parametrize("number", ["1", None, True, [1], {}])
def test_what_is_no_number_is_one_problem_at_its_place(run, number) -> None:
    with pytest.raises(InvalidPayload) as caught:
        run("math", {"operation": "add", "a": 1, "b": number})
    assert [problem.pointer for problem in caught.value.problems] == ["/b"]


@pytest.mark.parametrize("payload", [{"operation": "power", "a": 1, "b": 2}, {"operation": "add", "a": 1}, {}])
def test_unknown_operations_and_missing_numbers_are_refused(run, payload) -> None:
    with pytest.raises(InvalidPayload):
        run("math", payload)


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_python_callers_cannot_give_what_is_no_json_number(number) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        Math(operation="add", a=number, b=1)
