"""Which brokers to leave out after slow or failed sends. Pure: the time is given.

Source: apache/rocketmq: client/.../latency/MQFaultStrategy.java, LatencyFaultToleranceImpl.java; behaviour.md 1.6
"""

from dataclasses import dataclass

LATENCY_MAX_MS = (50, 100, 550, 1800, 3000, 5000, 15000)
NOT_AVAILABLE_MS = (0, 0, 2000, 5000, 6000, 10000, 30000)
ISOLATION_MS = 10_000
"""The latency that a failed broker is taken to have."""


def not_available_ms(latency_ms: float) -> int:
    """For how long a broker that answered after `latency_ms` is left out."""
    for limit, duration in zip(reversed(LATENCY_MAX_MS), reversed(NOT_AVAILABLE_MS), strict=True):
        if latency_ms >= limit:
            return duration
    return 0


@dataclass(slots=True)
class _Fault:
    until_ms: float
    reachable: bool


class FaultTable:
    """The brokers that are left out for a while.

    Units: all times are milliseconds of one clock.
    """

    def __init__(self) -> None:
        self._faults: dict[str, _Fault] = {}

    def update(
        self, broker: str, latency_ms: float, now_ms: float, *, isolate: bool = False, reachable: bool = True
    ) -> None:
        """Note how a send went; `isolate` when it failed."""
        duration = not_available_ms(ISOLATION_MS if isolate else latency_ms)
        if duration or broker in self._faults:
            self._faults[broker] = _Fault(now_ms + duration, reachable)

    def is_available(self, broker: str, now_ms: float) -> bool:
        """Whether a broker is not left out now."""
        fault = self._faults.get(broker)
        return fault is None or now_ms >= fault.until_ms

    def is_reachable(self, broker: str) -> bool:
        """Whether the last send to a broker got through."""
        fault = self._faults.get(broker)
        return fault is None or fault.reachable
