"""Arithmetic of the reports. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple


class Spread(NamedTuple):
    """A sample in five numbers."""

    low: float
    first_quartile: float
    median: float
    third_quartile: float
    high: float


class Percentiles(NamedTuple):
    """A distribution of latencies in milliseconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Raises: ValueError for an empty sample."""
    if not values:
        raise ValueError("an empty sample has no spread")
    ordered = sorted(values)
    return Spread(ordered[0], quantile(ordered, 0.25), median(ordered), quantile(ordered, 0.75), ordered[-1])


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` of a sorted sample does not exceed, between two neighbours by their distance."""
    at = (len(ordered) - 1) * share
    low = int(at)
    if low + 1 == len(ordered):
        return ordered[low]
    return ordered[low] + (ordered[low + 1] - ordered[low]) * (at - low)


def percentiles(latencies_s: Sequence[float]) -> Percentiles:
    """Raises: ValueError for an empty sample."""
    if not latencies_s:
        raise ValueError("an empty sample has no percentiles")
    ordered = sorted(latencies_s)
    p50, p90, p99, p999 = (quantile(ordered, share) * 1000 for share in (0.5, 0.9, 0.99, 0.999))
    return Percentiles(p50, p90, p99, p999, ordered[-1] * 1000)


def alternating(first: str, second: str, windows: int) -> Iterator[str]:
    """The order A B B A A B B A …: over a pair of pairs, a drift of the machine weighs on both alike.

    Raises: ValueError unless the number of windows is even and positive.
    """
    if windows <= 0 or windows % 2:
        raise ValueError(f"windows come in pairs, {windows} is not an even number")
    for pair in range(windows // 2):
        yield from (second, first) if pair % 2 else (first, second)


def neighbour_ratios(windows: Sequence[tuple[str, float]], over: str, under: str) -> list[float]:
    """Of each two windows that were run one after the other: the figure of `over` divided by that of `under`.

    Raises: ValueError when a pair does not hold one window of each.
    """
    ratios = []
    for first, second in zip(windows[::2], windows[1::2], strict=True):
        pair: Mapping[str, float] = dict((first, second))
        if pair.keys() != {over, under}:
            raise ValueError(f"neighbours must be one {over} and one {under}: {first[0]}, {second[0]}")
        ratios.append(pair[over] / pair[under])
    return ratios
