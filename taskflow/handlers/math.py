"""`math`: one sum. Small enough to check by eye, with a result and with errors that no retry can mend."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from taskflow import DeadLetter, task

EXACT_INTEGERS = range(-(2**63), 2**63)
Operation = Literal["add", "subtract", "multiply", "divide"]

_OPERATIONS: dict[Operation, Callable[[float, float], float]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
}


def _number(value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("Input should be a number")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("Input should be a finite number")
    return value


# One validator instead of a union's two, so that a wrong value is one problem at one place.
Number = Annotated[int | float, PlainValidator(_number), WithJsonSchema({"type": "number"})]


class Math(BaseModel):
    """Two numbers and what to do with them."""

    model_config = ConfigDict(strict=True, extra="forbid")

    operation: Operation = Field(description="add: a + b; subtract: a - b; multiply: a * b; divide: a / b.")
    a: Annotated[Number, Field(description="The left number.")]
    b: Annotated[Number, Field(description="The right number; for divide not zero.")]


@task("math")
def math(payload: Math) -> dict[str, Any]:
    """Return ``{"result": n}``. Integers stay exact up to 64 bits; what is larger becomes a floating-point number.

    Raises `DeadLetter` for a division by zero and for a result too large for a number: it will never be otherwise.
    """
    try:
        result = _storable(_OPERATIONS[payload.operation](payload.a, payload.b))
    except ZeroDivisionError as error:
        raise DeadLetter(f"{payload.a} cannot be divided by zero") from error
    except OverflowError as error:
        raise DeadLetter(f"the result of {payload.operation} is too large for a number") from error
    return {"result": result}


def _storable(number: int | float) -> int | float:
    """Bring `number` to what JSON readers understand alike: a 64-bit integer or a finite double."""
    if isinstance(number, int):
        return number if number in EXACT_INTEGERS else float(number)
    if not isfinite(number):
        raise OverflowError
    return number
