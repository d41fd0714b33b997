"""Hashes against values of the Java broker, and the short cut against the definition."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.hashing import crc32, index_key_hash, index_key_hashes, java_hash, java_hash_plain, ring_hash, tags_code

JAVA_HASHES = {
    "": 0,
    "a": 97,
    "TagA": 2598919,
    "TagB": 2598920,
    "TimerT": -1789801009,
    "gold_timer": -1193860442,
    "标签😀": 825518074,
    "polygenelubricants": -2147483648,
}

INDEX_HASHES = {
    "TopicTest#UK0001": 1375773721,
    "TopicTest#k1": 2746024,
    "gold_normal#key-0": 1627332827,
    "gold_batch#FD00000000000000000000000000000231211DBD16A66A412901001F": 0x564F5AB9,
    "polygenelubricants": 0,
}


@pytest.mark.parametrize("hash_text", [java_hash, java_hash_plain])
@pytest.mark.parametrize(("text", "expected"), JAVA_HASHES.items())
def test_hash_of_java(hash_text, text, expected):
    assert hash_text(text) == expected


@pytest.mark.parametrize(("text", "expected"), INDEX_HASHES.items())
def test_hash_of_an_index_key(text, expected):
    assert index_key_hash(text) == expected


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=600))
def test_ascii_short_cut_equals_the_definition(text):
    assert java_hash(text) == java_hash_plain(text)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 255, 256, 257, 4096])
def test_short_cut_at_the_borders_of_its_words(length):
    assert java_hash("\x7f" * length) == java_hash_plain("\x7f" * length)


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_every_text_has_a_hash_of_32_bits(text):
    units = text.encode("utf-16-be", "surrogatepass")
    value = 0
    for high, low in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) % 2**32
    assert java_hash(text) % 2**32 == value
    assert -(2**31) <= java_hash(text) < 2**31
    assert 0 <= index_key_hash(text) < 2**31


@pytest.mark.parametrize("tag", ["TagA", "标签😀", "t" * 5000])
def test_code_of_a_tag_is_its_hash(tag):
    assert tags_code(tag) == java_hash(tag)
    assert tags_code(tag) == java_hash(tag)  # from the cache


@pytest.mark.parametrize("tag", [None, ""])
def test_no_tag_has_the_code_0(tag):
    assert tags_code(tag) == 0


@pytest.mark.parametrize(("body", "expected"), [(b"hi", 0x58932AAC), (b"hello", 0x3610A686), (b"", 0)])
def test_checksum_of_a_stored_body(body, expected):
    assert crc32(body) == expected
    assert crc32(memoryview(body)) == expected


@given(st.binary())
def test_checksum_has_31_bits(body):
    assert crc32(body) == zlib.crc32(body) % 2**31


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.168.0.1@1-0", 2325484510),
        ("192.168.0.1@1-6", 969495574),
        ("192.168.0.1@4-2", 102096054),
        ("MessageQueue [topic=TopicTest, brokerName=broker-a, queueId=0]", 1987926524),
    ],
)
def test_place_on_the_ring(text, expected):
    assert ring_hash(text) == expected


@given(st.lists(st.tuples(st.sampled_from(["", "T", "主题"]), st.text(max_size=300)), max_size=20))
def test_many_index_keys_at_once_equal_one_by_one(keys):
    encoded = [key.encode() for _, key in keys]
    assert index_key_hashes([topic for topic, _ in keys], encoded) == [
        index_key_hash(f"{topic}#{key}") for topic, key in keys
    ]


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 16, 17, 32, 33, 64, 65, 128, 129, 255, 256, 257])
@pytest.mark.parametrize("count", [1, 31, 32, 33, 1025])
def test_groups_of_index_keys_at_the_borders_of_their_lanes(length, count):
    keys = [("\x7f" * (length - 1) + chr(number % 128))[:length] for number in range(count)]
    hashes = index_key_hashes(["T"] * count, [key.encode() for key in keys])
    assert hashes == [index_key_hash(f"T#{key}") for key in keys]


def test_the_least_hash_becomes_0_also_among_many():
    assert java_hash("T#01DK24EL") == -(2**31)
    assert index_key_hashes(["T", "T"], [b"01DK24EL", b"k1"]) == [0, index_key_hash("T#k1")]
