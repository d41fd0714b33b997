"""Batch bodies against bytes of the Java client, and what a bad one says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.batch import BatchItem, decode_batch, encode_batch
from protocol.errors import LocalProtocolError, RemoteProtocolError

HI = BatchItem(0, b"hi", b"k\x01v\x02WAIT\x01true\x02")
HI_BYTES = bytes.fromhex("00000026 00000000 00000000 00000000 00000002 6869 000E 6B01760257414954017472756502")

ITEMS = st.builds(BatchItem, st.integers(-(2**31), 2**31 - 1), st.binary(max_size=300), st.binary(max_size=300))


def test_bytes_of_the_java_client():
    assert encode_batch([HI]) == HI_BYTES
    assert decode_batch(HI_BYTES) == [HI]
    assert decode_batch(HI_BYTES * 3) == [HI] * 3


def test_empty_body_is_an_empty_batch():
    assert encode_batch([]) == b""
    assert decode_batch(b"") == []


def test_magic_and_checksum_are_not_read():
    changed = HI_BYTES[:4] + b"\xff" * 8 + HI_BYTES[12:]
    assert decode_batch(changed) == [HI]


@given(st.lists(ITEMS, max_size=6))
def test_round_trip(items):
    assert decode_batch(encode_batch(items)) == items


def replaced(position, number, size=4):
    return HI_BYTES[:position] + number.to_bytes(size, "big", signed=True) + HI_BYTES[position + size :]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"\x00", "message 0 at byte 0 is cut off: 1 of 22 bytes"),
        (HI_BYTES + HI_BYTES[:21], "message 1 at byte 38 is cut off: 21 of 22 bytes"),
        (HI_BYTES[:-1], "message 0 at byte 0 announces 38 bytes and a body of 2 bytes, 37 bytes are left"),
        (replaced(0, 0), "announces 0 bytes"),
        (replaced(0, -1), "announces -1 bytes"),
        (replaced(0, 39), "announces 39 bytes"),
        (replaced(0, 37), "its properties of 14 bytes end 38 bytes in"),
        (replaced(0, 2**31 - 1), "announces 2147483647 bytes"),
        (replaced(16, -1), "a body of -1 bytes"),
        (replaced(16, 17), "a body of 17 bytes"),
        (replaced(16, 2**31 - 1), "a body of 2147483647 bytes"),
        (replaced(22, 13, 2), "its properties of 13 bytes end 37 bytes in"),
        (replaced(22, -1, 2), "its properties of -1 bytes"),
        (HI_BYTES + replaced(22, 15, 2), "message 1 at byte 38"),
    ],
)
def test_bad_batch_says_what_and_where(body, complaint):
    with pytest.raises(RemoteProtocolError, match=complaint):
        decode_batch(body)


@given(st.lists(ITEMS, min_size=1, max_size=3), st.data())
def test_every_changed_or_cut_batch_gives_items_or_an_error(items, data):
    body = bytearray(encode_batch(items))
    for _ in range(data.draw(st.integers(0, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    gives_items_or_an_error(bytes(body[: data.draw(st.integers(0, len(body)))]))


@given(st.binary(max_size=100))
def test_any_bytes_give_items_or_an_error(body):
    gives_items_or_an_error(body)


def gives_items_or_an_error(body):
    try:
        items = decode_batch(body)
    except RemoteProtocolError:
        return
    assert len(encode_batch(items)) == len(body)


@pytest.mark.parametrize(
    "item", [BatchItem(0, b"", b"x" * 32768), BatchItem(2**31, b"", b""), BatchItem(-(2**31) - 1, b"", b"")]
)
def test_numbers_that_do_not_fit_are_refused(item):
    with pytest.raises(LocalProtocolError, match="message 1 of a batch"):
        encode_batch([HI, item])
