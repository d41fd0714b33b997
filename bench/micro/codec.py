"""Frames and headers of the hot requests and replies, in each codec."""

from collections.abc import Iterator

from bench.load.cases import PULL, Case
from bench.load.frames import pull_frames, send_frames
from bench.micro.timing import Cost, cost
from protocol.command import RemotingCommand, SerializeType, decode_command, encode_command, encode_head
from protocol.frame import FrameDecoder
from protocol.header import Header
from protocol.headers.pull import PullMessageHeader
from protocol.headers.send import SendMessageHeaderV2

_FRAMES = 32
_SEND_REPLY = {
    "msgId": "7F00000100002A9F00000000000004D2",
    "queueId": "3",
    "queueOffset": "1234567",
    "MSG_REGION": "DefaultRegion",
    "TRACE_ON": "true",
    "transactionId": "FD000000000000000000000000000002",
}
_PULL_REPLY = {
    "suggestWhichBrokerId": "0",
    "nextBeginOffset": "1234599",
    "minOffset": "0",
    "maxOffset": "2345678",
    "topicSysFlag": "0",
    "groupSysFlag": "0",
}


def costs() -> Iterator[Cost]:
    """Every codec, both ways."""
    for codec in SerializeType:
        case = Case(name=codec.name, codec=codec, frames_per_link=_FRAMES)
        sends = b"".join(send_frames(case, "BenchTopic", 8, 0))
        yield _decoding(f"decode send request, {codec.name}", sends, SendMessageHeaderV2)
        pulls = b"".join(pull_frames(Case(**{**PULL.plain(), "codec": codec}), "BenchTopic", 0, _FRAMES * 32))
        yield _decoding(f"decode pull request, {codec.name}", pulls, PullMessageHeader)
        reply = RemotingCommand(0, 1, 7, ext_fields=_SEND_REPLY, serialize_type=codec)
        yield cost(f"encode send reply, {codec.name}", lambda reply=reply: encode_command(reply))  # type: ignore[misc]
        head = RemotingCommand(0, 1, 7, remark="FOUND", ext_fields=_PULL_REPLY, serialize_type=codec)
        yield cost(f"encode pull reply head, {codec.name}", lambda head=head: encode_head(head, 40_000))  # type: ignore[misc]


def _decoding(name: str, stream: bytes, header: type[Header]) -> Cost:
    frames = FrameDecoder()

    def decode() -> None:
        for frame in frames.receive_data(stream):
            decode_command(frame).read_header(header)

    return cost(name, decode, units=_FRAMES)
