"""Messages as applications see them, the queue they live in, and the properties text.

The properties text is `name 0x01 value 0x02 …`; a missing last separator is read, never written.
Source: apache/rocketmq: common/.../message/Message.java, MessageExt.java, MessageQueue.java, MessageConst.java,
MessageDecoder.java
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from protocol.address import format_address, unpack_host
from protocol.errors import LocalProtocolError
from protocol.message_id import offset_message_id
from protocol.names import MAX_PROPERTIES_BYTES
from protocol.record import Record

NAME_SEPARATOR = "\x01"
PROPERTY_SEPARATOR = "\x02"
KEY_SEPARATOR = " "


class PropertyName:
    """Properties that have a meaning to the protocol."""

    KEYS = "KEYS"
    TAGS = "TAGS"
    WAIT = "WAIT"
    UNIQ_KEY = "UNIQ_KEY"
    DELAY = "DELAY"
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS"
    TIMER_DELAY_MS = "TIMER_DELAY_MS"
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC"
    SHARDING_KEY = "__SHARDINGKEY"
    PRODUCER_GROUP = "PGROUP"
    TRANSACTION_PREPARED = "TRAN_MSG"
    RETRY_TOPIC = "RETRY_TOPIC"
    REAL_TOPIC = "REAL_TOPIC"
    REAL_QUEUE_ID = "REAL_QID"
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID"
    MSG_REGION = "MSG_REGION"
    TRACE_ON = "TRACE_ON"
    CLUSTER = "CLUSTER"
    POP_CHECKPOINT = "POP_CK"
    MSG_TYPE = "MSG_TYPE"
    CORRELATION_ID = "CORRELATION_ID"
    INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH"
    INNER_NUM = "INNER_NUM"


RESERVED_PROPERTIES = frozenset(value for name, value in vars(PropertyName).items() if not name.startswith("_")) - {
    PropertyName.SHARDING_KEY
}
"""Names that an application may not use for its own properties."""


class MessageQueue(NamedTuple):
    """The identity of one queue; queues sort by topic, broker name, queue id."""

    topic: str
    broker_name: str
    queue_id: int


@dataclass(slots=True)
class Message:
    """A message to send.

    body:          bytes, bytearray or memoryview; text must be encoded by the caller.
    tag:           one word by which consumers filter.
    keys:          words by which the message can be looked up; none may contain a space.
    properties:    the application's own; names and values are not empty and hold no 0x01 or 0x02.
    flag:          a 32-bit number of the application's own.
    wait_store_ok: whether the broker answers only when flush and replication are done.
    Raises: TypeError for a body that is not bytes-like, LocalProtocolError for illegal properties.
    """

    topic: str
    body: bytes
    tag: str | None = field(default=None, kw_only=True)
    keys: tuple[str, ...] = field(default=(), kw_only=True)
    properties: dict[str, str] = field(default_factory=dict, kw_only=True)
    flag: int = field(default=0, kw_only=True)
    wait_store_ok: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        self.body = body_bytes(self.body)
        self.keys = (self.keys,) if isinstance(self.keys, str) else tuple(self.keys)
        for key in self.keys:
            if not key or KEY_SEPARATOR in key:
                raise LocalProtocolError(f"the message key {key!r} is empty or contains a space")
        for name in self.properties:
            if name in RESERVED_PROPERTIES:
                raise LocalProtocolError(f"the property name {name!r} belongs to RocketMQ")

    def wire_properties(self, unique_id: str) -> dict[str, str]:
        """All properties as they go on the wire, the protocol's own included."""
        properties = dict(self.properties)
        if self.keys:
            properties[PropertyName.KEYS] = KEY_SEPARATOR.join(self.keys)
        properties[PropertyName.UNIQ_KEY] = unique_id
        properties[PropertyName.WAIT] = "true" if self.wait_store_ok else "false"
        if self.tag:
            properties[PropertyName.TAGS] = self.tag
        return properties


class MessageExt:
    """A received message.

    msg_id:        the producer's unique id; the broker's offset id where the producer set none.
    offset_msg_id: store host and physical offset, 32 or 56 hex digits.
    Units:         timestamps are Unix milliseconds; queue_offset counts messages, physical_offset bytes.
    """

    __slots__ = (
        "_born_host",
        "_store_host",
        "body",
        "born_timestamp_ms",
        "flag",
        "physical_offset",
        "prepared_transaction_offset",
        "properties",
        "queue",
        "queue_offset",
        "reconsume_times",
        "store_timestamp_ms",
        "sys_flag",
        "topic",
    )

    topic: str
    body: bytes
    properties: dict[str, str]
    queue: MessageQueue
    queue_offset: int
    physical_offset: int
    flag: int
    sys_flag: int
    born_timestamp_ms: int
    store_timestamp_ms: int
    reconsume_times: int
    prepared_transaction_offset: int
    _born_host: bytes
    _store_host: bytes

    @classmethod
    def from_record(cls, record: Record, broker_name: str) -> Self:
        """Take over a decoded record that came from `broker_name`; the body is as stored, maybe compressed."""
        message = cls.__new__(cls)
        message.topic = record.topic
        message.body = record.body
        message.properties = decode_properties(str(record.properties, "utf-8", "replace"))
        message.queue = MessageQueue(record.topic, broker_name, record.queue_id)
        message.queue_offset = record.queue_offset
        message.physical_offset = record.physical_offset
        message.flag = record.flag
        message.sys_flag = record.sys_flag
        message.born_timestamp_ms = record.born_timestamp_ms
        message.store_timestamp_ms = record.store_timestamp_ms
        message.reconsume_times = record.reconsume_times
        message.prepared_transaction_offset = record.prepared_transaction_offset
        message._born_host = record.born_host
        message._store_host = record.store_host
        return message

    @property
    def born_host(self) -> str:
        """`host:port` of the producer, as the broker saw it."""
        return format_address(*unpack_host(self._born_host))

    @property
    def store_host(self) -> str:
        """`host:port` of the broker that stored it."""
        return format_address(*unpack_host(self._store_host))

    @property
    def offset_msg_id(self) -> str:
        return offset_message_id(self._store_host, self.physical_offset)

    @property
    def msg_id(self) -> str:
        return self.properties.get(PropertyName.UNIQ_KEY) or self.offset_msg_id

    @property
    def tag(self) -> str | None:
        return self.properties.get(PropertyName.TAGS)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key for key in self.properties.get(PropertyName.KEYS, "").split(KEY_SEPARATOR) if key)

    def __repr__(self) -> str:
        return (
            f"MessageExt(topic={self.topic!r}, queue_id={self.queue.queue_id}, queue_offset={self.queue_offset}, "
            f"msg_id={self.msg_id!r}, tag={self.tag!r}, keys={self.keys!r}, body={len(self.body)} bytes)"
        )


def body_bytes(body: object) -> bytes:
    """A message body as bytes.

    Raises: TypeError for anything that is not bytes-like, with a hint for text.
    """
    if isinstance(body, bytes):
        return body
    if isinstance(body, bytearray | memoryview):
        return bytes(body)
    if isinstance(body, str):
        raise TypeError("a message body is bytes, not str: encode it, for example body.encode()")
    raise TypeError(f"a message body is bytes-like, not {type(body).__name__}")


def encode_properties(properties: Mapping[str, str]) -> str:
    """The properties text of a map.

    Raises: LocalProtocolError for an empty name or value, a separator inside one, or a text over 32,767 bytes.
    """
    text = "".join([f"{name}\x01{value}\x02" for name, value in properties.items()])
    if text.count(NAME_SEPARATOR) != len(properties) or text.count(PROPERTY_SEPARATOR) != len(properties):
        raise LocalProtocolError(f"a property holds 0x01 or 0x02: {_offender(properties.items())}")
    for name, value in properties.items():
        if not name or not value:
            raise LocalProtocolError(f"the property {name!r}={value!r} has an empty name or value")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError as problem:
        raise LocalProtocolError(f"a property cannot be encoded: {problem}") from None
    if size > MAX_PROPERTIES_BYTES:
        raise LocalProtocolError(f"the properties have {size} bytes, the limit is {MAX_PROPERTIES_BYTES}")
    return text


def decode_properties(text: str) -> dict[str, str]:
    """The map of a properties text; entries without name or value are left out, of equal names the last wins."""
    properties = {}
    for entry in text.split(PROPERTY_SEPARATOR):
        name, separator, value = entry.partition(NAME_SEPARATOR)
        if separator and name and value:
            properties[name] = value
    return properties


def _offender(items: Iterable[tuple[str, str]]) -> str:
    for name, value in items:
        if any(separator in name + value for separator in (NAME_SEPARATOR, PROPERTY_SEPARATOR)):
            return repr(name)
    return "unknown"
