"""The retry policy of a task: how long to wait after each failure. The jitter belongs to the queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Strategy = Literal["fixed", "linear", "exponential"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
MAX_DELAY_SECONDS = 30 * 86_400.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a task waits after a failure, before its next attempt; for `retry` of `task` and of `Client.enqueue`.

    - `strategy`: after the n-th failure it waits, with `delay_seconds` d: "fixed" d, "linear" n*d, "exponential"
      d*2^(n-1).
    - `delay_seconds`: 0 to 2,592,000 (30 days). None: as the type, else the queue says, else 1.
    - `max_delay_seconds`: it never waits longer, 0 to 2,592,000. None: as the type, else the queue says, else 600.

    The queue's `retry_jitter` spreads the waits. Raises `ValueError` for anything else.
    """

    strategy: Strategy = "exponential"
    delay_seconds: float | None = None
    max_delay_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ValueError(f"retry strategy {self.strategy!r} is unknown: use one of {', '.join(STRATEGIES)}")
        for name in ("delay_seconds", "max_delay_seconds"):
            value = getattr(self, name)
            if value is not None and not _is_delay(value):
                raise ValueError(f"{name} must be a number of seconds from 0 to {MAX_DELAY_SECONDS:.0f}, not {value!r}")

    @classmethod
    def of(cls, wish: Strategy | RetryPolicy | None) -> RetryPolicy | None:
        """The policy that a user means by a name, a policy, or nothing. Raises `ValueError` for anything else."""
        if wish is None or isinstance(wish, RetryPolicy):
            return wish
        if isinstance(wish, str):
            return cls(wish)
        raise ValueError(f"retry must be one of {', '.join(STRATEGIES)} or a RetryPolicy, not {wish!r}")


def _is_delay(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_DELAY_SECONDS
