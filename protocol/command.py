"""RemotingCommand, one request or response, and the three codecs of its header.

JSON (0) and ROCKETMQ (1) are upstream's; MSGPACK (2) is spoken only to peers that offered it (connection.py).
Invariants: we answer in the codec of the request; every ext value is written as a string in JSON and ROCKETMQ.
Source: apache/rocketmq: remoting/.../protocol/RemotingCommand.java, RocketMQSerializable.java; remoting.md 1.2-1.5
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from struct import Struct, error
from typing import Any

import msgpack
import msgspec

from protocol.binary_ext import read_ext
from protocol.bodies import fastjson
from protocol.codes import VERSION, LanguageCode
from protocol.errors import HeaderError, LocalProtocolError, RemoteProtocolError
from protocol.flags import RpcFlag
from protocol.frame import DEFAULT_MAX_FRAME_BYTES, Frame, encode_frame_head
from protocol.header import H, Int32, ext_from_json, ext_from_values, from_ext, from_json, scalar_text


class SerializeType(IntEnum):
    """The codec of a header: byte 4 of a frame."""

    JSON = 0
    ROCKETMQ = 1
    MSGPACK = 2


_LANGUAGE = LanguageCode.PYTHON
_LANGUAGE_NAMES = {code.value: code.name for code in LanguageCode}
_LANGUAGE_NUMBERS = {code.name: code.value for code in LanguageCode}
_FIXED = Struct(">hBhiii")  # code, language, version, opaque, flag, remark length
_I32 = Struct(">i")
_KEY = Struct(">h")
_NUMBERS = Struct(">iiii")  # code, flag, opaque, version: packed only to see whether they fit
_MAX_KEY_BYTES = 0x7FFF
_MSGPACK_FIELDS = 7
_MSGPACK_SCALARS = frozenset({str, int, bool, bytes, type(None)})
_MAX_MSGPACK_ITEMS = 4096


_JSON = SerializeType.JSON.value
_NO_EXT = msgspec.Raw(b"")
_NOT_ON_THE_WIRE = "(local) "
"""Prefix of member names that no JSON header has."""


class RemotingCommand(msgspec.Struct, gc=False):
    """One frame, decoded as far as its envelope; `read_header` gives the typed header.

    opaque:         the requester's correlation number; the response repeats it.
    flag:           RpcFlag bits.
    language:       name of the sender's language; JAVA when it did not say, None for an unknown number.
    ext_fields:     the header fields, raw JSON or a map; None when the sender has no header class.
    serialize_type: the codec that it came in, or shall leave in.
    """

    code: int
    flag: int = 0
    opaque: int = 0
    language: str | None = "JAVA"
    version: int = 0
    remark: str | None = None
    ext_fields: Any = msgspec.field(default=None, name="extFields")
    body: bytes = msgspec.field(default=b"", name=_NOT_ON_THE_WIRE + "body")
    serialize_type: int = msgspec.field(default=0, name=_NOT_ON_THE_WIRE + "type")

    @property
    def is_response(self) -> bool:
        return self.flag & RpcFlag.RESPONSE != 0

    @property
    def is_oneway(self) -> bool:
        return self.flag & RpcFlag.ONEWAY != 0

    def read_header(self, header: type[H]) -> H:
        """The typed header.

        Raises: HeaderError naming the field that is missing or malformed.
        """
        ext = self.ext_fields
        if ext.__class__ is msgspec.Raw:
            return from_json(header, ext)
        return from_ext(header, ext or {})

    @property
    def ext(self) -> dict[str, Any]:
        """The header fields as a map.

        Raises: HeaderError when they are not one.
        """
        ext = self.ext_fields
        return ext_from_json(ext) if ext.__class__ is msgspec.Raw else ext or {}


class _JsonCommand(RemotingCommand, gc=False):
    """A command as it is read from JSON: header fields stay text until `read_header`; unknown members are ignored."""

    code: Int32
    flag: Int32 = 0
    opaque: Int32 = 0
    version: Int32 = 0
    ext_fields: msgspec.Raw = msgspec.field(default=_NO_EXT, name="extFields")


class _JsonOut(msgspec.Struct, gc=False):
    """What is written, in upstream's order."""

    code: int
    ext_fields: dict[str, str] | msgspec.UnsetType = msgspec.field(name="extFields")
    flag: int
    language: str
    opaque: int
    remark: str | msgspec.UnsetType
    serialize_type: str = msgspec.field(name="serializeTypeCurrentRPC")
    version: int


_read_json = msgspec.json.Decoder(_JsonCommand).decode
_encode_json = msgspec.json.Encoder().encode


def decode_command(frame: Frame) -> RemotingCommand:
    """Interpret a frame.

    Raises: RemoteProtocolError when the codec is unknown or the envelope does not read.
    """
    decode = _DECODERS.get(frame.serialize_type)
    if decode is None:
        raise RemoteProtocolError(f"{frame.serialize_type} is not a known serialize type")
    return decode(frame.header, frame.body)


def encode_command(command: RemotingCommand, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> bytes:
    """The frame of a command, in the codec that its serialize_type names.

    Raises: LocalProtocolError when it is larger than peers accept or holds what the codec cannot express.
    """
    return encode_head(command, len(command.body), max_frame_bytes) + command.body


def encode_head(command: RemotingCommand, body_bytes: int, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> bytes:
    """The frame of a command without its body, which follows in pieces.

    Raises: as encode_command.
    """
    kind = command.serialize_type
    encode = _ENCODERS.get(kind)
    if encode is None:
        raise LocalProtocolError(f"{kind} is not a known serialize type")
    try:
        header = encode(command)
    except error as problem:
        raise LocalProtocolError(f"a number of the header is out of range: {problem}") from None
    except UnicodeEncodeError as problem:
        raise LocalProtocolError(f"a text of the header cannot be encoded: {problem}") from None
    return encode_frame_head(kind, header, body_bytes, max_frame_bytes)


def _decode_json(header: bytes, body: bytes) -> RemotingCommand:
    try:
        command = _read_json(header)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _decode_json_tolerantly(header, body)
    command.body = body
    command.serialize_type = _JSON
    if command.ext_fields is _NO_EXT:
        command.ext_fields = None  # type: ignore[assignment]
    if isinstance(command.language, int):
        command.language = _LANGUAGE_NAMES.get(command.language)
    return command


def _decode_json_tolerantly(header: bytes, body: bytes) -> RemotingCommand:
    """For headers with raw control characters or with numbers written as strings."""
    fields = fastjson.loads(header)
    if not isinstance(fields, dict):
        raise RemoteProtocolError(f"the header is a JSON {type(fields).__name__}, not an object")
    numbers = {}
    for name in ("code", "flag", "opaque", "version"):
        value: Any = fields.get(name)
        if value is None and name != "code":
            value = 0
        try:
            numbers[name] = int(value)
        except (TypeError, ValueError, OverflowError):
            raise RemoteProtocolError(f"the header's `{name}` is not a number: {str(value)[:40]!r}") from None
        if not -(2**31) <= numbers[name] < 2**31:
            raise RemoteProtocolError(f"the header's `{name}` is out of range")
    language = fields.get("language", "JAVA")
    if isinstance(language, int):
        language = _LANGUAGE_NAMES.get(language)
    remark, ext = fields.get("remark"), fields.get("extFields")
    return RemotingCommand(
        code=numbers["code"],
        flag=numbers["flag"],
        opaque=numbers["opaque"],
        language=language if isinstance(language, str) else None,
        version=numbers["version"],
        remark=None if remark is None else str(remark),
        ext_fields=None if ext is None else ext_from_values(ext),
        body=body,
    )


def _encode_json_header(command: RemotingCommand) -> bytes:
    _NUMBERS.pack(command.code, command.flag, command.opaque, command.version)
    return _encode_json(
        _JsonOut(
            command.code,
            msgspec.UNSET if command.ext_fields is None else _string_ext(command),
            command.flag,
            command.language or LanguageCode.OTHER.name,
            command.opaque,
            msgspec.UNSET if command.remark is None else command.remark,
            "JSON",
            command.version,
        )
    )


def _string_ext(command: RemotingCommand) -> dict[str, str]:
    """The header fields as peers without MSGPACK read them."""
    ext = command.ext
    for value in ext.values():
        if value.__class__ is not str:
            return {name: scalar_text(value) for name, value in ext.items() if value is not None}
    return ext


def _decode_binary(header: bytes, body: bytes) -> RemotingCommand:
    try:
        code, language, version, opaque, flag, remark_bytes = _FIXED.unpack_from(header)
        position = _FIXED.size + remark_bytes
        if remark_bytes < 0 or position + 4 > len(header):
            raise RemoteProtocolError(f"the remark of {remark_bytes} bytes does not fit the header")
        remark = header[_FIXED.size : position].decode() if remark_bytes else None
        (ext_bytes,) = _I32.unpack_from(header, position)
        position += 4
        end = position + ext_bytes
        if ext_bytes < 0 or end > len(header):
            raise RemoteProtocolError(f"the ext fields of {ext_bytes} bytes do not fit the header")
        ext = read_ext(header, position, end)
    except (error, IndexError):
        raise RemoteProtocolError(f"the binary header of {len(header)} bytes is cut off") from None
    except UnicodeDecodeError:
        raise RemoteProtocolError("a text of the binary header is not UTF-8") from None
    return RemotingCommand(
        code, flag, opaque, _LANGUAGE_NAMES.get(language), version, remark, ext, body, SerializeType.ROCKETMQ
    )


def _encode_binary_header(command: RemotingCommand) -> bytes:
    remark = (command.remark or "").encode()
    pieces = []
    for name, value in _string_ext(command).items():
        key = name.encode()
        data = value.encode()
        if len(key) > _MAX_KEY_BYTES:
            raise LocalProtocolError(f"a header name of {len(key)} bytes exceeds the limit of {_MAX_KEY_BYTES}")
        pieces.append(len(key).to_bytes(2, "big") + key + len(data).to_bytes(4, "big") + data)
    ext = b"".join(pieces)
    _NUMBERS.pack(command.code, command.flag, command.opaque, command.version)
    language = _language_number(command)
    code = command.code if command.code < 0x8000 else (command.code & 0xFFFF) - (command.code & 0x8000) * 2
    fixed = _FIXED.pack(code, language, command.version, command.opaque, command.flag, len(remark))
    return b"".join((fixed, remark, _I32.pack(len(ext)), ext))


def _decode_msgpack(header: bytes, body: bytes) -> RemotingCommand:
    try:
        fields = msgpack.unpackb(
            header, strict_map_key=True, max_map_len=_MAX_MSGPACK_ITEMS, max_array_len=_MSGPACK_FIELDS
        )
    except (ValueError, RecursionError, msgpack.UnpackException) as problem:
        raise RemoteProtocolError(f"the header is not readable MessagePack: {str(problem)[:120]}") from None
    if fields.__class__ is not list or len(fields) != _MSGPACK_FIELDS:
        raise RemoteProtocolError(f"a MSGPACK header is an array of {_MSGPACK_FIELDS} elements")
    code, flag, opaque, version, language, remark, ext = fields
    if not {int}.issuperset(map(type, fields[:5])) or not _in_int32(fields[:5]):
        raise RemoteProtocolError("code, flag, opaque, version and language of a MSGPACK header are 32-bit integers")
    if remark is not None and remark.__class__ is not str:
        raise RemoteProtocolError("the remark of a MSGPACK header is a string or nil")
    if ext is not None:
        if ext.__class__ is not dict or not {str}.issuperset(map(type, ext)):
            raise RemoteProtocolError("the ext fields of a MSGPACK header are a map of names, or nil")
        if not _MSGPACK_SCALARS.issuperset(map(type, ext.values())):
            raise RemoteProtocolError("an ext value of a MSGPACK header is not a scalar")
    return RemotingCommand(
        code, flag, opaque, _LANGUAGE_NAMES.get(language), version, remark, ext, body, SerializeType.MSGPACK
    )


def _in_int32(numbers: Sequence[int]) -> bool:
    return min(numbers) >= -(2**31) and max(numbers) < 2**31


def _encode_msgpack_header(command: RemotingCommand) -> bytes:
    numbers = (command.code, command.flag, command.opaque, command.version)
    _NUMBERS.pack(*numbers)
    ext = None if command.ext_fields is None else command.ext
    if ext and not _MSGPACK_SCALARS.issuperset(map(type, ext.values())):
        raise LocalProtocolError("an ext value of a MSGPACK header is a string, integer, boolean, bytes or None")
    try:
        packed: bytes = msgpack.packb((*numbers, _language_number(command), command.remark, ext))
    except OverflowError as problem:
        raise LocalProtocolError(f"an ext value of the header is out of range: {problem}") from None
    return packed


def _language_number(command: RemotingCommand) -> int:
    return _LANGUAGE_NUMBERS.get(command.language or "", LanguageCode.OTHER)


_DECODERS = {
    SerializeType.JSON.value: _decode_json,
    SerializeType.ROCKETMQ.value: _decode_binary,
    SerializeType.MSGPACK.value: _decode_msgpack,
}
_ENCODERS = {
    SerializeType.JSON.value: _encode_json_header,
    SerializeType.ROCKETMQ.value: _encode_binary_header,
    SerializeType.MSGPACK.value: _encode_msgpack_header,
}


def request_command(
    code: int, ext: Mapping[str, str] | None = None, body: bytes = b"", *, oneway: bool = False
) -> RemotingCommand:
    """A request of ours; the connection gives it its opaque and codec."""
    return RemotingCommand(code, RpcFlag.ONEWAY if oneway else 0, 0, _LANGUAGE.name, VERSION, None, ext, body)


def response_command(
    request: RemotingCommand,
    code: int,
    ext: Mapping[str, str] | None = None,
    body: bytes = b"",
    remark: str | None = None,
) -> RemotingCommand:
    """The response to `request`, in its codec."""
    return RemotingCommand(
        code, RpcFlag.RESPONSE, request.opaque, _LANGUAGE.name, VERSION, remark, ext, body, request.serialize_type
    )


__all__ = [
    "HeaderError",
    "RemotingCommand",
    "SerializeType",
    "decode_command",
    "encode_command",
    "encode_head",
    "request_command",
    "response_command",
]
