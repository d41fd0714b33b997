from bench.cold.lag import histogram


def test_every_value_is_counted_once() -> None:
    assert histogram([0, 0.9, 1, 4, 5, 70], (1, 5, 10)) == [2, 2, 1, 1]
