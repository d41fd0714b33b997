"""Length-prefixed frames: find them in a byte stream, however it was cut.

    i32 length          bytes that follow: 4 + header_length + body_length
    u8  serialize type  0 JSON, 1 ROCKETMQ, 2 MSGPACK
    u24 header_length
        header, body

Invariants: memory follows what has arrived, never what a length word announces; every byte is copied a bounded number
of times, whatever the chunk sizes; a length out of bounds is refused as soon as its four bytes are there.
Source: apache/rocketmq: remoting/.../netty/NettyDecoder.java, protocol/RemotingCommand.java
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from protocol.errors import LocalProtocolError, RemoteProtocolError

DEFAULT_MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_HEADER_BYTES = 0xFFFFFF

_WORD_BYTES = 4
_PREFIX = Struct(">iI")  # length; serialize type and header length
_PREFIX_BYTES = _PREFIX.size
_unpack_prefix = _PREFIX.unpack_from


class Frame(NamedTuple):
    """One whole frame, not yet interpreted."""

    serialize_type: int
    header: bytes
    body: bytes


class FrameDecoder:
    """Cut a byte stream into frames."""

    def __init__(self, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._rest = bytearray()
        self._wanted = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes of an unfinished frame that are held."""
        return len(self._rest)

    def receive_data(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes; run it to its end before the next call.

        Raises: RemoteProtocolError at a length that no frame can have; whole frames before it were yielded.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        position, size = 0, len(data)
        wanted = _PREFIX_BYTES
        while size - position >= _PREFIX_BYTES:
            length, word = _unpack_prefix(data, position)
            if not _WORD_BYTES <= length <= self._max_frame_bytes:
                raise self._bad_length(length)
            end = position + _WORD_BYTES + length
            if end > size:
                wanted = end - position
                break
            header_end = position + _PREFIX_BYTES + (word & MAX_HEADER_BYTES)
            if header_end > end:
                raise RemoteProtocolError(
                    f"header length {word & MAX_HEADER_BYTES} exceeds the frame's {length - _WORD_BYTES} bytes"
                )
            yield Frame(word >> 24, data[position + _PREFIX_BYTES : header_end], data[header_end:end])
            position = end
        if position < size:
            self._rest += data[position:]
            self._wanted = wanted if size - position >= _WORD_BYTES else _WORD_BYTES
            if size - position >= _WORD_BYTES:
                length = int.from_bytes(data[position : position + _WORD_BYTES], "big", signed=True)
                if not _WORD_BYTES <= length <= self._max_frame_bytes:
                    raise self._bad_length(length)

    def _bad_length(self, length: int) -> RemoteProtocolError:
        return RemoteProtocolError(f"frame length {length} is outside {_WORD_BYTES}..{self._max_frame_bytes} bytes")


def encode_frame(serialize_type: int, header: bytes, body: bytes, max_frame_bytes: int) -> bytes:
    """Put one frame together.

    Raises: LocalProtocolError when the frame would be larger than peers accept.
    """
    return encode_frame_head(serialize_type, header, len(body), max_frame_bytes) + body


def encode_frame_head(serialize_type: int, header: bytes, body_bytes: int, max_frame_bytes: int) -> bytes:
    """Everything of a frame before its body, for bodies that are sent in pieces."""
    header_bytes = len(header)
    length = _WORD_BYTES + header_bytes + body_bytes
    if header_bytes > MAX_HEADER_BYTES or length > max_frame_bytes:
        raise LocalProtocolError(
            f"a frame of {length} bytes (header {header_bytes}) exceeds the limit of {max_frame_bytes} bytes"
        )
    return length.to_bytes(4, "big") + (serialize_type << 24 | header_bytes).to_bytes(4, "big") + header
