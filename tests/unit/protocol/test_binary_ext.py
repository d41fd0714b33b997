"""Reading by shape gives what reading field by field gives, whatever was learned before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import binary_ext
from protocol.binary_ext import _read_each, read_ext
from protocol.errors import RemoteProtocolError

TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
FIELDS = st.lists(st.tuples(TEXT, TEXT), max_size=5)


def encoded(fields: list[tuple[str, str]]) -> bytes:
    pieces = []
    for name, value in fields:
        key, data = name.encode(), value.encode()
        pieces.append(len(key).to_bytes(2, "big") + key + len(data).to_bytes(4, "big") + data)
    return b"".join(pieces)


@given(st.lists(FIELDS, min_size=1, max_size=4))
def test_shapes_change_nothing(many: list[list[tuple[str, str]]]) -> None:
    for fields in many + many:
        data = b"head" + encoded(fields) + b"tail"
        start, end = 4, len(data) - 4
        assert read_ext(data, start, end) == _read_each(data, start, end) == {n: v for n, v in fields if v}


@given(FIELDS, st.data())
def test_damage_is_an_error_or_a_value_also_where_a_shape_is_known(fields: list[tuple[str, str]], data) -> None:
    whole = encoded(fields)
    read_ext(whole, 0, len(whole))
    if not whole:
        return
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    results = []
    for read in (read_ext, _read_each):
        try:
            results.append(read(bytes(damaged), 0, len(damaged)))
        except RemoteProtocolError as error:
            results.append(str(error))
    assert results[0] == results[1]


def test_values_of_the_same_lengths_are_read_by_the_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary_ext, "_shapes", {})
    first, second = encoded([("a", "1"), ("b", "xyz")]), encoded([("a", "2"), ("b", "uvw")])
    read_ext(first, 0, len(first))
    monkeypatch.setattr(binary_ext, "_read_each", None)
    assert read_ext(second, 0, len(second)) == {"a": "2", "b": "uvw"}


def test_a_nul_in_a_value_does_not_move_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary_ext, "_shapes", {})
    plain = encoded([("a", "12"), ("b", "3")])
    nul = encoded([("a", "\0" + "2"), ("b", "3")])
    read_ext(plain, 0, len(plain))
    assert read_ext(nul, 0, len(nul)) == {"a": "\0" + "2", "b": "3"}


def test_what_is_remembered_is_bounded() -> None:
    for size in range(1, 2 * binary_ext._MAX_SHAPES):
        data = encoded([("a", "x" * size)])
        read_ext(data, 0, len(data))
    assert len(binary_ext._shapes) <= binary_ext._MAX_SHAPES
