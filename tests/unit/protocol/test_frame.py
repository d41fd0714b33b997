"""Frames against hand-written bytes, cut everywhere, and what a bad one says."""

import pytest

from protocol.errors import LocalProtocolError, RemoteProtocolError
from protocol.frame import DEFAULT_MAX_FRAME_BYTES, MAX_HEADER_BYTES, Frame, FrameDecoder, encode_frame

SIMPLE_CASES = [
    (Frame(0, b"", b""), "00000004 00000000"),
    (Frame(1, b"head", b""), "00000008 01000004 68656164"),
    (Frame(2, b"", b"body"), "00000008 02000000 626F6479"),
    (Frame(0, b"{}", b"xyz"), "00000009 00000002 7B7D 78797A"),
    (Frame(255, b"h" * 0x0102, b"b"), "00000107 FF000102" + "68" * 0x0102 + "62"),
]
ALL = b"".join(bytes.fromhex(text) for _, text in SIMPLE_CASES)
FRAMES = [frame for frame, _ in SIMPLE_CASES]


@pytest.mark.parametrize(("frame", "text"), SIMPLE_CASES)
def test_encode(frame, text):
    assert encode_frame(*frame, DEFAULT_MAX_FRAME_BYTES) == bytes.fromhex(text)


@pytest.mark.parametrize(("frame", "text"), SIMPLE_CASES)
def test_decode(frame, text):
    decoder = FrameDecoder()
    assert list(decoder.receive_data(bytes.fromhex(text))) == [frame]
    assert decoder.buffered_bytes == 0


def test_many_frames_in_one_chunk():
    assert list(FrameDecoder().receive_data(ALL)) == FRAMES


def test_byte_by_byte():
    decoder = FrameDecoder()
    assert [frame for byte in ALL for frame in decoder.receive_data(bytes([byte]))] == FRAMES
    assert decoder.buffered_bytes == 0


@pytest.mark.parametrize("first", range(0, len(ALL), 7))
def test_cut_twice_anywhere(first):
    for second in range(first, len(ALL), 5):
        decoder = FrameDecoder()
        chunks = (ALL[:first], ALL[first:second], ALL[second:])
        assert [frame for chunk in chunks for frame in decoder.receive_data(chunk)] == FRAMES


@pytest.mark.parametrize("length", [0, 1, 2, 3, -1, -(2**31), 101, 2**31 - 1])
def test_length_that_no_frame_has_is_refused_with_its_last_byte(length):
    decoder = FrameDecoder(max_frame_bytes=100)
    word = length.to_bytes(4, "big", signed=True)
    assert list(decoder.receive_data(word[:3])) == []
    with pytest.raises(RemoteProtocolError, match=rf"frame length {length} is outside 4\.\.100 bytes"):
        list(decoder.receive_data(word[3:]))


def test_length_at_the_limit_is_taken():
    frame = Frame(0, b"h" * 36, b"b" * 60)
    assert list(FrameDecoder(max_frame_bytes=100).receive_data(encode_frame(*frame, 100))) == [frame]


@pytest.mark.parametrize(("header_bytes", "fits"), [(0, True), (6, True), (7, False), (MAX_HEADER_BYTES, False)])
def test_header_ends_inside_the_frame(header_bytes, fits):
    data = b"\0\0\0\x0a\0" + header_bytes.to_bytes(3, "big") + b"123456"
    if fits:
        assert list(FrameDecoder().receive_data(data)) == [
            Frame(0, data[8 : 8 + header_bytes], data[8 + header_bytes :])
        ]
    else:
        with pytest.raises(RemoteProtocolError, match=f"header length {header_bytes} exceeds the frame's 6 bytes"):
            list(FrameDecoder().receive_data(data))


def test_whole_frames_before_a_bad_one_are_yielded():
    frames = FrameDecoder().receive_data(ALL + b"\0\0\0\0")
    assert [next(frames) for _ in FRAMES] == FRAMES
    with pytest.raises(RemoteProtocolError):
        next(frames)


def test_memory_follows_what_arrived():
    decoder = FrameDecoder()
    assert list(decoder.receive_data((16 * 1024 * 1024).to_bytes(4, "big") + b"12345")) == []
    assert decoder.buffered_bytes == 9


def test_large_frame_in_small_chunks_is_copied_once():
    copied = []

    class Buffer(bytearray):
        def __bytes__(self):
            copied.append(len(self))
            return bytes(memoryview(self))

    decoder = FrameDecoder()
    decoder._rest = Buffer()
    frame = Frame(0, b"head", b"x" * (1024 * 1024))
    data = encode_frame(*frame, DEFAULT_MAX_FRAME_BYTES)
    found = [frame for start in range(0, len(data), 4096) for frame in decoder.receive_data(data[start : start + 4096])]
    assert found == [frame]
    assert copied == [len(data)]


def test_over_the_limit_is_not_written():
    frame = Frame(0, b"h" * 36, b"b" * 61)
    with pytest.raises(LocalProtocolError, match=r"101 bytes \(header 36\) exceeds the limit of 100 bytes"):
        encode_frame(*frame, 100)
    with pytest.raises(LocalProtocolError, match=f"header {MAX_HEADER_BYTES + 1}"):
        encode_frame(0, bytes(MAX_HEADER_BYTES + 1), b"", 2**30)
