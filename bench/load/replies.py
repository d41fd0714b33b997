"""Count replies in a byte stream without decoding them.

Of a frame only its lengths, the result code and the opaque are looked at; a body is passed over and never joined.
A header that does not begin as success does is decoded properly, and refused.
"""

from struct import Struct
from typing import NamedTuple

from protocol.command import RemotingCommand, SerializeType, decode_command
from protocol.frame import Frame

_LENGTHS = Struct(">II")
_I32 = Struct(">i")
_JSON_SUCCESS = b'{"code":0,'
_JSON_OPAQUE = b'"opaque":'
_BINARY_SUCCESS = b"\0\0"
_BINARY_OPAQUE_AT = 5


class RefusedError(Exception):
    """A server answered a request with anything but success."""

    def __init__(self, code: int, remark: str | None, opaque: int) -> None:
        super().__init__(f"code {code} ({remark or 'no remark'}) for request {opaque}")
        self.code = code
        self.opaque = opaque


class Reply(NamedTuple):
    """A successful reply. opaque: of its request; header: its header as it came."""

    opaque: int
    header: bytes


class ReplyReader:
    """The replies of one connection."""

    def __init__(self) -> None:
        self._rest = b""
        self._skip = 0

    def opaques(self, data: bytes) -> list[int]:
        """The opaques of the replies whose header `data` completes.

        Raises: RefusedError for a reply that is no success; RemoteProtocolError when its header cannot be read.
        """
        return [_opaque(data, start, end) for data, start, end in self._headers(data)]

    def replies(self, data: bytes) -> list[Reply]:
        """The same with the headers, for loads that must read them."""
        return [Reply(_opaque(data, start, end), data[start:end]) for data, start, end in self._headers(data)]

    def _headers(self, data: bytes) -> list[tuple[bytes, int, int]]:
        size = len(data)
        at = self._skip
        if at >= size:
            self._skip -= size
            return []
        self._skip = 0
        if self._rest:
            data = self._rest + data
            self._rest = b""
            size = len(data)
        found = []
        while size - at >= _LENGTHS.size:
            length, header_length = _LENGTHS.unpack_from(data, at)
            header_start = at + _LENGTHS.size
            header_end = header_start + (header_length & 0xFFFFFF)
            if header_end > size:
                break
            found.append((data, header_start, header_end))
            at += 4 + length
        if at > size:
            self._skip = at - size
        else:
            self._rest = data[at:]
        return found


def _opaque(data: bytes, start: int, end: int) -> int:
    if data[start - 4] == SerializeType.JSON:
        if data.startswith(_JSON_SUCCESS, start):
            at = data.find(_JSON_OPAQUE, start, end)
            if at >= 0:
                at += len(_JSON_OPAQUE)
                stop = data.find(b",", at, end)
                return int(data[at : stop if stop >= 0 else end - 1])
    elif data.startswith(_BINARY_SUCCESS, start):
        opaque: int = _I32.unpack_from(data, start + _BINARY_OPAQUE_AT)[0]
        return opaque
    return _decoded(data, start, end).opaque


def _decoded(data: bytes, start: int, end: int) -> RemotingCommand:
    command = decode_command(Frame(data[start - 4], data[start:end], b""))
    if command.code != 0:
        raise RefusedError(command.code, command.remark, command.opaque)
    return command
