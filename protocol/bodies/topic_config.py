"""Topic configurations: their JSON, and the packed form in which a broker may register them."""

import zlib
from struct import Struct, error

import msgspec

from protocol.bodies.codec import Body, FrozenBody, convert_body, decode_body, encode_body
from protocol.codes import VERSION_MAPPING_SECTION
from protocol.errors import RemoteProtocolError
from protocol.flags import PermName
from protocol.header import Int32, Int64

_I32 = Struct(">i")
MAX_INFLATED_BYTES = 64 * 1024 * 1024


class DataVersion(FrozenBody, frozen=True, kw_only=True):
    """The change counter of a table; two are equal only when all three numbers are. timestamp: Unix milliseconds."""

    counter: Int64 = 0
    state_version: Int64 = 0
    timestamp: Int64 = 0

    def next(self, now_ms: int) -> "DataVersion":
        """The version after one more change; its timestamp never goes back."""
        return DataVersion(
            counter=self.counter + 1, state_version=self.state_version, timestamp=max(now_ms, self.timestamp)
        )


class TopicConfig(Body, kw_only=True):
    """One topic on one broker; perm holds PermName bits."""

    attributes: dict[str, str] = {}
    order: bool = False
    perm: Int32 = PermName.READ_WRITE
    read_queue_nums: Int32 = 16
    topic_filter_type: str = "SINGLE_TAG"
    topic_name: str
    topic_sys_flag: Int32 = 0
    write_queue_nums: Int32 = 16


class TopicConfigTable(Body, kw_only=True):
    """topics.json, and the topics of a registration."""

    data_version: DataVersion = DataVersion()
    topic_config_table: dict[str, TopicConfig] = {}


class RegisterBrokerBody(Body, kw_only=True):
    """What a broker registers."""

    filter_server_list: list[str] = []
    topic_config_serialize_wrapper: TopicConfigTable | msgspec.UnsetType = msgspec.UNSET

    @property
    def topics(self) -> TopicConfigTable:
        wrapper = self.topic_config_serialize_wrapper
        return TopicConfigTable() if isinstance(wrapper, msgspec.UnsetType) else wrapper


def decode_register_body(body: bytes, *, compressed: bool, version: int) -> RegisterBrokerBody:
    """Read the body of a registration; `version` is the broker's.

    Raises: RemoteProtocolError.
    """
    if not body:
        return RegisterBrokerBody()
    if not compressed:
        return decode_body(RegisterBrokerBody, body)
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(body, MAX_INFLATED_BYTES)
    except zlib.error as problem:
        raise RemoteProtocolError(f"the registration does not inflate: {problem}") from None
    if inflater.unconsumed_tail or not inflater.eof:
        raise RemoteProtocolError("the registration is cut off or inflates to more than 64 MiB")
    try:
        return _decode_packed(data, version)
    except (error, UnicodeDecodeError, ValueError, IndexError) as problem:
        raise RemoteProtocolError(f"the packed registration does not read: {problem}") from None


def encode_register_body(body: RegisterBrokerBody, *, compressed: bool, version: int) -> bytes:
    """The inverse of decode_register_body."""
    if not compressed:
        return encode_body(body)
    topics = body.topics
    texts = [encode_body(topics.data_version), *(_packed_topic(topic) for topic in topics.topic_config_table.values())]
    pieces = [_block(texts[0]), _I32.pack(len(texts) - 1), *(_block(text) for text in texts[1:])]
    pieces.append(_block(encode_body(body.filter_server_list)))
    if version >= VERSION_MAPPING_SECTION:
        pieces.append(_I32.pack(0))
    return zlib.compress(b"".join(pieces), 9)


def _decode_packed(data: bytes, version: int) -> RegisterBrokerBody:
    version_text, position = _read_block(data, 0)
    (count,) = _I32.unpack_from(data, position)
    position += 4
    topics = {}
    for _ in range(count):
        text, position = _read_block(data, position)
        topic = _unpack_topic(text.decode())
        topics[topic.topic_name] = topic
    filters, position = _read_block(data, position)
    if version >= VERSION_MAPPING_SECTION and position < len(data):
        (mappings,) = _I32.unpack_from(data, position)
        if mappings:
            raise RemoteProtocolError("static topic mappings in a registration are not supported")
    return RegisterBrokerBody(
        filter_server_list=decode_body(list[str], filters or b"[]"),
        topic_config_serialize_wrapper=TopicConfigTable(
            data_version=decode_body(DataVersion, version_text), topic_config_table=topics
        ),
    )


def _packed_topic(topic: TopicConfig) -> bytes:
    words = (topic.topic_name, topic.read_queue_nums, topic.write_queue_nums, topic.perm, topic.topic_filter_type)
    return " ".join(map(str, words)).encode() + b" " + encode_body(topic.attributes)


def _unpack_topic(text: str) -> TopicConfig:
    name, read, write, perm, filter_type, *rest = text.split(" ", 5)
    fields = {
        "topicName": name,
        "readQueueNums": read,
        "writeQueueNums": write,
        "perm": perm,
        "topicFilterType": filter_type,
        "attributes": decode_body(dict[str, str], rest[0].encode()) if rest and rest[0].strip() else {},
    }
    return convert_body(TopicConfig, fields)


def _block(text: bytes) -> bytes:
    return _I32.pack(len(text)) + text


def _read_block(data: bytes, position: int) -> tuple[bytes, int]:
    (length,) = _I32.unpack_from(data, position)
    end = position + 4 + length
    if length < 0 or end > len(data):
        raise ValueError(f"a block of {length} bytes at {position} does not fit")
    return data[position + 4 : end], end
