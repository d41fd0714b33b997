"""Java's properties files: comments, separators, continuations, escapes."""

import pytest

from rmq_server.core.properties import Property, format_properties, parse_properties

CASES = [
    ("key=value", "key", "value"),
    ("  key  =  value  ", "key", "value"),
    ("key:value", "key", "value"),
    ("key value", "key", "value"),
    ("key", "key", ""),
    ("key=", "key", ""),
    ("key==value", "key", "=value"),
    ("key=a=b:c", "key", "a=b:c"),
    ("namesrvAddr=10.0.0.1:9876;10.0.0.2:9876", "namesrvAddr", "10.0.0.1:9876;10.0.0.2:9876"),
    ("path=C\\:\\\\store", "path", "C:\\store"),
    ("a\\=b=c", "a=b", "c"),
    ("key=\\u00e9\\t|", "key", "é\t|"),
    ("key=one\\\n   two", "key", "onetwo"),
    ("key=one\\\\", "key", "one\\"),
    ("\ufeffkey=value", "key", "value"),
    ("key=last\\", "key", "last"),
]


@pytest.mark.parametrize(("text", "key", "value"), CASES)
def test_one_entry(text: str, key: str, value: str) -> None:
    assert list(parse_properties(text)) == [Property(key, value, 1)]


def test_comments_and_blank_lines_count_as_lines_only() -> None:
    text = "# one\n\n! two\n  # three\nkey=value # not a comment\na=1\\\n2\r\nb=2\n"
    assert list(parse_properties(text)) == [
        Property("key", "value # not a comment", 5),
        Property("a", "12", 6),
        Property("b", "2", 8),
    ]


def test_what_is_written_reads_back() -> None:
    properties = {"listenPort": "10911", "brokerIP1": "", "messageDelayLevel": "1s 5s"}
    text = format_properties(properties)
    assert text == "listenPort=10911\nbrokerIP1=\nmessageDelayLevel=1s 5s\n"
    assert {key: value for key, value, _ in parse_properties(text)} == properties
