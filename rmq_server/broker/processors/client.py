"""Heartbeats, group membership and queue locks.

Source: apache/rocketmq: broker/.../processor/ClientManageProcessor.java, ConsumerManageProcessor.java
"""

from collections.abc import Awaitable, Callable

from protocol import names
from protocol.bodies.codec import decode_body, encode_body
from protocol.bodies.heartbeat import CheckClientConfig, ConsumerData, ConsumerList, ExpressionType, HeartbeatData
from protocol.bodies.lock import LockBatch, LockedQueues, LockQueue
from protocol.bodies.topic_config import TopicConfig
from protocol.codes import ResponseCode
from protocol.header import NoHeader
from protocol.headers.client import (
    CHECK_CLIENT_CONFIG,
    GET_CONSUMER_LIST_BY_GROUP,
    HEART_BEAT,
    LOCK_BATCH_MQ,
    UNLOCK_BATCH_MQ,
    UNREGISTER_CLIENT,
    ConsumerGroupHeader,
    HeartbeatReply,
    UnregisterClientHeader,
)
from protocol.request import handles
from rmq_server.broker.clients import Consumers, Producers
from rmq_server.broker.groups import SubscriptionGroups
from rmq_server.broker.queue_locks import QueueLocks
from rmq_server.broker.topics import TopicTable
from rmq_server.core.errors import Reject
from rmq_server.core.log import get_logger
from rmq_server.net.peer import Peer, Reply
from rmq_server.net.router import Request

_log = get_logger("broker")


class ClientProcessor:
    """Knows who is there."""

    def __init__(
        self,
        topics: TopicTable,
        groups: SubscriptionGroups,
        consumers: Consumers,
        producers: Producers,
        locks: QueueLocks,
        announce: Callable[[], Awaitable[None]],
    ) -> None:
        self._topics = topics
        self._groups = groups
        self._consumers = consumers
        self._producers = producers
        self._locks = locks
        self._announce = announce

    @handles(HEART_BEAT)
    def heartbeat(self, request: Request[NoHeader]) -> Reply | Awaitable[Reply]:
        """Register a client's groups; a group's first heartbeat also creates its retry topic."""
        beat = decode_body(HeartbeatData, request.body)
        for producer in beat.producer_data_set:
            self._producers.register(request.peer, beat.client_id, producer.group_name)
        new_topics = [
            topic
            for consumer in beat.consumer_data_set
            if (topic := self._register(request.peer, beat, consumer)) is not None
        ]
        reply = Reply(header=HeartbeatReply(is_support_heart_beat_v2=True, is_sub_change=True))
        return self._save_then(reply, new_topics) if new_topics or self._groups.needs_save else reply

    def _register(self, peer: Peer, beat: HeartbeatData, consumer: ConsumerData) -> TopicConfig | None:
        """Take in one group of a client; returns the retry topic that it still needs."""
        group = self._groups.find_or_create(consumer.group_name)
        if group is None:
            return None
        self._consumers.register(peer, beat.client_id, consumer, without_sub=beat.without_sub)
        retry_topic = names.retry_topic(consumer.group_name)
        if self._topics.get(retry_topic) is not None or group.retry_queue_nums <= 0:
            return None
        queues = group.retry_queue_nums
        return TopicConfig(topic_name=retry_topic, read_queue_nums=queues, write_queue_nums=queues)

    async def _save_then(self, reply: Reply, new_topics: list[TopicConfig]) -> Reply:
        """Membership does not depend on the disk: what cannot be written now is tried again at the next heartbeat."""
        try:
            if self._groups.needs_save:
                await self._groups.save()
            for topic in new_topics:
                await self._topics.store(topic)
        except (OSError, Reject) as error:
            _log.error("group not saved", reason=str(error))
        if new_topics:
            await self._announce()
        return reply

    @handles(UNREGISTER_CLIENT)
    def unregister(self, request: Request[UnregisterClientHeader]) -> Reply:
        """A client leaves a group; the others are told."""
        header = request.header
        if header.producer_group:
            self._producers.unregister(request.peer, header.producer_group)
        if header.consumer_group:
            self._consumers.unregister(request.peer, header.consumer_group)
        return Reply(header=NoHeader())

    @handles(GET_CONSUMER_LIST_BY_GROUP)
    def consumer_list(self, request: Request[ConsumerGroupHeader]) -> Reply:
        """The client ids of a group, by which its members divide the queues."""
        group = self._consumers.get(request.header.consumer_group)
        if group is None:
            raise Reject(ResponseCode.SYSTEM_ERROR, f"no consumer for this group, {request.header.consumer_group}")
        return Reply(header=NoHeader(), body=encode_body(ConsumerList(consumer_id_list=group.client_ids)))

    @handles(LOCK_BATCH_MQ)
    def lock(self, request: Request[NoHeader]) -> Reply:
        """Lock queues for ordered consumption, or renew; answers with those that the client owns."""
        batch = decode_body(LockBatch, request.body)
        owned = self._locks.lock(batch.consumer_group, batch.client_id, [item.queue for item in batch.mq_set])
        return Reply(body=encode_body(LockedQueues(lock_ok_mq_set=[LockQueue.of(queue) for queue in owned])))

    @handles(UNLOCK_BATCH_MQ)
    def unlock(self, request: Request[NoHeader]) -> Reply:
        """Release queues."""
        batch = decode_body(LockBatch, request.body)
        self._locks.unlock(batch.consumer_group, batch.client_id, [item.queue for item in batch.mq_set])
        return Reply()

    @handles(CHECK_CLIENT_CONFIG)
    def check_config(self, request: Request[NoHeader]) -> Reply:
        """Say whether this broker can serve a subscription."""
        kind = decode_body(CheckClientConfig, request.body).subscription_data.expression_type
        if kind not in (ExpressionType.TAG, ""):
            raise Reject(ResponseCode.SYSTEM_ERROR, f"The broker does not support consumer to filter message by {kind}")
        return Reply()
