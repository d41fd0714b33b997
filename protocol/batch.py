"""The body of SEND_BATCH_MESSAGE: several messages of one topic, one after the other.

    i32 total size         of this message, this word included
    i32 magic              0, not read
    i32 checksum           0, not read: the broker computes its own
    i32 flag               the application's own
    i32 body size
        body
    i16 properties size
        properties         UTF-8 text

Source: apache/rocketmq: common/.../message/MessageDecoder.java, encodeMessage, encodeMessages; remoting.md 2.3
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

from protocol.errors import LocalProtocolError, RemoteProtocolError

MAX_PROPERTIES_BYTES = 0x7FFF

_HEAD = struct.Struct(">i8xii")  # total size, (magic, checksum), flag, body size
_PROPERTIES_SIZE = struct.Struct(">h")
_HEAD_BYTES = _HEAD.size
_PROPERTIES_SIZE_BYTES = _PROPERTIES_SIZE.size
_FIXED_BYTES = _HEAD_BYTES + _PROPERTIES_SIZE_BYTES


class BatchItem(NamedTuple):
    """One message of a batch. The properties stay text as it came: the broker appends to it and does not merge."""

    flag: int
    body: bytes
    properties: bytes


def encode_batch(items: Iterable[BatchItem]) -> bytes:
    """The request body for these messages, in their order.

    Raises: LocalProtocolError for properties over 32,767 bytes, a flag beyond 32 bits, or a body beyond 2 GiB.
    """
    parts: list[bytes] = []
    for flag, body, properties in items:
        try:
            parts += (
                _HEAD.pack(_FIXED_BYTES + len(body) + len(properties), flag, len(body)),
                body,
                _PROPERTIES_SIZE.pack(len(properties)),
                properties,
            )
        except struct.error as error:
            raise LocalProtocolError(
                f"message {len(parts) // 4} of a batch has a number that does not fit: flag {flag}, "
                f"body {len(body)} bytes, properties {len(properties)} bytes"
            ) from error
    return b"".join(parts)


def decode_batch(body: bytes) -> list[BatchItem]:
    """The messages of a request body, in their order; none for an empty body.

    Raises: RemoteProtocolError that says what is wrong and at which byte.
    """
    items: list[BatchItem] = []
    position, end = 0, len(body)
    head, properties_size = _HEAD.unpack_from, _PROPERTIES_SIZE.unpack_from
    while position < end:
        if end - position < _FIXED_BYTES:
            raise RemoteProtocolError(
                f"batch message {len(items)} at byte {position} is cut off: {end - position} of {_FIXED_BYTES} bytes"
            )
        total_size, flag, body_size = head(body, position)
        next_position = position + total_size
        body_start = position + _HEAD_BYTES
        body_end = body_start + body_size
        properties_start = body_end + _PROPERTIES_SIZE_BYTES
        if next_position > end or body_size < 0 or properties_start > next_position:
            raise RemoteProtocolError(
                f"batch message {len(items)} at byte {position} announces {total_size} bytes and a body of {body_size} "
                f"bytes, {end - position} bytes are left"
            )
        (size,) = properties_size(body, body_end)
        if properties_start + size != next_position or size < 0:
            raise RemoteProtocolError(
                f"batch message {len(items)} at byte {position} announces {total_size} bytes, but its properties of "
                f"{size} bytes end {properties_start + size - position} bytes in"
            )
        items.append(BatchItem(flag, body[body_start:body_end], body[properties_start:next_position]))
        position = next_position
    return items
