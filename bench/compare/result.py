"""What the windows of a case come to."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.figures import Spread, neighbour_ratios, spread
from bench.load.cases import Case
from bench.load.messages import Window
from bench.servers import APACHE, OURS


class Measured(NamedTuple):
    """One window. server: whose."""

    server: str
    window: Window


class CaseResult(NamedTuple):
    """One case in one flush mode. windows: in the order in which they were run."""

    mode: str
    case: Case
    windows: Sequence[Measured]

    def server_us(self, server: str) -> Spread:
        """Server CPU µs per message."""
        return spread([window.server_us for name, window in self.windows if name == server])

    def load_us(self, server: str) -> Spread:
        """Load generator CPU µs per message."""
        return spread([window.load_us for name, window in self.windows if name == server])

    def rate(self, server: str) -> Spread:
        """Messages per second."""
        return spread([window.rate for name, window in self.windows if name == server])

    def messages(self, server: str) -> int:
        """How many the figures rest on."""
        return sum(window.messages for name, window in self.windows if name == server)

    @property
    def compiler_share(self) -> float:
        """What of Apache's CPU its compilers used."""
        windows = [window for name, window in self.windows if name == APACHE]
        return sum(window.compiler_cpu_s for window in windows) / sum(window.server_cpu_s for window in windows)

    @property
    def cpu_ratio(self) -> Spread:
        """How many times the CPU of ours Apache's broker needs per message, over neighbouring windows."""
        costs = [(name, window.server_us) for name, window in self.windows]
        return spread(neighbour_ratios(costs, APACHE, OURS))

    @property
    def rate_ratio(self) -> Spread:
        """How many times Apache's msg/s ours takes, over neighbouring windows."""
        return spread(neighbour_ratios([(name, window.rate) for name, window in self.windows], OURS, APACHE))

    def plain(self) -> dict[str, Any]:
        """The result as JSON values, every window included."""
        return {
            "mode": self.mode,
            "case": self.case.plain(),
            "servers": {
                server: {
                    "server_cpu_us": self.server_us(server)._asdict(),
                    "load_cpu_us": self.load_us(server)._asdict(),
                    "messages_per_s": self.rate(server)._asdict(),
                    "messages": self.messages(server),
                }
                for server in (OURS, APACHE)
            },
            "apache_compiler_share": self.compiler_share,
            "cpu_ratio": self.cpu_ratio._asdict(),
            "rate_ratio": self.rate_ratio._asdict(),
            "windows": [
                {
                    "server": name,
                    "server_cpu_us": window.server_us,
                    "load_cpu_us": window.load_us,
                    **{field: getattr(window, field) for field in window.__struct_fields__},
                }
                for name, window in self.windows
            ],
        }
