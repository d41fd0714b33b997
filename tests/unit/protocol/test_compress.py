"""Compressed bodies: round trips, what other clients write, and bodies that are damaged or far too large."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import compress as module
from protocol.compress import CompressionType, MissingCompression, compress, decompress
from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.flags import MessageSysFlag

NEEDS_CRAMJAM = pytest.mark.skipif(module.cramjam is None, reason="the package cramjam is not installed")

KINDS = [
    CompressionType.ZLIB,
    pytest.param(CompressionType.LZ4, marks=NEEDS_CRAMJAM),
    pytest.param(CompressionType.ZSTD, marks=NEEDS_CRAMJAM),
]

INSTALLED = [CompressionType.ZLIB] if module.cramjam is None else list(CompressionType)


@pytest.mark.parametrize(
    ("kind", "sys_flag"), [(CompressionType.LZ4, 0x101), (CompressionType.ZSTD, 0x201), (CompressionType.ZLIB, 0x301)]
)
def test_bits_of_a_type(kind, sys_flag):
    assert kind.sys_flag == sys_flag


@given(st.sampled_from(INSTALLED), st.binary(max_size=2000), st.integers(1, 50), st.integers(1, 9))
def test_round_trip(kind, piece, times, level):
    body = piece * times
    assert decompress(compress(body, kind, level), kind.sys_flag) == body


@pytest.mark.parametrize("sys_flag", [0x1, 0x301, 0x1 | MessageSysFlag.TRANSACTION_PREPARED])
def test_zlib_is_meant_by_its_bits_and_by_none(sys_flag):
    assert decompress(zlib.compress(b"hello" * 900), sys_flag) == b"hello" * 900
    assert compress(b"hello" * 900)[:1] == b"\x78"


def test_body_without_the_flag_is_left_alone():
    body = zlib.compress(b"hello")
    assert decompress(body, CompressionType.ZLIB.sys_flag & ~MessageSysFlag.COMPRESSED) is body


def test_bytes_after_a_zlib_stream_are_ignored():
    assert decompress(zlib.compress(b"hello") + b"more", 0x1) == b"hello"


@pytest.mark.parametrize("kind", KINDS)
def test_output_up_to_the_limit_is_given_and_beyond_it_refused(kind):
    body = bytes(1_000_000)
    small = compress(body, kind)
    assert len(small) < 10_000
    assert decompress(small, kind.sys_flag, max_bytes=1_000_000) == body
    with pytest.raises(RemoteProtocolError, match="more than 999999 bytes"):
        decompress(small, kind.sys_flag, max_bytes=999_999)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_body_is_the_peer_s_fault(kind):
    good = compress(b"some text that is worth compressing" * 10, kind)
    for bad in (b"", good[:-1], good[: len(good) // 2], b"\xff" + good[1:], b"not compressed at all"):
        with pytest.raises(RemoteProtocolError, match=f"body of {len(bad)} bytes"):
            decompress(bad, kind.sys_flag, max_bytes=4096)


@given(st.binary(max_size=100), st.integers(0, 7), st.sampled_from(INSTALLED), st.integers(0, 20))
def test_any_bytes_give_a_body_or_an_error(junk, type_bits, kind, kept):
    sys_flag = type_bits << 8 | MessageSysFlag.COMPRESSED
    for body in (junk, compress(b"hello", kind)[:kept] + junk):
        try:
            plain = decompress(body, sys_flag, max_bytes=1000)
        except (RemoteProtocolError, MissingCompression):
            continue
        assert len(plain) <= 1000


@pytest.mark.parametrize("type_bits", [4, 5, 6, 7])
def test_unknown_type_is_named(type_bits):
    with pytest.raises(RemoteProtocolError, match=f"compression type {type_bits} is unknown"):
        decompress(b"", type_bits << 8 | 1)


@pytest.mark.parametrize(
    ("kind", "level"),
    [(CompressionType.ZLIB, 10), pytest.param(CompressionType.ZSTD, 23, marks=NEEDS_CRAMJAM)],
)
def test_level_that_does_not_exist_is_refused(kind, level):
    with pytest.raises(LocalProtocolError, match=f"{level}"):
        compress(b"hello", kind, level)


@NEEDS_CRAMJAM
def test_lz4_frame_has_the_independent_blocks_that_java_needs():
    frame = compress(b"hello" * 100_000, CompressionType.LZ4)
    assert frame[:4] == bytes.fromhex("04224d18")
    assert frame[4] & 0x20


@pytest.mark.parametrize("kind", [CompressionType.LZ4, CompressionType.ZSTD])
def test_missing_package_names_the_extra(kind, monkeypatch):
    monkeypatch.setattr(module, "cramjam", None)
    with pytest.raises(MissingCompression, match=r"install aiorocketmq\[compression\]"):
        compress(b"hello", kind)
    with pytest.raises(MissingCompression, match=r"install aiorocketmq\[compression\]"):
        decompress(b"hello", kind.sys_flag)
