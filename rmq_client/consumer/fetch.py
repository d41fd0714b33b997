"""One pull: the request, and its answer as messages.

Source: apache/rocketmq: client/.../impl/consumer/PullAPIWrapper.java; remoting.md 4, behaviour.md 4.2
"""

from collections.abc import Collection
from dataclasses import dataclass

from protocol.bodies.heartbeat import SubscriptionData
from protocol.command import RemotingCommand, request_command
from protocol.compress import decompress
from protocol.errors import RocketMQError
from protocol.flags import MessageSysFlag, PullSysFlag
from protocol.header import to_ext
from protocol.headers.pull import PULL_MESSAGE, PullMessageHeader, PullMessageReply
from protocol.message import MessageExt, MessageQueue, PropertyName
from protocol.names import RETRY_PREFIX
from protocol.record import unpack_all
from rmq_client.errors import broker_error
from rmq_client.results import PullStatus

MAX_BATCH_BYTES = 256 * 1024

_STATUS_OF_CODE = {status.value: status for status in PullStatus}


@dataclass(frozen=True, slots=True, kw_only=True)
class PullOrder:
    """What one pull asks for.

    suspend_s:  how long the broker may hold the request when there is nothing; 0 for an answer at once.
    commit:     an offset to commit on the way; None or 0 for none.
    carry_subscription: send the expression along, instead of using the group's heartbeat.
    """

    group: str
    queue: MessageQueue
    offset: int
    max_messages: int
    subscription: SubscriptionData
    suspend_s: float = 0.0
    commit: int | None = None
    carry_subscription: bool = False

    def command(self) -> RemotingCommand:
        """The request."""
        sys_flag = 0
        if self.commit:
            sys_flag |= PullSysFlag.COMMIT_OFFSET
        if self.suspend_s > 0:
            sys_flag |= PullSysFlag.SUSPEND
        if self.carry_subscription:
            sys_flag |= PullSysFlag.SUBSCRIPTION
        header = PullMessageHeader(
            consumer_group=self.group,
            topic=self.queue.topic,
            queue_id=self.queue.queue_id,
            queue_offset=self.offset,
            max_msg_nums=self.max_messages,
            sys_flag=sys_flag,
            commit_offset=self.commit or 0,
            suspend_timeout_millis=int(self.suspend_s * 1000),
            subscription=self.subscription.sub_string if self.carry_subscription else None,
            sub_version=0 if self.carry_subscription else self.subscription.sub_version,
            expression_type=self.subscription.expression_type,
            max_msg_bytes=MAX_BATCH_BYTES,
            bname=self.queue.broker_name,
        )
        return request_command(PULL_MESSAGE.code, to_ext(header))


class UnreadableBody(RocketMQError):
    """A message's body cannot be decompressed here; `before` are the messages in front of it, `offset` is its own."""

    def __init__(self, problem: Exception, before: list[MessageExt], offset: int) -> None:
        super().__init__(f"the body at offset {offset} cannot be read: {problem}")
        self.before = before
        self.offset = offset


def read_status(response: RemotingCommand, address: str) -> tuple[PullStatus, PullMessageReply]:
    """Status and header of a pull's answer.

    Raises: BrokerError for every other code, HeaderError for a header that does not read.
    """
    status = _STATUS_OF_CODE.get(response.code)
    if status is None:
        raise broker_error(response.code, response.remark, address)
    return status, response.read_header(PullMessageReply)


def read_messages(body: bytes, queue: MessageQueue, tags: Collection[str]) -> list[MessageExt]:
    """The messages of a pull's answer, inflated, without those whose tag is not wanted.

    tags: empty for all; a broker filters by hash only, so that tags of equal hash are told apart here.
    Raises: CorruptRecord, so that no message is lost silently; UnreadableBody.
    """
    messages: list[MessageExt] = []
    broker_name = queue.broker_name
    own_retries = queue.topic.startswith(RETRY_PREFIX)
    from_record = MessageExt.from_record
    for record in unpack_all(body):
        message = from_record(record, broker_name)
        if tags and message.properties.get(PropertyName.TAGS) not in tags:
            continue
        if message.sys_flag & MessageSysFlag.COMPRESSED:
            try:
                message.body = decompress(message.body, message.sys_flag)
            except RocketMQError as problem:
                raise UnreadableBody(problem, messages, message.queue_offset) from problem
        if own_retries:
            message.topic = message.properties.get(PropertyName.RETRY_TOPIC, message.topic)
        messages.append(message)
    return messages
