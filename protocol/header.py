"""Typed headers: msgspec structs whose wire form is a flat map of strings (`extFields`).

Invariants: encoding writes every value as a string (Go refuses a frame otherwise) and leaves None out; decoding
ignores unknown fields, takes numbers and booleans as strings or as themselves, and names the field that is missing or
malformed.
Source: apache/rocketmq: remoting/.../protocol/RemotingCommand.java, makeCustomHeaderToNet and decodeCommandCustomHeader
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple, TypeVar, cast

import msgspec

from protocol.bodies import fastjson
from protocol.errors import HeaderError, LocalProtocolError, RemoteProtocolError


class Header(msgspec.Struct, kw_only=True, rename="camel", gc=False):
    """Base of all request and reply headers; a field's wire name is its name in camelCase unless it says otherwise.

    msgspec does not inherit kw_only, so each header says it again.
    """


H = TypeVar("H", bound=Header)

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

_MAX_DIGITS = 20


class NoHeader(Header, kw_only=True):
    """A header class without fields: `"extFields":{}`."""


def renamed(header: type[H], name: str, wire_names: Mapping[str, str]) -> type[H]:
    """A twin of `header` whose fields have other wire names.

    msgspec fixes wire names per class, so the twin is a class of its own with the same attributes.
    """
    fields = []
    for field in msgspec.structs.fields(header):
        options: dict[str, Any] = {"name": wire_names[field.name]}
        if field.default is not msgspec.NODEFAULT:
            options["default"] = field.default
        fields.append((field.name, field.type, msgspec.field(**options)))
    twin = msgspec.defstruct(name, fields, bases=(Header,), kw_only=True, gc=False, module=header.__module__)
    twin.__doc__ = header.__doc__
    return cast("type[H]", twin)


class HeaderField(NamedTuple):
    """What the wire knows of one field: kind is bool, int or str; low and high bound an integer."""

    name: str
    wire_name: str
    required: bool
    kind: type
    low: int
    high: int


@lru_cache(maxsize=512)
def header_fields(header: type[Header]) -> tuple[HeaderField, ...]:
    """The fields of a header in the order of their definition."""
    return tuple(
        HeaderField(field.name, field.encode_name, field.required, *_kind(field.type))
        for field in msgspec.structs.fields(header)
    )


def to_ext(header: Header) -> dict[str, str]:
    """A header as the string map that goes on the wire."""
    ext = {}
    for attribute, wire_name in _names(type(header)):
        value = getattr(header, attribute)
        if value is None:
            continue
        if value.__class__ is str:
            ext[wire_name] = value
        else:
            ext[wire_name] = scalar_text(value)
    return ext


def from_json(header: type[H], raw: bytes | msgspec.Raw) -> H:
    """Read a typed header from the JSON text of `extFields`.

    Raises: HeaderError naming the field.
    """
    try:
        return cast("H", _decoder(header).decode(raw or b"{}"))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return from_ext(header, ext_from_json(raw))


def from_ext(header: type[H], ext: Mapping[str, Any]) -> H:
    """Read a typed header from a map of strings (values of other scalar types are tolerated).

    Raises: HeaderError naming the field.
    """
    try:
        return msgspec.convert(ext, header, strict=False)
    except msgspec.ValidationError:
        return _from_ext_tolerantly(header, ext)


def ext_from_json(raw: bytes | msgspec.Raw) -> dict[str, str]:
    """`extFields` as a string map, whatever scalar types and raw control characters the sender wrote.

    Raises: HeaderError when it is not an object.
    """
    try:
        return _decode_strings(raw or b"{}")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass
    try:
        return ext_from_values(fastjson.loads(bytes(raw)))
    except RemoteProtocolError as error:
        raise HeaderError(f"extFields is not readable: {error}") from None


def ext_from_values(ext: object) -> dict[str, str]:
    """`extFields` as a string map, from what a JSON reader gave.

    Raises: HeaderError when it is not an object.
    """
    if ext is None:
        return {}
    if not isinstance(ext, dict):
        raise HeaderError(f"extFields is a JSON {type(ext).__name__}, not an object")
    return {name: _text(value) for name, value in ext.items() if value is not None}


def scalar_text(value: object) -> str:
    """A header value as Java's String.valueOf writes it.

    Raises: LocalProtocolError unless it is a string, integer or boolean.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    raise LocalProtocolError(f"a header value is a string, integer or boolean, not {type(value).__name__}")


def _from_ext_tolerantly(header: type[H], ext: Mapping[str, Any]) -> H:
    """The slow way: only the fields we know, each judged by itself, so that an error names one field."""
    values: dict[str, Any] = {}
    for field in header_fields(header):
        value = ext.get(field.wire_name)
        if value is None:
            if field.required:
                raise HeaderError(f"the header field `{field.wire_name}` is missing", field=field.wire_name)
            continue
        text = _text(value)
        if field.kind is bool:
            values[field.name] = text.lower() == "true"
        elif field.kind is int:
            values[field.name] = _integer(field, text)
        else:
            values[field.name] = text
    return header(**values)


def _integer(field: HeaderField, text: str) -> int:
    try:
        value = int(text) if len(text) <= _MAX_DIGITS else None
    except ValueError:
        raise HeaderError(
            f"the header field `{field.wire_name}` is not a number: {text!r}", field=field.wire_name
        ) from None
    if value is None or not field.low <= value <= field.high:
        raise HeaderError(
            f"the header field `{field.wire_name}` is outside {field.low}..{field.high}: {text[:40]}",
            field=field.wire_name,
        )
    return value


def _text(value: object) -> str:
    """A header value as text, whatever kind a peer sent."""
    if isinstance(value, str | int):
        return scalar_text(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return json.dumps(value)


_decode_strings = msgspec.json.Decoder(dict[str, str]).decode


def _kind(annotation: Any) -> tuple[type, int, int]:
    """The scalar type of a field and, of an integer, its range."""
    info = msgspec.inspect.type_info(annotation)
    if isinstance(info, msgspec.inspect.UnionType):
        (info,) = (part for part in info.types if not isinstance(part, msgspec.inspect.NoneType))
    if isinstance(info, msgspec.inspect.BoolType):
        return bool, 0, 1
    if isinstance(info, msgspec.inspect.IntType):
        return int, -(2**63) if info.ge is None else info.ge, 2**63 - 1 if info.le is None else info.le
    return str, 0, 0


@lru_cache(maxsize=512)
def _names(header: type[Header]) -> tuple[tuple[str, str], ...]:
    return tuple((field.name, field.wire_name) for field in header_fields(header))


@lru_cache(maxsize=512)
def _decoder(header: type[Header]) -> msgspec.json.Decoder[Header]:
    return msgspec.json.Decoder(header, strict=False)
