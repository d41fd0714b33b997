"""Growing waits between tries.

Source: behaviour.md 2.8: 1.0 s, then times 1.6 up to 120 s, each but the first varied by 20 %
"""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BackoffPolicy:
    """The constants of a back-off, in seconds where they are times."""

    initial_s: float = 1.0
    multiplier: float = 1.6
    jitter: float = 0.2
    max_s: float = 120.0


class Backoff:
    """The waits of one series of failures."""

    def __init__(self, policy: BackoffPolicy, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._policy = policy
        self._uniform = uniform
        self._base = 0.0

    @property
    def started(self) -> bool:
        """Whether there was a failure since the last `reset`."""
        return self._base > 0

    def next_s(self) -> float:
        """The wait after one more failure, in seconds; the first has no jitter."""
        policy = self._policy
        if not self._base:
            self._base = policy.initial_s
            return self._base
        self._base = min(self._base * policy.multiplier, policy.max_s)
        return self._base * (1 + self._uniform(-policy.jitter, policy.jitter))

    def reset(self) -> None:
        """Start over, after a success."""
        self._base = 0.0
