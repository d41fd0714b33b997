"""Read the JSON dialect that Java's fastjson writes and accepts, for bodies that the strict reader refuses.

Beyond JSON:
    {0:"a", name:1}             bare keys; they become texts: "0", "name"
    {{"queueId":0,"topic":"t"}:12}
                                an object as key becomes its compact JSON text with sorted members, as a Python string
    {"$ref":"$.table.cid"}      the value that stands there, earlier in the document; also `@` (the container of the
                                reference) and `..` (the container of that), with steps `.name`, `[0]`, `["name"]`
    'text', raw control characters, trailing commas, \\x41, a byte order mark
    \\ud83d alone               an unpaired surrogate becomes U+FFFD

Invariants: the result is a tree of dict (str keys), list, str, int, float, bool and None, at most MAX_DEPTH deep; a
reference to a value that is still open (a cycle) is refused; references add at most MAX_REFERENCED nodes and
characters.
Source: apache/rocketmq: remoting/.../protocol/RemotingSerializable.java; alibaba/fastjson: parser/JSONLexerBase.java,
serializer/SerialContext.java; remoting.md 1.14
"""

import json
import re
from typing import Any, NamedTuple, NoReturn

from protocol.errors import RemoteProtocolError

MAX_DEPTH = 64
MAX_NUMBER_CHARACTERS = 400
MAX_REFERENCED = 4 * 1024 * 1024

_TOKEN = re.compile(
    r"""[\s\x00-\x1f]*+
    (?: (?P<mark>   [{}\[\]:,] )
      | "(?P<double> [^"\\]*+ (?: \\. [^"\\]*+ )*+ )"
      | '(?P<single> [^'\\]*+ (?: \\. [^'\\]*+ )*+ )'
      | (?P<number> -?[0-9]++ (?: \.[0-9]++ )?+ (?: [eE][+-]?[0-9]++ )?+ ) (?! [\w.] )
      | (?P<word>   [A-Za-z_$] [\w$]*+ )
      | (?P<end>    \Z )
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"} | {c: c for c in "\"'\\/"}
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {"true": True, "false": False, "null": None}
_STEP = re.compile(r"""\.((?:\\.|[^.\[\\])+)|\[([0-9]+)\]|\[(["'])(.*?)\3\]""", re.DOTALL)
_REFERENCE = "$ref"

_Container = dict[str, Any] | list[Any]


def loads(data: bytes) -> Any:
    """The value of a JSON text in UTF-8.

    Raises: RemoteProtocolError naming the byte (not UTF-8) or the character (not readable) at fault.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"the JSON is not UTF-8 at byte {error.start}") from None
    return _Reader(text.removeprefix("\ufeff")).read()


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


class _Reader:
    """One pass over a text; a container is put into its parent before it is filled, so references can find it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._root: list[Any] = [None]
        self._open: list[_Container] = [self._root]
        self._in_key = False
        self._budget = MAX_REFERENCED

    def read(self) -> Any:
        self._value(self._next(), self._root, 0)
        rest = self._next()
        if rest.kind != "end":
            self._refuse(rest, "the end")
        return self._root[0]

    def _next(self) -> _Token:
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            rest = self._text[self._position :]
            at = self._position + len(rest) - len(rest.lstrip())
            raise RemoteProtocolError(f"unreadable JSON at character {at}: {self._text[at : at + 20]!r}")
        self._position = match.end()
        kind = match.lastgroup or ""
        return _Token(kind, match[kind], match.start(kind))

    def _value(self, token: _Token, owner: Any, slot: Any) -> None:
        """Read the value that begins with `token` into owner[slot]."""
        kind, text, at = token
        if kind in ("double", "single"):
            owner[slot] = _unescape(text, at)
        elif kind == "number":
            owner[slot] = _number(text, at)
        elif kind == "word" and text in _WORDS:
            owner[slot] = _WORDS[text]
        elif text in ("{", "["):
            if len(self._open) > MAX_DEPTH:
                raise RemoteProtocolError(f"JSON nested deeper than {MAX_DEPTH} at character {at}")
            container: _Container = {} if text == "{" else []
            owner[slot] = container
            self._open.append(container)
            if isinstance(container, dict):
                self._object(container)
            else:
                self._array(container)
            self._open.pop()
            if isinstance(container, dict) and container.keys() == {_REFERENCE}:
                owner[slot] = None  # a reference does not find itself
                owner[slot] = self._resolve(container[_REFERENCE], at)
        else:
            self._refuse(token, "a value")

    def _object(self, members: dict[str, Any]) -> None:
        while (token := self._next()).text != "}" or token.kind != "mark":
            key = self._key(token)
            self._expect(":")
            self._value(self._next(), members, key)
            if not self._more("}"):
                return

    def _array(self, items: list[Any]) -> None:
        while (token := self._next()).text != "]" or token.kind != "mark":
            items.append(None)
            self._value(token, items, len(items) - 1)
            if not self._more("]"):
                return

    def _key(self, token: _Token) -> str:
        kind, text, at = token
        if kind in ("double", "single"):
            return _unescape(text, at)
        if kind in ("number", "word"):
            return text
        if text not in ("{", "[") or self._in_key:  # quoting of quotes in nested keys would grow exponentially
            self._refuse(token, "a key")
        self._in_key = True
        holder: list[Any] = [None]
        self._value(token, holder, 0)
        self._in_key = False
        return json.dumps(holder[0], ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    def _more(self, close: str) -> bool:
        """Whether a comma follows, rather than the closing mark."""
        token = self._next()
        if token.kind != "mark" or token.text not in (",", close):
            self._refuse(token, f"a comma or {close!r}")
        return token.text == ","

    def _expect(self, mark: str) -> None:
        token = self._next()
        if token.kind != "mark" or token.text != mark:
            self._refuse(token, repr(mark))

    def _refuse(self, token: _Token, wanted: str) -> NoReturn:
        found = "the end" if token.kind == "end" else repr(token.text[:20])
        raise RemoteProtocolError(f"JSON with {found} at character {token.at} where {wanted} is expected")

    def _resolve(self, path: Any, at: int) -> Any:
        """The finished value at a reference's path."""
        if not isinstance(path, str):
            raise RemoteProtocolError(f"the JSON reference at character {at} is not a text")
        if path.startswith(".."):
            base, target = "..", self._open[-2] if len(self._open) > 2 else None
        else:
            base, target = path[:1], {"$": self._root[0], "@": self._open[-1]}.get(path[:1])
        position = len(base)
        while position < len(path):
            step = _STEP.match(path, position)
            if step is None:
                raise RemoteProtocolError(f"the JSON reference {path[:80]!r} at character {at} does not read")
            position = step.end()
            name = re.sub(r"\\(.)", r"\1", step[1], flags=re.DOTALL) if step[1] else step[2] or step[4] or ""
            if isinstance(target, list) and name.isdecimal() and len(name) < 9 and int(name) < len(target):
                target = target[int(name)]
            else:
                target = target.get(name) if isinstance(target, dict) else None
        if target is None or any(target is container for container in self._open):
            raise RemoteProtocolError(f"the JSON reference {path[:80]!r} at character {at} names no finished value")
        self._charge(target, at)
        return target

    def _charge(self, target: Any, at: int) -> None:
        """Refuse what would grow without bound when references are written out."""
        todo = [(target, len(self._open))]
        while todo:
            value, depth = todo.pop()
            self._budget -= 1 + (len(value) if isinstance(value, str | dict | list) else 0)
            if self._budget < 0 or depth > MAX_DEPTH + 1:
                raise RemoteProtocolError(f"the JSON reference at character {at} makes the value too large")
            if isinstance(value, dict):
                todo.extend((item, depth + 1) for item in value.values())
                self._budget -= sum(map(len, value))
            elif isinstance(value, list):
                todo.extend((item, depth + 1) for item in value)


def _number(text: str, at: int) -> int | float:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise RemoteProtocolError(f"JSON number of {len(text)} characters at character {at}")
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def _unescape(text: str, at: int) -> str:
    if "\\" not in text:
        return text

    def replacement(match: re.Match[str]) -> str:
        escape = match[1]
        if len(escape) > 1:
            return chr(int(escape[1:], 16))
        if escape not in _ESCAPED:
            raise RemoteProtocolError(f"JSON with the unknown escape {match[0]!r} at character {at + match.start()}")
        return _ESCAPED[escape]

    return whole_characters(_ESCAPE.sub(replacement, text))


def whole_characters(text: str) -> str:
    """Join surrogate pairs and replace unpaired ones, so that the text can be encoded."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
