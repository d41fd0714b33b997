"""The record and the batch body."""

from collections.abc import Iterator

from bench.micro.timing import Cost, cost
from protocol.batch import BatchItem, decode_batch, encode_batch
from protocol.message import decode_properties
from protocol.record import Record, inspect, pack, unpack, unpack_all

_MESSAGES = 32
PROPERTIES = (
    "UNIQ_KEY\x01FD000000000000000000000000000002\x02WAIT\x01true\x02TAGS\x01TagA\x02"
    "MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02CLUSTER\x01DefaultCluster\x02"
)


def record(body_bytes: int = 1024) -> Record:
    """A message as a broker stores it."""
    return Record(
        topic="BenchTopic",
        queue_id=3,
        body=bytes(range(256)) * (body_bytes // 256),
        properties=PROPERTIES.encode(),
        born_timestamp_ms=1_700_000_000_000,
        born_host=b"\x7f\0\0\1\0\0\xc0\0",
        store_timestamp_ms=1_700_000_000_001,
        store_host=b"\x7f\0\0\1\0\0\x2a\x9f",
    )


def costs() -> Iterator[Cost]:
    """1 KiB messages."""
    one = record()
    packed = pack(one)
    pulled = packed * _MESSAGES
    items = [BatchItem(0, one.body, one.properties) for _ in range(_MESSAGES)]
    batch = encode_batch(items)
    yield cost("pack record", lambda: pack(one))
    yield cost("unpack record", lambda: unpack(packed))
    yield cost("unpack record, body verified", lambda: unpack(packed, verify_body=True))
    yield cost("inspect record (recovery)", lambda: inspect(packed))
    yield cost("unpack pull body of 32", lambda: unpack_all(pulled), units=_MESSAGES)
    yield cost("decode properties", lambda: decode_properties(PROPERTIES))
    yield cost("encode batch of 32", lambda: encode_batch(items), units=_MESSAGES)
    yield cost("decode batch of 32", lambda: decode_batch(batch), units=_MESSAGES)
