"""Names: what is legal, what the system owns."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InvalidName, ProtocolError
from protocol.names import (
    NOT_SENDABLE_TOPICS,
    SYSTEM_GROUPS,
    SYSTEM_TOPICS,
    check_group,
    check_topic,
    dlq_topic,
    is_system_group,
    is_system_topic,
    retry_topic,
)

LEGAL = string.ascii_letters + string.digits + "%|_-"


@pytest.mark.parametrize("name", ["T", "%|-_09azAZ", "x" * 127, "%RETRY%" + "g" * 120, "%DLQ%" + "g" * 250])
def test_legal_topic(name):
    check_topic(name)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("", "topic is empty"),
        (" \t", "topic is empty"),
        ("x" * 128, "topic is 128 characters long, the limit is 127"),
        ("%RETRY%" + "g" * 249, "the limit is 255"),
        ("a.b", "illegal character '.'"),
        ("a/b", "illegal character '/'"),
        ("..", "illegal character"),
        ("a b", "illegal character ' '"),
        ("a\n", r"illegal character '\\n'"),
        ("tö", "illegal character 'ö'"),
        ("t\ud800", "illegal character"),
        ("t\0", "illegal character"),
        ("٣", "illegal character"),
    ],
)
def test_illegal_topic(name, complaint):
    with pytest.raises(InvalidName, match=complaint):
        check_topic(name)


@pytest.mark.parametrize(("length", "legal"), [(1, True), (120, True), (121, False)])
def test_group_length(length, legal):
    if legal:
        check_group("g" * length)
    else:
        with pytest.raises(InvalidName, match="group is 121 characters long"):
            check_group("g" * length)


@given(st.text(min_size=1, max_size=40))
def test_legal_exactly_in_the_alphabet(name):
    try:
        check_group(name)
    except InvalidName:
        assert not set(name) <= set(LEGAL)
    else:
        assert set(name) <= set(LEGAL)


def test_invalid_name_is_both_kinds():
    assert issubclass(InvalidName, ProtocolError)
    assert issubclass(InvalidName, ValueError)


def test_retry_and_dead_letter_topics_of_the_longest_group_are_legal():
    assert retry_topic("G") == "%RETRY%G"
    assert dlq_topic("G") == "%DLQ%G"
    check_topic(retry_topic("g" * 120))
    check_topic(dlq_topic("g" * 120))


def test_system_names():
    assert all(is_system_topic(topic) for topic in SYSTEM_TOPICS)
    assert is_system_topic("rmq_sys_wheel_timer")
    assert not is_system_topic("T")
    assert all(is_system_group(group) for group in SYSTEM_GROUPS)
    assert is_system_group("CID_RMQ_SYS_x")
    assert not is_system_group("G")
    assert NOT_SENDABLE_TOPICS < SYSTEM_TOPICS
    for topic in SYSTEM_TOPICS:
        check_topic(topic)
    for group in SYSTEM_GROUPS:
        check_group(group)
