"""Bytes to body structs and back: strict and compact in writing, tolerant in reading.

Source: remoting.md 1.14
"""

from typing import Any, TypeVar

import msgspec

from protocol.bodies import fastjson
from protocol.errors import LocalProtocolError, RemoteProtocolError


class Body(msgspec.Struct, kw_only=True, rename="camel"):
    """Base of all JSON bodies: unknown members are ignored, optional ones are UNSET and then not written.

    msgspec does not inherit kw_only, so each body says it again.
    """


class FrozenBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of bodies that do not change, and so can be the default of a member."""


T = TypeVar("T")

_REFERENCE = b"$ref"
_encode = msgspec.json.Encoder().encode


def encode_body(body: Any) -> bytes:
    """A body as compact JSON, as clients in Go need it.

    Raises: LocalProtocolError when a text in it cannot be encoded.
    """
    try:
        return _encode(body)
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"a text of the body cannot be encoded: {error}") from None


def decode_body(kind: type[T], data: bytes) -> T:
    """Read a body; empty data reads as an empty object.

    Null members count as absent, numbers and booleans may be strings, maps may have fastjson's bare or object keys.
    Raises: RemoteProtocolError naming the place.
    """
    data = data or b"{}"
    if _REFERENCE in data:  # would read as an object without members
        return convert_body(kind, fastjson.loads(data))
    try:
        return msgspec.json.decode(data, type=kind, strict=False)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return convert_body(kind, fastjson.loads(data))


def convert_body(kind: type[T], value: Any) -> T:
    """A body from values that a tolerant reader gave.

    Raises: RemoteProtocolError naming the place.
    """
    try:
        return msgspec.convert(_without_nulls(value), kind, strict=False)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RemoteProtocolError(f"the body is not a {kind.__name__}: {str(error)[:200]}") from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
