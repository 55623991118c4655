"""`compute`: work for a processor, to try out processes, priorities and limits with; its results can be checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from math import isqrt
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from taskflow import Context, task

Operation = Literal["primes", "fibonacci", "hash", "matrix"]
# About 20 seconds of one core each, reckoned from runs of one second.
LARGEST: dict[Operation, int] = {"primes": 1_000_000_000, "fibonacci": 1_000_000, "hash": 20_000_000, "matrix": 500}
STEPS = 100
SEGMENT = 1_000_000
MODULUS = 1_000_003  # a prime


class Compute(BaseModel):
    """What to compute, and how much of it."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "allOf": [
                {"if": {"properties": {"operation": {"const": name}}}, "then": {"properties": {"n": {"maximum": most}}}}
                for name, most in LARGEST.items()
            ]
        },
    )

    operation: Operation = Field(
        description="primes: how many there are up to n; fibonacci: the n-th number; hash: n rounds of SHA-256; "
        "matrix: the product of two n by n matrices."
    )
    n: int = Field(ge=1, le=max(LARGEST.values()), description="How much, up to a limit for each operation.")
    seed: str = Field("", max_length=1000, description="What hash begins with.")

    @field_validator("n")
    @classmethod
    def _within_its_limit(cls, value: int, info: ValidationInfo) -> int:
        operation = info.data.get("operation")
        if operation is not None and value > LARGEST[operation]:
            raise ValueError(f"for {operation} at most {LARGEST[operation]}")
        return value


@task("compute", isolation="process")
def compute(payload: Compute, context: Context) -> dict[str, Any]:
    """Return ``{"operation", "n", "result"}``, the same for the same payload; docs/handlers.md says what `result` is.

    In a process of its own, so that it takes no time from other tasks of the worker, and a cancel ends it at once.
    """
    result = _OPERATIONS[payload.operation](payload, _Steps(context, payload.n))
    return {"operation": payload.operation, "n": payload.n, "result": result}


class _Steps:
    """Divides the numbers up to n into some hundred ranges, and shows the progress after each."""

    def __init__(self, context: Context, n: int) -> None:
        self._context = context
        self._n = n

    def __call__(self, do: Callable[[int, int], None], *, length: int | None = None) -> None:
        """Call `do` with the first and behind the last of each range of 0 … n - 1."""
        length = length or -(-self._n // STEPS)
        for start in range(0, self._n, length):
            end = min(start + length, self._n)
            do(start, end)
            self._context.heartbeat()
            self._context.progress(100 * end / self._n, f"{end:,} of {self._n:,}")


def _primes(payload: Compute, steps: _Steps) -> int:
    """The sieve of Eratosthenes, a segment at a time: a megabyte at most."""
    small = _small_primes(isqrt(payload.n))
    count = 0

    def sieve(start: int, end: int) -> None:
        nonlocal count
        low, high = start + 1, end + 1  # the numbers of this segment: low … high - 1
        flags = bytearray(b"\1") * (high - low)
        for prime in small:
            first = max(prime * prime, -(-low // prime) * prime)
            if first < high:
                flags[first - low :: prime] = bytes(len(range(first, high, prime)))
        count += sum(flags) - (low == 1)  # one is no prime

    steps(sieve, length=SEGMENT)
    return count


def _small_primes(most: int) -> list[int]:
    flags = bytearray(b"\1") * (most + 1)
    for number in range(2, isqrt(most) + 1):
        if flags[number]:
            flags[number * number :: number] = bytes(len(range(number * number, most + 1, number)))
    return [number for number in range(2, most + 1) if flags[number]]


def _fibonacci(payload: Compute, steps: _Steps) -> dict[str, Any]:
    """By addition, since there is to be work; the number itself would be too long to store."""
    here, following = 0, 1

    def add(start: int, end: int) -> None:
        nonlocal here, following
        for _ in range(start, end):
            here, following = following, here + following

    steps(add)
    encoded = here.to_bytes((here.bit_length() + 7) // 8, "big")
    return {
        "bits": here.bit_length(),
        "last_digits": str(here % 10**18),
        "sha256": hashlib.sha256(encoded).hexdigest(),
    }


def _hash(payload: Compute, steps: _Steps) -> str:
    digest = payload.seed.encode()

    def rounds(start: int, end: int) -> None:
        nonlocal digest
        sha256 = hashlib.sha256
        for _ in range(start, end):
            digest = sha256(digest).digest()

    steps(rounds)
    return digest.hex()


def _matrix(payload: Compute, steps: _Steps) -> dict[str, int]:
    """A times B, with A[i][j] = i * n + j and B[i][j] = i - j, modulo 1,000,003."""
    n = payload.n
    columns = [[row - column for row in range(n)] for column in range(n)]
    trace = total = 0

    def multiply(start: int, end: int) -> None:
        nonlocal trace, total
        for i in range(start, end):
            row = range(i * n, i * n + n)
            product = [sum(a * b for a, b in zip(row, column, strict=True)) % MODULUS for column in columns]
            trace += product[i]
            total += sum(product)

    steps(multiply)
    return {"trace": trace % MODULUS, "sum": total % MODULUS}


_OPERATIONS: dict[Operation, Callable[[Compute, _Steps], Any]] = {
    "primes": _primes,
    "fibonacci": _fibonacci,
    "hash": _hash,
    "matrix": _matrix,
}
