"""`dump`: records as JSON lines, for people and their tools."""

import base64
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

import msgspec

from protocol.address import format_address, unpack_host
from protocol.compress import MissingCompression, decompress
from protocol.errors import RemoteProtocolError
from protocol.message import decode_properties
from protocol.message_id import offset_message_id
from protocol.record import Record, unpack
from rmq_server.storetools.log import Found


class BodyStyle(StrEnum):
    """How a body is shown; AUTO: as text when it is UTF-8."""

    AUTO = "auto"
    TEXT = "text"
    BASE64 = "base64"
    NONE = "none"


class DumpedRecord(msgspec.Struct, rename="camel", omit_defaults=True):
    """One line. The body is as its producer gave it, decompressed if that is possible; bodyBytes is its stored size."""

    topic: str
    queue_id: int
    queue_offset: int
    physical_offset: int
    size: int
    offset_msg_id: str
    store_time_ms: int
    born_time_ms: int
    born_host: str
    store_host: str
    flag: int
    sys_flag: int
    reconsume_times: int
    prepared_transaction_offset: int
    properties: dict[str, str]
    body_bytes: int
    body: str | None = None
    body_base64: str | None = None


def dump(records: Iterable[Found], style: BodyStyle = BodyStyle.AUTO) -> Iterator[bytes]:
    """One line of JSON, without its end, for each record."""
    encode = msgspec.json.Encoder().encode
    for found in records:
        yield encode(_dumped(unpack(found.data, found.at), found.facts.size, style))


def _dumped(record: Record, size: int, style: BodyStyle) -> DumpedRecord:
    return DumpedRecord(
        topic=record.topic,
        queue_id=record.queue_id,
        queue_offset=record.queue_offset,
        physical_offset=record.physical_offset,
        size=size,
        offset_msg_id=offset_message_id(record.store_host, record.physical_offset),
        store_time_ms=record.store_timestamp_ms,
        born_time_ms=record.born_timestamp_ms,
        born_host=format_address(*unpack_host(record.born_host)),
        store_host=format_address(*unpack_host(record.store_host)),
        flag=record.flag,
        sys_flag=record.sys_flag,
        reconsume_times=record.reconsume_times,
        prepared_transaction_offset=record.prepared_transaction_offset,
        properties=decode_properties(record.properties.decode("utf-8", "replace")),
        body_bytes=len(record.body),
        **_body(record, style),
    )


def _body(record: Record, style: BodyStyle) -> dict[str, Any]:
    if style is BodyStyle.NONE:
        return {}
    try:
        body = decompress(record.body, record.sys_flag)
    except (RemoteProtocolError, MissingCompression):
        body = record.body
    if style is BodyStyle.TEXT:
        return {"body": body.decode("utf-8", "replace")}
    if style is BodyStyle.AUTO:
        try:
            return {"body": body.decode()}
        except UnicodeDecodeError:
            pass
    return {"body_base64": base64.b64encode(body).decode()}
