"""Durations as the statistics keep them: counted in buckets, 1, 2, 5 a decade; see taskflow.duration_bounds()."""

from __future__ import annotations

from collections.abc import Sequence

DURATION_BOUNDS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0,
    2000.0, 5000.0, 10000.0,
)  # fmt: skip
BUCKETS = range(1, len(DURATION_BOUNDS) + 2)
"""The places of the buckets in the array, as SQL counts them."""


def percentile(buckets: Sequence[int], fraction: float) -> float | None:
    """The duration in seconds below which this fraction lies, by the counts of the buckets; None if there are none.
    Within its bucket it is taken to lie where an even spread would have it."""
    rest = fraction * sum(buckets)
    if not rest:
        return None
    bounds = (0.0, *DURATION_BOUNDS, DURATION_BOUNDS[-1])
    for place, count in enumerate(buckets):
        if rest <= count:
            low, high = bounds[place], bounds[place + 1]
            return round(low + (high - low) * rest / count, 6)
        rest -= count
    raise AssertionError("unreachable")
