"""The results of compute, held against other ways to find them."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from itertools import pairwise

import pytest

from taskflow.errors import Cancel, InvalidPayload
from taskflow.handlers.compute import LARGEST, MODULUS, SEGMENT
from taskflow.tasks.registry import registry


@pytest.mark.parametrize(
    ("n", "primes"),  # https://oeis.org/A006880, and small ones by hand
    [
        (1, 0),
        (2, 1),
        (3, 2),
        (4, 2),
        (9, 4),
        (25, 9),
        (100, 25),
        (1000, 168),
        (1_000_000, 78_498),
        (3_000_000, 216_816),
    ],
)
def test_primes_are_counted(run, n: int, primes: int) -> None:
    assert run("compute", {"operation": "primes", "n": n}) == {"operation": "primes", "n": n, "result": primes}


def test_primes_are_right_at_the_edge_of_a_segment(run) -> None:
    def is_prime(number: int) -> bool:
        return all(number % divisor for divisor in range(2, int(number**0.5) + 1))

    counts = [run("compute", {"operation": "primes", "n": SEGMENT + more})["result"] for more in range(-1, 5)]
    steps = [after - before for before, after in pairwise(counts)]
    assert steps == [int(is_prime(SEGMENT + more)) for more in range(5)]


@pytest.mark.parametrize("n", [1, 2, 10, 99, 100, 101, 5000])
def test_fibonacci_is_the_power_of_a_matrix(run, n: int) -> None:
    def times(a, b):
        return [[sum(a[i][k] * b[k][j] for k in range(2)) for j in range(2)] for i in range(2)]

    power, base, rest = [[1, 0], [0, 1]], [[1, 1], [1, 0]], n
    while rest:
        if rest & 1:
            power = times(power, base)
        base, rest = times(base, base), rest >> 1
    number = power[0][1]
    encoded = number.to_bytes((number.bit_length() + 7) // 8, "big")
    assert run("compute", {"operation": "fibonacci", "n": n})["result"] == {
        "bits": number.bit_length(),
        "last_digits": str(number % 10**18),
        "sha256": hashlib.sha256(encoded).hexdigest(),
    }


def test_hash_is_so_many_rounds_of_sha256(run) -> None:
    assert (
        run("compute", {"operation": "hash", "n": 1, "seed": "abc"})["result"]
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    )
    digest = b"\xc3\xbc"
    for _ in range(1234):
        digest = hashlib.sha256(digest).digest()
    assert run("compute", {"operation": "hash", "n": 1234, "seed": "ü"})["result"] == digest.hex()


@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_matrix_is_the_product_by_its_definition(run, n: int) -> None:
    product = [
        [int(sum(Fraction(i * n + k) * (k - j) for k in range(n))) % MODULUS for j in range(n)] for i in range(n)
    ]
    assert run("compute", {"operation": "matrix", "n": n})["result"] == {
        "trace": sum(product[i][i] for i in range(n)) % MODULUS,
        "sum": sum(map(sum, product)) % MODULUS,
    }


@pytest.mark.parametrize("operation", LARGEST)
def test_each_operation_has_a_limit_that_the_schema_knows_too(run, operation: str) -> None:
    import jsonschema

    too_much = {"operation": operation, "n": LARGEST[operation] + 1}
    with pytest.raises(InvalidPayload) as caught:
        run("compute", too_much)
    assert [problem.pointer for problem in caught.value.problems] == ["/n"]
    validator = jsonschema.Draft202012Validator(registry.get("compute").payload_schema())
    assert [list(error.absolute_path) for error in validator.iter_errors(too_much)][:1] == [["n"]]
    assert validator.is_valid({"operation": operation, "n": LARGEST[operation]})


def test_progress_rises_to_the_end_and_a_cancel_ends_it(run, attempt) -> None:
    run("compute", {"operation": "hash", "n": 1000})
    assert [percent for percent, _ in attempt.progress] == list(range(1, 101))
    attempt.cancelled_from = 110
    with pytest.raises(Cancel):
        run("compute", {"operation": "hash", "n": 1000})
    assert len(attempt.progress) == 110


def test_it_runs_in_a_process_of_its_own() -> None:
    assert registry.get("compute").isolation == "process"
