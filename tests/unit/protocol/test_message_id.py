"""Message ids against values of the Java broker, and what a bad one says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import LocalProtocolError, ProtocolError
from protocol.message_id import InvalidMessageId, UniqueIdGenerator, offset_message_id, parse_offset_message_id

LOCALHOST = bytes([127, 0, 0, 1])
V6 = bytes.fromhex("fd000000000000000000000000000002")
MONTH_MS = 30 * 24 * 60 * 60 * 1000

OFFSET_IDS = [
    (LOCALHOST, 10911, 4096, "7F00000100002A9F0000000000001000", "127.0.0.1"),
    (LOCALHOST, 10911, 0, "7F00000100002A9F0000000000000000", "127.0.0.1"),
    (V6, 10911, 4096, "FD00000000000000000000000000000200002A9F0000000000001000", "fd00::2"),
]


@pytest.mark.parametrize(("address", "port", "offset", "text", "host"), OFFSET_IDS)
def test_offset_id_of_a_record(address, port, offset, text, host):
    assert offset_message_id(address + port.to_bytes(4, "big"), offset) == text
    assert parse_offset_message_id(text) == (host, port, offset)
    assert parse_offset_message_id(text.lower()) == (host, port, offset)


@given(st.sampled_from([LOCALHOST, V6]), st.integers(0, 65535), st.integers(0, 2**63 - 1))
def test_offset_id_round_trip(address, port, offset):
    text = offset_message_id(address + port.to_bytes(4, "big"), offset)
    assert text == text.upper()
    assert parse_offset_message_id(text)[1:] == (port, offset)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "0 characters"),
        ("7F00000100002A9F00000000000010", "30 characters"),
        ("7F00000100002A9F00000000000010000000", "36 characters"),
        ("7F 000001 00002A9F 0000000000001000", "not 32 or 56 hex digits"),
        ("7F00000100002A9F000000000000100G", "not hexadecimal"),
        ("\uff17F00000100002A9F0000000000001000", "not hexadecimal"),
        ("7F00000100012A9F0000000000001000", "port 76447"),
        ("7F000001FFFFFFFF0000000000001000", "port -1"),
        ("7F00000100002A9FFFFFFFFFFFFFFFFF", "physical offset -1"),
        ("x" * 1000, "…"),
    ],
)
def test_bad_offset_id_says_why(text, complaint):
    with pytest.raises(InvalidMessageId, match=complaint):
        parse_offset_message_id(text)


@given(st.text() | st.text(alphabet="0123456789abcdefABCDEF ", min_size=30, max_size=57))
def test_any_text_is_an_offset_id_or_an_error(text):
    try:
        host, port, offset = parse_offset_message_id(text)
    except ProtocolError:
        return
    assert host
    assert 0 <= port < 65536
    assert 0 <= offset < 2**63


def month_start_ms(now_ms):
    return now_ms // MONTH_MS * MONTH_MS


def test_unique_id_layout():
    ids = UniqueIdGenerator(LOCALHOST, 0x10004D2, -2, month_start_ms)
    assert ids.next_id(5 * MONTH_MS + 0x1234) == "7F000001" + "04D2" + "FFFFFFFE" + "00001234" + "0000"
    assert ids.next_id(5 * MONTH_MS + 0x1235) == "7F000001" + "04D2" + "FFFFFFFE" + "00001235" + "0001"


def test_unique_id_with_an_ipv6_address():
    assert UniqueIdGenerator(V6, 1, 2, month_start_ms).next_id(0) == f"{V6.hex().upper()}0001000000020000000000000"[:56]


def test_unique_id_late_in_the_month_fills_the_sign_bit():
    ids = UniqueIdGenerator(LOCALHOST, 1, 2, month_start_ms)
    assert ids.next_id(0x80000001) == "7F000001" + "0001" + "00000002" + "80000001" + "0000"


def test_counter_of_unique_ids_wraps_at_16_bits():
    ids = UniqueIdGenerator(LOCALHOST, 1, 2, month_start_ms)
    made = [ids.next_id(7) for _ in range(65537)]
    assert len(set(made)) == 65536
    assert made[65535].endswith("FFFF")
    assert made[65536] == made[0]


def test_month_is_asked_for_only_when_it_changes():
    asked = []

    def month(now_ms):
        asked.append(now_ms)
        return month_start_ms(now_ms)

    ids = UniqueIdGenerator(LOCALHOST, 1, 2, month)
    ids.next_id(3 * MONTH_MS)
    ids.next_id(4 * MONTH_MS - 1)
    assert len(asked) == 2  # this month and, to know where it ends, the next
    assert ids.next_id(4 * MONTH_MS)[20:28] == "00000000"
    assert len(asked) == 4
    assert ids.next_id(4 * MONTH_MS - 1)[20:28] == f"{MONTH_MS - 1:08X}"  # the clock was set back
    assert len(asked) == 6


def test_address_of_another_length_is_refused():
    with pytest.raises(LocalProtocolError, match="4 or 16 bytes, not 3"):
        UniqueIdGenerator(b"abc", 1, 2, month_start_ms)


def test_month_that_does_not_contain_the_time_is_refused():
    with pytest.raises(LocalProtocolError, match="month_start_ms gave"):
        UniqueIdGenerator(LOCALHOST, 1, 2, lambda now_ms: now_ms + 1).next_id(5)
