"""Committed offsets, and the bounds of queues.

Source: apache/rocketmq: broker/.../processor/ConsumerManageProcessor.java, AdminBrokerProcessor.java
"""

from protocol.codes import ResponseCode
from protocol.headers.offset import (
    GET_EARLIEST_MSG_STORETIME,
    GET_MAX_OFFSET,
    GET_MIN_OFFSET,
    QUERY_CONSUMER_OFFSET,
    SEARCH_OFFSET_BY_TIMESTAMP,
    UPDATE_CONSUMER_OFFSET,
    OffsetReply,
    QueryConsumerOffsetHeader,
    QueueHeader,
    SearchOffsetHeader,
    TimestampReply,
    UpdateConsumerOffsetHeader,
)
from protocol.request import handles
from rmq_server.broker.groups import SubscriptionGroups
from rmq_server.broker.offsets import ConsumerOffsets
from rmq_server.broker.topics import TopicTable
from rmq_server.core.errors import Reject
from rmq_server.net.peer import Reply
from rmq_server.net.router import Request
from rmq_server.store.message_store import MessageStore


class OffsetProcessor:
    """Answers where a group is and where a queue begins and ends."""

    def __init__(
        self, store: MessageStore, topics: TopicTable, groups: SubscriptionGroups, offsets: ConsumerOffsets
    ) -> None:
        self._store = store
        self._topics = topics
        self._groups = groups
        self._offsets = offsets

    @handles(QUERY_CONSUMER_OFFSET)
    def query(self, request: Request[QueryConsumerOffsetHeader]) -> Reply:
        """The committed offset; of a group without one 0 while the queue still begins there, else QUERY_NOT_FOUND."""
        header = request.header
        offset = self._offsets.get(header.consumer_group, header.topic, header.queue_id)
        if offset is not None:
            return Reply(header=OffsetReply(offset=offset))
        if header.set_zero_if_not_found is False:
            raise Reject(ResponseCode.QUERY_NOT_FOUND, "Not found, do not set to zero, maybe this group boot first")
        queue = header.topic, header.queue_id
        if self._store.min_offset(*queue) == 0 and self._store.is_near_end(*queue, 0):
            return Reply(header=OffsetReply(offset=0))
        raise Reject(ResponseCode.QUERY_NOT_FOUND, "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first")

    @handles(UPDATE_CONSUMER_OFFSET)
    def update(self, request: Request[UpdateConsumerOffsetHeader]) -> Reply:
        """Store the offset of a group, also a smaller one."""
        header = request.header
        if header.queue_id is None or header.commit_offset is None or header.commit_offset < 0:
            missing = "queueId" if header.queue_id is None else "commitOffset"
            raise Reject(ResponseCode.INVALID_PARAMETER, f"the header field `{missing}` is missing or negative")
        if self._groups.find_or_create(header.consumer_group) is None:
            raise Reject(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, f"Group {header.consumer_group} not exist!")
        if self._topics.get(header.topic) is None:
            raise Reject(ResponseCode.TOPIC_NOT_EXIST, f"Topic {header.topic} not exist!")
        self._offsets.commit(
            header.consumer_group, header.topic, header.queue_id, header.commit_offset, request.peer.address
        )
        return Reply()

    @handles(SEARCH_OFFSET_BY_TIMESTAMP)
    def search(self, request: Request[SearchOffsetHeader]) -> Reply:
        """The first offset at or after a time, or (UPPER) the last at or before it."""
        header = request.header
        upper = (header.boundary_type or "").upper() == "UPPER"
        offset = self._store.offset_by_timestamp(header.topic, header.queue_id, header.timestamp, upper=upper)
        return Reply(header=OffsetReply(offset=offset))

    @handles(GET_MAX_OFFSET)
    def max_offset(self, request: Request[QueueHeader]) -> Reply:
        """The offset that the next message will get."""
        header = request.header
        return Reply(header=OffsetReply(offset=self._store.max_offset(header.topic, header.queue_id)))

    @handles(GET_MIN_OFFSET)
    def min_offset(self, request: Request[QueueHeader]) -> Reply:
        """The oldest offset that can be read."""
        header = request.header
        return Reply(header=OffsetReply(offset=self._store.min_offset(header.topic, header.queue_id)))

    @handles(GET_EARLIEST_MSG_STORETIME)
    def earliest_store_time(self, request: Request[QueueHeader]) -> Reply:
        """When the oldest message of a queue was stored."""
        header = request.header
        timestamp = self._store.earliest_store_time(header.topic, header.queue_id)
        return Reply(header=TimestampReply(timestamp=timestamp))
