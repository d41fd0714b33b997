"""The comparison as a table."""

from collections.abc import Sequence

from bench.compare.result import CaseResult
from bench.figures import Spread
from bench.report import say, table
from bench.servers import APACHE, OURS

_COLD_SHARE = 0.05
_COLUMNS = (
    "flush", "case",
    "ours µs", "Apache µs", "ratio", "min..max",
    "ours msg/s", "Apache msg/s", "ratio",
    "load µs", "JIT",
)  # fmt: skip


def show(results: Sequence[CaseResult]) -> None:
    """Print all results."""
    table(
        "Server CPU µs per acknowledged message: medians, and Apache / ours of neighbouring windows",
        _COLUMNS,
        [_row(result) for result in results],
        text_columns=2,
    )
    cold = [result for result in results if result.compiler_share > _COLD_SHARE]
    if cold:
        say(
            f"In {len(cold)} of {len(results)} cases the JVM still compiled (column JIT): their ratios flatter us. "
            "A longer --warm-up, or a run without --quick on a quiet machine, tells more."
        )


def line(result: CaseResult) -> str:
    """One result in one line, for progress."""
    ours, apache = result.server_us(OURS).median, result.server_us(APACHE).median
    return (
        f"{result.mode} {result.case.name}: {ours:.2f} / {apache:.2f} µs, "
        f"ratio {result.cpu_ratio.median:.2f} ({_range(result.cpu_ratio)})"
    )


def _row(result: CaseResult) -> tuple[str, ...]:
    ours, apache = result.server_us(OURS), result.server_us(APACHE)
    return (
        result.mode.removesuffix("_FLUSH").lower(),
        result.case.name,
        f"{ours.median:.2f}",
        f"{apache.median:.2f}",
        f"{result.cpu_ratio.median:.2f}",
        _range(result.cpu_ratio),
        f"{result.rate(OURS).median:,.0f}",
        f"{result.rate(APACHE).median:,.0f}",
        f"{result.rate_ratio.median:.2f}",
        f"{result.load_us(OURS).median:.2f} / {result.load_us(APACHE).median:.2f}",
        f"{result.compiler_share:.0%}",
    )


def _range(values: Spread) -> str:
    return f"{values.low:.2f}..{values.high:.2f}"
