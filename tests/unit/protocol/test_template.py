"""Templates give what the generic encoder gives."""

import pytest

from protocol.codes import VERSION
from protocol.command import RemotingCommand, SerializeType, decode_command, encode_command
from protocol.flags import RpcFlag
from protocol.frame import FrameDecoder
from protocol.template import ReplyTemplate

TEMPLATE = ReplyTemplate(
    0, {"MSG_REGION": "100% sure", "TRACE_ON": "true"}, ("msgId", "queueId", "queueOffset"), remark="FOUND"
)
VALUES = [
    ("7F0000010000C5270000000000000000", "3", "12345678901234"),
    ("", "0", "0"),
    (",".join(["7F0000010000C5270000000000000000"] * 32), "1", "2"),
]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("opaque", [0, 5, -1, 2**31 - 1])
@pytest.mark.parametrize("codec", list(SerializeType))
@pytest.mark.parametrize("body", [b"", b"x" * 1000])
def test_a_template_equals_the_generic_encoder(values, opaque, codec, body) -> None:
    generic = RemotingCommand(
        0, RpcFlag.RESPONSE, opaque, "PYTHON", VERSION, "FOUND", TEMPLATE.ext(values), body, codec
    )
    data = TEMPLATE.encode(codec, opaque, values, len(body)) + body
    if codec != SerializeType.MSGPACK:  # there an integer has several forms
        assert data == encode_command(generic)
    frames = [next(iter(FrameDecoder().receive_data(each))) for each in (data, encode_command(generic))]
    first, second = map(decode_command, frames)
    assert (first.code, first.flag, first.opaque, first.remark, first.ext, first.body) == (
        second.code,
        second.flag,
        second.opaque,
        second.remark,
        second.ext,
        second.body,
    )


def test_the_fields_are_known_by_name_too() -> None:
    assert TEMPLATE.ext(("a", "b", "c"))["queueId"] == "b"
    with pytest.raises(ValueError, match="zip"):
        TEMPLATE.ext(("a",))
