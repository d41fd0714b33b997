"""The pre-encoded requests say what their case says."""

import pytest

from bench.load.cases import BATCH, CASES, PULL, SEND_BINARY, SEND_JSON, Case, case_of
from bench.load.frames import pull_frames, pull_start, send_frames
from protocol.batch import decode_batch
from protocol.codes import RequestCode
from protocol.command import RemotingCommand, decode_command
from protocol.frame import FrameDecoder
from protocol.headers.pull import PullMessageHeader
from protocol.headers.send import SendMessageHeaderV2


def decoded(frames: list[bytes]) -> list[RemotingCommand]:
    return [decode_command(frame) for frame in FrameDecoder().receive_data(b"".join(frames))]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_survives_json(case: Case) -> None:
    assert case_of(case.plain()) == case


@pytest.mark.parametrize("case", [SEND_JSON, SEND_BINARY], ids=lambda case: case.name)
def test_sends_differ_and_are_spread_over_the_queues(case: Case) -> None:
    commands = decoded(send_frames(case, "T", 8, link=3))
    headers = [command.read_header(SendMessageHeaderV2) for command in commands]

    assert [command.opaque for command in commands] == list(range(case.frames_per_link))
    assert {command.serialize_type for command in commands} == {case.codec}
    assert {command.code for command in commands} == {RequestCode.SEND_MESSAGE_V2}
    assert {len(command.body) for command in commands} == {1024}
    assert {header.queue_id for header in headers} == set(range(8))
    assert len({header.properties for header in headers}) == case.frames_per_link


def test_a_batch_holds_its_messages() -> None:
    first = decoded(send_frames(BATCH, "T", 8, link=0))[0]
    items = decode_batch(first.body)

    assert first.code == RequestCode.SEND_BATCH_MESSAGE
    assert len({item.properties for item in items}) == BATCH.messages == 32
    assert {len(item.body) for item in items} == {1024}


def test_pulls_cover_a_queue_in_whole_steps() -> None:
    commands = decoded(pull_frames(PULL, "T", 5, max_offset=100))
    headers = [command.read_header(PullMessageHeader) for command in commands]

    assert [header.queue_offset for header in headers] == [0, 32, 64]
    assert [pull_start(PULL, command.opaque) for command in commands] == [0, 32, 64]
    assert {(header.queue_id, header.max_msg_nums) for header in headers} == {(5, 32)}


def test_a_queue_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        pull_frames(PULL, "T", 0, max_offset=31)
