"""Pre-encoded requests, as Java's client would write them.

The opaque of a frame is its index in its connection's list, so nothing needs patching: a number is used again only
after its answer came, and a frame only after all others of the connection.
"""

from random import Random

from bench.load.cases import Case, Kind
from protocol.batch import BatchItem, encode_batch
from protocol.codes import VERSION, RequestCode
from protocol.command import RemotingCommand, encode_command
from protocol.header import to_ext
from protocol.headers.pull import PullMessageHeader
from protocol.headers.send import SendMessageHeaderV2

_GROUP = "bench"
_SUBSCRIPTION = 4
_BORN_MS = 1_700_000_000_000


def send_frames(case: Case, topic: str, queues: int, link: int) -> list[bytes]:
    """The requests of one connection of a send load, single messages or batches."""
    random = Random(link)
    return [_send(case, topic, (link + index) % queues, index, random) for index in range(case.frames_per_link)]


def pull_frames(case: Case, topic: str, queue_id: int, max_offset: int) -> list[bytes]:
    """Requests that together read one queue from its start, as far as whole requests can be filled.

    Raises: ValueError when the queue does not hold enough for one.
    """
    starts = range(0, max_offset - case.messages + 1, case.messages)
    if not starts:
        raise ValueError(f"queue {queue_id} of {topic} has {max_offset} messages, too few for pulls of {case.messages}")
    return [_pull(case, topic, queue_id, offset, index) for index, offset in enumerate(starts)]


def pull_start(case: Case, opaque: int) -> int:
    """The queue offset that the frame with this opaque asks for."""
    return opaque * case.messages


def _send(case: Case, topic: str, queue_id: int, opaque: int, random: Random) -> bytes:
    if case.kind is Kind.BATCH:
        items = [BatchItem(0, random.randbytes(case.body_bytes), _properties(random)) for _ in range(case.messages)]
        code, body = RequestCode.SEND_BATCH_MESSAGE, encode_batch(items)
    else:
        code, body = RequestCode.SEND_MESSAGE_V2, random.randbytes(case.body_bytes)
    header = SendMessageHeaderV2(
        producer_group=_GROUP,
        topic=topic,
        default_topic_queue_nums=4,
        queue_id=queue_id,
        sys_flag=0,
        born_timestamp=_BORN_MS + opaque,
        flag=0,
        properties=_properties(random).decode(),
        reconsume_times=0,
        unit_mode=False,
        batch=case.kind is Kind.BATCH,
        bname="broker-a",
    )
    return _frame(case, code, to_ext(header), opaque, body)


def _pull(case: Case, topic: str, queue_id: int, offset: int, opaque: int) -> bytes:
    header = PullMessageHeader(
        consumer_group=_GROUP,
        topic=topic,
        queue_id=queue_id,
        queue_offset=offset,
        max_msg_nums=case.messages,
        sys_flag=_SUBSCRIPTION,
        commit_offset=0,
        suspend_timeout_millis=0,
        subscription="*",
        sub_version=0,
        expression_type="TAG",
        max_msg_bytes=262_144,
        bname="broker-a",
    )
    return _frame(case, RequestCode.PULL_MESSAGE, to_ext(header), opaque, b"")


def _properties(random: Random) -> bytes:
    return f"UNIQ_KEY\x01{random.randbytes(16).hex().upper()}\x02WAIT\x01true\x02TAGS\x01TagA\x02".encode()


def _frame(case: Case, code: int, ext: dict[str, str], opaque: int, body: bytes) -> bytes:
    return encode_command(
        RemotingCommand(
            code,
            opaque=opaque,
            language="JAVA",
            version=VERSION,
            ext_fields=ext,
            body=body,
            serialize_type=case.codec,
        )
    )
