"""What the demo counts: every message by its number, when it left and when it came."""

import time
from collections import Counter
from statistics import quantiles
from struct import Struct

from rich.table import Table

_HEAD = Struct(">QQ")  # number of the message; monotonic nanoseconds at which its send began
HEAD_BYTES = _HEAD.size


class Tally:
    """Messages sent and received in one run, all in this process, so that one clock measures the way."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._sent: set[int] = set()
        self._failures: dict[int, Exception] = {}
        self._received: Counter[int] = Counter()
        self._by_member: Counter[str] = Counter()
        self._latencies_ns: list[int] = []
        self._calm_duplicates = 0
        self._duplicates = 0
        self._disturbed = False
        self._sending_ended: float | None = None
        self._last_arrival = self._start

    @staticmethod
    def stamp(number: int) -> bytes:
        """The head of a body."""
        return _HEAD.pack(number, time.monotonic_ns())

    def sent(self, number: int) -> None:
        """The broker acknowledged a message."""
        if not self._sent:
            self._start = time.monotonic()
        self._sent.add(number)

    def failed(self, number: int, error: Exception) -> None:
        """A send failed."""
        self._failures[number] = error

    def end_sending(self) -> None:
        """Nothing more will be sent."""
        self._sending_ended = time.monotonic()

    def disturb(self) -> None:
        """From now on the group changes."""
        self._disturbed = True

    def received(self, member: str, body: bytes) -> None:
        """A consumer got a message."""
        number, left_ns = _HEAD.unpack_from(body)
        self._received[number] += 1
        self._by_member[member] += 1
        if self._received[number] == 1:
            self._latencies_ns.append(time.monotonic_ns() - left_ns)
        else:
            self._duplicates += 1
            self._calm_duplicates += not self._disturbed
        self._last_arrival = time.monotonic()

    def is_complete(self) -> bool:
        """Whether everything that was sent has arrived; false when a send failed."""
        return self._sending_ended is not None and not self._failures and not self._missing()

    def line(self) -> str:
        """The state in one line."""
        seconds = max(time.monotonic() - self._start, 0.001)
        return (
            f"{len(self._sent):>7} sent  {len(self._received):>7} received  "
            f"{len(self._received) / seconds:>7.0f} msg/s  {self._duplicates} duplicates"
        )

    def table(self) -> Table:
        """The result."""
        percentiles = quantiles(self._latencies_ns, n=100) if len(self._latencies_ns) > 1 else [0.0] * 99
        seconds = max(self._last_arrival - self._start, 0.001)
        table = Table(title="Result", title_justify="left", show_header=False)
        table.add_column()
        table.add_column(justify="right")
        for name, value in (
            ("messages acknowledged", str(len(self._sent))),
            ("messages received", str(len(self._received))),
            ("missing", str(len(self._missing()))),
            ("failed sends", str(len(self._failures))),
            ("duplicates while nobody came or left", str(self._calm_duplicates)),
            ("duplicates in all", str(self._duplicates)),
            ("messages a second", f"{len(self._received) / seconds:.0f}"),
            ("end-to-end latency p50", f"{percentiles[49] / 1e6:.2f} ms"),
            ("end-to-end latency p99", f"{percentiles[98] / 1e6:.2f} ms"),
            *((f"received by {member}", str(count)) for member, count in sorted(self._by_member.items())),
        ):
            table.add_row(name, value)
        for number, error in list(self._failures.items())[:3]:
            table.add_row(f"send {number} failed", str(error))
        return table

    def _missing(self) -> set[int]:
        return self._sent - self._received.keys()
