"""What calls return."""

from enum import Enum

import msgspec

from protocol.codes import ResponseCode
from protocol.message import MessageExt, MessageQueue


class SendStatus(Enum):
    """How safely a message was stored; all four mean that it was stored."""

    SEND_OK = ResponseCode.SUCCESS.value
    FLUSH_DISK_TIMEOUT = ResponseCode.FLUSH_DISK_TIMEOUT.value
    FLUSH_SLAVE_TIMEOUT = ResponseCode.FLUSH_SLAVE_TIMEOUT.value
    SLAVE_NOT_AVAILABLE = ResponseCode.SLAVE_NOT_AVAILABLE.value


class SendResult(msgspec.Struct, frozen=True, gc=False):
    """Where a message went.

    msg_id:        the unique id under which consumers see it; of a batch, one per message joined with commas.
    offset_msg_id: the broker's id, which names host and physical offset; of a batch likewise.
    status:        anything but SEND_OK says that flush or replication was not confirmed in time.
    offset:        the queue offset; of a batch that of its first message.
    trace_on:      whether the broker wants message traces.
    """

    msg_id: str
    offset_msg_id: str
    status: SendStatus
    queue: MessageQueue
    offset: int
    transaction_id: str | None = None
    region_id: str = "DefaultRegion"
    trace_on: bool = True


class PullStatus(Enum):
    """What a pull found."""

    FOUND = ResponseCode.SUCCESS.value
    NO_NEW_MSG = ResponseCode.PULL_NOT_FOUND.value
    NO_MATCHED_MSG = ResponseCode.PULL_RETRY_IMMEDIATELY.value
    OFFSET_ILLEGAL = ResponseCode.PULL_OFFSET_MOVED.value


class PullResult(msgspec.Struct, frozen=True):
    """The answer to one pull.

    messages:    empty unless the status is FOUND; also then, when all were filtered out here.
    next_offset: where to pull next, whatever the status.
    min_offset, max_offset: the bounds of the queue; max_offset is the offset of the next message to come.
    """

    status: PullStatus
    messages: list[MessageExt]
    next_offset: int
    min_offset: int
    max_offset: int


class QueueOffsets(msgspec.Struct, frozen=True):
    """The bounds of one queue: its oldest message, and where the next one will be put."""

    min: int
    max: int


class ConsumerLag(msgspec.Struct, frozen=True):
    """What a group has not consumed of a topic.

    queues: messages between the committed offset and the end; all that are left, where nothing was committed.
    """

    queues: dict[MessageQueue, int]

    @property
    def total(self) -> int:
        """Over all queues."""
        return sum(self.queues.values())
