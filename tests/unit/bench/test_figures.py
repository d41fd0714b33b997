"""The arithmetic of the reports."""

import pytest

from bench.figures import alternating, neighbour_ratios, percentiles, quantile, spread


def test_windows_alternate_so_that_each_server_is_first_equally_often() -> None:
    assert "".join(alternating("A", "B", 8)) == "ABBAABBA"
    assert "".join(alternating("A", "B", 2)) == "AB"


@pytest.mark.parametrize("windows", [0, -2, 3])
def test_windows_come_in_pairs(windows: int) -> None:
    with pytest.raises(ValueError, match="pairs"):
        list(alternating("A", "B", windows))


def test_ratios_are_of_neighbours_whichever_came_first() -> None:
    windows = [("A", 30.0), ("B", 10.0), ("B", 20.0), ("A", 40.0)]

    assert neighbour_ratios(windows, "A", "B") == [3.0, 2.0]
    assert neighbour_ratios(windows, "B", "A") == [10 / 30, 0.5]


def test_a_drift_of_the_machine_does_not_change_the_ratios() -> None:
    order = list(alternating("A", "B", 8))
    steady = [(name, 20.0 if name == "A" else 10.0) for name in order]
    drifting = [(name, cost * (1 + number // 2)) for number, (name, cost) in enumerate(steady)]

    assert neighbour_ratios(drifting, "A", "B") == neighbour_ratios(steady, "A", "B") == [2.0] * 4


@pytest.mark.parametrize("order", ["AA", "ABB", "AC"])
def test_neighbours_that_are_no_pair_are_refused(order: str) -> None:
    with pytest.raises(ValueError, match=r"neighbours|zip"):
        neighbour_ratios([(name, 1.0) for name in order], "A", "B")


def test_quantiles_lie_between_neighbours() -> None:
    assert quantile([1.0], 0.99) == 1.0
    assert quantile([0.0, 10.0], 0.25) == 2.5
    assert quantile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert quantile([1.0, 2.0, 3.0], 1.0) == 3.0


def test_a_spread_does_not_depend_on_order() -> None:
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == (1.0, 2.0, 3.0, 4.0, 5.0)


def test_percentiles_are_milliseconds() -> None:
    latencies = [number / 1000 for number in range(1, 1002)]

    assert percentiles(latencies) == pytest.approx((501.0, 901.0, 991.0, 1000.0, 1001.0))


def test_an_empty_sample_has_neither() -> None:
    with pytest.raises(ValueError, match="empty"):
        spread([])
    with pytest.raises(ValueError, match="empty"):
        percentiles([])
