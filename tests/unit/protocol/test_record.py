import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address import pack_host
from protocol.errors import LocalProtocolError
from protocol.flags import MessageSysFlag
from protocol.record import (
    MAGIC_V1,
    MAGIC_V2,
    CorruptRecord,
    Record,
    inspect,
    inspect_fast,
    pack,
    prefix,
    split,
    store_timestamp,
    unpack,
    unpack_all,
)

# Written by the Java store (store.md 16).
PLAIN = bytes.fromhex(
    "0000008edaa320a73610a686000000000000000700000000000000000000000000000000000000000000018bcfe568000a0102030000b26e"
    "000001a1fb42ddb37f00000100002a9f0000000200000000000000000000000568656c6c6f09546f7069635465737400254b455953016b31"
    "206b3202554e49515f4b455901554b303030310254414753015461674102"
)
DELAYED = bytes.fromhex(
    "000000a5daa320a7329a809b00000002000000070000000000000000000000000000036b000000000000018bcfe568000a0102030000b26e"
    "000001a1fb42de0b7f00000100002a9f0000000200000000000000000000000564656c6179135343484544554c455f544f5049435f585858"
    "5800325245414c5f544f50494301546f706963546573740244454c4159013302544147530154616744025245414c5f514944013002"
)
OP_MESSAGE = bytes.fromhex(
    "0000008bdaa320a714bdf368000000000000000000000000000000000000000000009f3700000000000001a1fea929f47f0000010000831d"
    "000001a1fea929f77f0000010000831d00000000000000000000000000000004302c312c1b524d515f5359535f5452414e535f4f505f4841"
    "4c465f544f50494300115741495401747275650254414753016402"
)
GOLDEN = [PLAIN, DELAYED, OP_MESSAGE]

HOSTS = st.sampled_from([pack_host("10.1.2.3", 45678), pack_host("2001:db8::1", 10911)])
TOPICS = st.text(st.sampled_from("abcT%_|标"), min_size=1, max_size=80).filter(
    lambda topic: len(topic.encode()) < 32767
)
I32 = st.integers(-(2**31), 2**31 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
RECORDS = st.builds(
    Record,
    topic=TOPICS,
    queue_id=I32,
    body=st.binary(max_size=300),
    properties=st.binary(max_size=300),
    flag=I32,
    sys_flag=st.sampled_from([0, 1, 0x8, 0x701]),
    born_timestamp_ms=I64,
    born_host=HOSTS,
    store_timestamp_ms=I64,
    store_host=HOSTS,
    reconsume_times=I32,
    prepared_transaction_offset=I64,
    queue_offset=I64,
    physical_offset=I64,
)


def record(**fields: object) -> Record:
    host = pack_host("127.0.0.1", 10911)
    values = {"topic": "T", "queue_id": 0, "body": b"hello", "born_host": host, "store_host": host}
    return Record(**values | fields)  # type: ignore[arg-type]


def test_decodes_what_java_wrote() -> None:
    assert unpack(PLAIN, verify_body=True) == Record(
        topic="TopicTest",
        queue_id=0,
        body=b"hello",
        properties=b"KEYS\x01k1 k2\x02UNIQ_KEY\x01UK0001\x02TAGS\x01TagA\x02",
        flag=7,
        born_timestamp_ms=1700000000000,
        born_host=pack_host("10.1.2.3", 45678),
        store_timestamp_ms=1795216825779,
        store_host=pack_host("127.0.0.1", 10911),
        reconsume_times=2,
    )


def test_decodes_the_fields_that_java_left_zero_above() -> None:
    delayed = unpack(DELAYED, verify_body=True)
    assert (delayed.queue_id, delayed.physical_offset, delayed.topic) == (2, 875, "SCHEDULE_TOPIC_XXXX")
    assert unpack(OP_MESSAGE, verify_body=True).body == b"0,1,"


@pytest.mark.parametrize("golden", GOLDEN)
def test_encodes_as_java(golden: bytes) -> None:
    made = unpack(golden)
    assert pack(made) == golden


@given(RECORDS)
def test_round_trip(made: Record) -> None:
    packed = pack(made)
    again = unpack(b"xyz" + packed, 3, verify_body=True)
    v6 = MessageSysFlag.BORN_HOST_V6 | MessageSysFlag.STORE_HOST_V6
    made.sys_flag = made.sys_flag & ~v6 | again.sys_flag & v6
    assert again == made
    assert pack(again) == packed


@given(RECORDS)
def test_inspect_agrees_with_unpack(made: Record) -> None:
    packed = pack(made)
    facts, again = inspect(packed), unpack(packed)
    assert inspect_fast(b"xyz" + packed, 3) == facts
    for name in (
        "physical_offset",
        "topic",
        "queue_id",
        "queue_offset",
        "sys_flag",
        "store_timestamp_ms",
        "properties",
    ):
        assert getattr(facts, name) == getattr(again, name)
    assert facts.size == len(packed)
    assert store_timestamp(packed) == made.store_timestamp_ms


@given(st.sampled_from(GOLDEN), st.data())
def test_damaged_bytes_are_a_record_or_corrupt(golden: bytes, data: st.DataObject) -> None:
    damaged = bytearray(golden)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(golden) - 1))] = data.draw(st.integers(0, 255))
    assert fault_at(damaged, 0) in (None, 0)


@given(st.binary(max_size=200), st.integers(0, 10))
def test_any_bytes_are_a_record_or_corrupt(data: bytes, position: int) -> None:
    assert fault_at(data, position) in (None, position)


def fault_at(data: bytes | bytearray, position: int) -> int | None:
    """Where reading finds a fault; every way of reading must agree."""
    faults: list[int | None] = []
    whole = bytes(data)
    for read in (
        lambda: unpack(whole, position, verify_body=True),
        lambda: inspect(whole, position),
        lambda: inspect_fast(whole, position),
    ):
        try:
            read()  # type: ignore[no-untyped-call]
            faults.append(None)
        except CorruptRecord as error:
            faults.append(error.position)
    assert len(set(faults)) == 1
    return faults[0]


@pytest.mark.parametrize("golden", GOLDEN)
def test_every_cut_is_noticed(golden: bytes) -> None:
    for size in range(len(golden)):
        with pytest.raises(CorruptRecord):
            unpack(golden[:size])
        with pytest.raises(CorruptRecord):
            inspect(golden[:size])


def test_a_changed_body_is_noticed_when_asked() -> None:
    changed = PLAIN.replace(b"hello", b"hullo")
    assert unpack(changed).body == b"hullo"
    with pytest.raises(CorruptRecord, match="CRC"):
        unpack(changed, verify_body=True)
    with pytest.raises(CorruptRecord, match="CRC"):
        inspect(changed)


def test_an_empty_body_has_crc_zero() -> None:
    assert pack(record(body=b""))[8:12] == bytes(4)


@pytest.mark.parametrize(("length", "magic"), [(127, MAGIC_V1), (128, MAGIC_V2), (255, MAGIC_V2)])
def test_long_topics_ask_for_the_second_version(length: int, magic: int) -> None:
    packed = pack(record(topic="t" * length))
    assert prefix(packed) == (len(packed), magic)
    assert unpack(packed).topic == "t" * length


def test_a_first_version_topic_length_is_a_signed_byte() -> None:
    packed = bytearray(pack(record(topic="t" * 120, properties=b"p" * 30, body=b"")))
    packed[88] = 130  # would add up if it were unsigned
    packed[89 + 130 : 89 + 132] = (18).to_bytes(2, "big")
    with pytest.raises(CorruptRecord, match="topic length"):
        unpack(packed)


def test_each_ipv6_host_takes_twelve_more_bytes() -> None:
    v6 = pack_host("::1", 1)
    size = len(pack(record()))
    assert size == 91 + len("hello") + len("T")
    assert len(pack(record(born_host=v6))) == size + 12
    assert len(pack(record(born_host=v6, store_host=v6))) == size + 24


def test_too_long_fields_are_our_fault() -> None:
    with pytest.raises(LocalProtocolError, match="32768 bytes"):
        pack(record(properties=b"p" * 32_768))
    with pytest.raises(LocalProtocolError, match="32768 bytes"):
        pack(record(topic="t" * 32_768))
    assert unpack(pack(record(properties=b"p" * 32_767))).properties == b"p" * 32_767


def test_a_pull_body_is_records_in_a_row() -> None:
    body = PLAIN + DELAYED
    assert list(split(body)) == [(0, 142), (142, 307)]
    assert [each.topic for each in unpack_all(body, verify_body=True)] == ["TopicTest", "SCHEDULE_TOPIC_XXXX"]
    assert unpack_all(b"") == []


@pytest.mark.parametrize("cut", [1, 50, 141])
def test_a_cut_pull_body_loses_nothing_silently(cut: int) -> None:
    positions = split(PLAIN + DELAYED[:cut])
    assert next(positions) == (0, 142)
    with pytest.raises(CorruptRecord, match="142"):
        next(positions)
    with pytest.raises(CorruptRecord):
        unpack_all(PLAIN + DELAYED[:cut])
