"""Java's `key=value` files: reading as java.util.Properties does, and plain writing.

Differs: the text is UTF-8 and not Latin-1, and blanks at the end of a value are dropped.
Source: java.util.Properties.load; apache/rocketmq: common/.../MixAll.java, properties2String
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_COMMENT = ("#", "!")
_BLANK = " \t\f"
_KEY = re.compile(r"(?:\\.|[^\\=:\s])*")
_SEPARATOR = re.compile(r"[ \t\f]*[=:]?[ \t\f]*")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.|$)", re.DOTALL)
_CONTROL = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


class Property(NamedTuple):
    """One entry; line counts from 1."""

    key: str
    value: str
    line: int


def parse_properties(text: str) -> Iterator[Property]:
    """Yield the entries in order, repeated keys included."""
    for number, line in _logical_lines(text):
        key = _KEY.match(line)
        assert key is not None
        separator = _SEPARATOR.match(line, key.end())
        assert separator is not None
        yield Property(_unescape(key.group()), _unescape(line[separator.end() :]).rstrip(), number)


def format_properties(properties: Mapping[str, str]) -> str:
    """One `key=value` line for each entry."""
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with continuations joined, without comments and empty ones, each with its first line's number."""
    parts: list[str] = []
    start = 0
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = raw.lstrip(_BLANK)
        if not parts:
            if not line or line.startswith(_COMMENT):
                continue
            start = number
        if _continues(line):
            parts.append(line[:-1])
        else:
            yield start, "".join((*parts, line))
            parts.clear()
    if parts:
        yield start, "".join(parts)


def _continues(line: str) -> bool:
    """Whether a line ends in an odd number of backslashes."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_plain, text) if "\\" in text else text


def _plain(escape: re.Match[str]) -> str:
    code = escape.group(1)
    return chr(int(code[1:], 16)) if len(code) == 5 else _CONTROL.get(code, code)
