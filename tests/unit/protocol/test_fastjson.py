"""The JSON dialect of Java's fastjson; bytes of every kind give a value or a protocol error."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.bodies.fastjson import MAX_DEPTH, loads, whole_characters
from protocol.errors import RemoteProtocolError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        (" true ", True),
        ("-12", -12),
        ("1.5e3", 1500.0),
        ("-0.0", -0.0),
        ('""', ""),
        ("{}", {}),
        ("[]", []),
        ('{"a":[1,{"b":null}],"c":"d"}', {"a": [1, {"b": None}], "c": "d"}),
        ('"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4"', '"\\/\b\f\n\r\tä'),
        # beyond JSON
        ('{0:"a",1:"b",-2:"c"}', {"0": "a", "1": "b", "-2": "c"}),
        ("{name:1,_x$:2,null:3,true:4}", {"name": 1, "_x$": 2, "null": 3, "true": 4}),
        (
            '{{"brokerName":"b","queueId":0,"topic":"t"}:12}',
            {'{"brokerName":"b","queueId":0,"topic":"t"}': 12},
        ),
        ('{ { "topic" : "t", "queueId" : 0 } : 12 }', {'{"queueId":0,"topic":"t"}': 12}),
        ('{"{\\"topic\\":\\"t\\"}":12}', {'{"topic":"t"}': 12}),
        ('{{"t":"ä\\u0001"}:1}', {'{"t":"ä\\u0001"}': 1}),
        ("{[1,2]:3}", {"[1,2]": 3}),
        ("['a',\"b\",'\"',\"'\"]", ["a", "b", '"', "'"]),
        ("'\\''", "'"),
        ("[1,2,]", [1, 2]),
        ('{"a":1,}', {"a": 1}),
        ('"a\x00\x01\x1f\n"', "a\x00\x01\x1f\n"),
        ("\x01[\x021\x03]\x04", [1]),
        ("\ufeff{}", {}),
        ('"\\x41\\v\\0"', "A\v\0"),
        ('{"a":1,"a":2}', {"a": 2}),
        ("007", 7),
        # surrogates
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\ud83d x \\ude00"', "\ufffd x \ufffd"),
        ('{"\\ud83d":"\\udfff\\ud800"}', {"\ufffd": "\ufffd\ufffd"}),
        # marks inside texts
        ('["}","{"," ]",","]', ["}", "{", " ]", ","]),
        ('{"}":"]"}', {"}": "]"}),
    ],
)
def test_reads(text, value):
    assert loads(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":{"x":1},"b":{"$ref":"$.a"}}', {"a": {"x": 1}, "b": {"x": 1}}),
        (
            '{"consumerTable":{"cid":[1]},"x":[{"$ref":"$.consumerTable.cid"}]}',
            {"consumerTable": {"cid": [1]}, "x": [[1]]},
        ),
        ('{"a":[{"y":1},{"$ref":"$.a[0]"}]}', {"a": [{"y": 1}, {"y": 1}]}),
        ('[[7],{"$ref":"$[0]"},{"$ref":"$[0][0]"}]', [[7], [7], 7]),
        ('{"a":[[1],{"$ref":"@[0]"},[{"$ref":"..[0]"}]]}', {"a": [[1], [1], [[1]]]}),
        ('{"a":{"b":[1],"c":{"$ref":"@.b"},"d":{"e":{"$ref":"...b"}}}}', None),
        ('{"t":{0:[1]},"x":{"$ref":"$.t[0]"}}', {"t": {"0": [1]}, "x": [1]}),
        ('{"t":{"a.b":[1]},"x":{"$ref":"$.t.a\\\\.b"}}', {"t": {"a.b": [1]}, "x": [1]}),
        ('{"t":{"a.b":[1]},"x":{"$ref":"$.t[\'a.b\']"}}', {"t": {"a.b": [1]}, "x": [1]}),
        ('{"a":[1],"b":{"$ref":"$.a"},"c":{"$ref":"$.b"}}', {"a": [1], "b": [1], "c": [1]}),
        ('{"q":{"t":1},"m":{{"$ref":"$.q"}:5}}', {"q": {"t": 1}, "m": {'{"t":1}': 5}}),
        ('{"a":{"$ref":1,"b":2}}', {"a": {"$ref": 1, "b": 2}}),
    ],
)
def test_references(text, value):
    if value is None:
        value = {"a": {"b": [1], "c": [1], "d": {"e": [1]}}}
    assert loads(text.encode()) == value


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the end at character 0 where a value"),
        ("  ", "the end at character 2 where a value"),
        ("[", "the end at character 1 where a value"),
        ('{"a"', "the end at character 4 where ':'"),
        ('{"a":1', "the end at character 6 where a comma or '}'"),
        ("[1 2]", "'2' at character 3 where a comma or ']'"),
        ("[1}", "'}' at character 2 where a comma or ']'"),
        ('{"a":1]', "']' at character 6 where a comma or '}'"),
        ("[,]", "',' at character 1 where a value"),
        ("{,}", "',' at character 1 where a key"),
        ('{"a" "b"}', "'b' at character 6 where ':'"),
        ("1 2", "'2' at character 2 where the end"),
        ("nul", "'nul' at character 0 where a value"),
        ("NaN", "'NaN' at character 0 where a value"),
        ("  ~x", "unreadable JSON at character 2: '~x'"),
        ('["abc', "unreadable JSON at character 1: '\"abc'"),
        ("12abc", "unreadable JSON at character 0"),
        ("1.", "unreadable JSON at character 0"),
        ('"\\q"', r"unknown escape '\\\\q' at character 1"),
        ('"\\u12"', r"unknown escape '\\\\u' at character 1"),
        ("9" * 401, "number of 401 characters at character 0"),
        ('{"a":{"$ref":"$"}}', r"reference '\$' at character 5 names no finished value"),
        ('{"a":{"$ref":"@"}}', "reference '@' at character 5 names no finished value"),
        ('{"a":{"$ref":".."}}', r"reference '\.\.' at character 5 names no finished value"),
        ('{"a":[{"$ref":"$.a"}]}', "names no finished value"),
        ('{"a":{"$ref":"$.a"}}', "names no finished value"),
        ('{"a":{"$ref":"$.b"},"b":[]}', "names no finished value"),
        ('[{"$ref":"$[9]"}]', "names no finished value"),
        ('[{"$ref":"$[99999999999]"}]', "names no finished value"),
        ('{"$ref":"$"}', "names no finished value"),
        ('{"a":{"$ref":"#"}}', "names no finished value"),
        ('{"a":{"$ref":"$x"}}', "does not read"),
        ('{"a":{"$ref":""}}', "names no finished value"),
        ('{"a":{"$ref":1}}', "reference at character 5 is not a text"),
        ("{{{1:2}:3}:4}", "'{' at character 2 where a key"),
        ("{{1:2,{}:3}:4}", "'{' at character 6 where a key"),
    ],
)
def test_refuses(text, complaint):
    with pytest.raises(RemoteProtocolError, match=complaint):
        loads(text.encode())


@pytest.mark.parametrize(("data", "byte"), [(b"\xff", 0), (b'{"a":"\xc3"}', 6), (b'"\xed\xa0\x80"', 1)])
def test_not_utf8(data, byte):
    with pytest.raises(RemoteProtocolError, match=f"not UTF-8 at byte {byte}"):
        loads(data)


@pytest.mark.parametrize(
    ("opening", "inner", "closing", "levels"), [("[", "", "]", 64), ('{"a":', "1", "}", 64), ("{0:[", "", "]}", 32)]
)
def test_depth(opening, inner, closing, levels):
    loads((opening * levels + inner + closing * levels).encode())
    for depth in (levels + 1, 100_000):
        with pytest.raises(RemoteProtocolError, match=f"nested deeper than {MAX_DEPTH} at character"):
            loads((opening * depth + inner + closing * depth).encode())


def test_references_do_not_make_a_value_deeper():
    text = "[[0]" + "".join(f',[{{"$ref":"$[{n}]"}}]' for n in range(200)) + "]"
    with pytest.raises(RemoteProtocolError, match="makes the value too large"):
        loads(text.encode())


def test_references_do_not_multiply_without_bound():
    text = '["' + "x" * 1000 + '"'
    text += "".join(f',[{",".join([f"""{{"$ref":"$[{n}]"}}"""] * 10)}]' for n in range(20)) + "]"
    with pytest.raises(RemoteProtocolError, match="makes the value too large"):
        loads(text.encode())


def test_huge_exponent_is_infinite_as_in_java():
    assert math.isinf(loads(b"1e999"))


def test_whole_characters():
    assert whole_characters("\ud83d\ude00\ud800") == "😀\ufffd"
    assert whole_characters("ä😀") == "ä😀"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda name: name != "$ref"), inner),
    max_leaves=30,
)
TOKENS = (
    """{ } [ ] : , " ' \\ 0 -1 1.5 true null a "a" "$ref" "$.a" {"$ref":"$ "@" ".." .a [0] "} \\u d83d \x01 ä e ."""
)
TEXTS = st.lists(st.sampled_from([*TOKENS.split(" "), " "]), max_size=60).map("".join)


@given(VALUES, st.booleans())
def test_reads_standard_json(value, escaped):
    assert loads(json.dumps(value, ensure_ascii=escaped).encode()) == value


@given(st.binary() | TEXTS.map(str.encode))
def test_any_bytes_give_a_value_or_an_error(data):
    try:
        value = loads(data)
    except RemoteProtocolError:
        return
    json.dumps(value, ensure_ascii=False).encode()
