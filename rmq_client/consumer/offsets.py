"""Consumer offsets: in memory here, committed to the broker.

An offset is the position behind the last message of an unbroken run of finished ones.
Source: apache/rocketmq: client/.../consumer/store/RemoteBrokerOffsetStore.java; behaviour.md 6.1
"""

import asyncio
from collections.abc import Iterable
from datetime import datetime

from protocol.codes import ResponseCode
from protocol.command import RemotingCommand, request_command
from protocol.errors import RocketMQError
from protocol.header import to_ext
from protocol.headers.offset import (
    GET_MAX_OFFSET,
    GET_MIN_OFFSET,
    QUERY_CONSUMER_OFFSET,
    SEARCH_OFFSET_BY_TIMESTAMP,
    UPDATE_CONSUMER_OFFSET,
    QueryConsumerOffsetHeader,
    QueueHeader,
    SearchOffsetHeader,
    UpdateConsumerOffsetHeader,
)
from protocol.message import MessageQueue
from rmq_client.errors import NotFound, broker_error
from rmq_client.instance import ClientInstance
from rmq_client.log import logger

_log = logger("offsets")

OFFSET_TIMEOUT_S = 5.0


class OffsetStore:
    """The offsets of the queues that one group member owns."""

    def __init__(self, instance: ClientInstance, group: str) -> None:
        self._instance = instance
        self._group = group
        self._offsets: dict[MessageQueue, int] = {}

    def get(self, queue: MessageQueue) -> int | None:
        """The offset in memory."""
        return self._offsets.get(queue)

    def advance(self, queue: MessageQueue, offset: int) -> None:
        """Move forward; a smaller offset is ignored."""
        if offset > self._offsets.get(queue, -1):
            self._offsets[queue] = offset

    def reset(self, queue: MessageQueue, offset: int) -> None:
        """Move anywhere."""
        self._offsets[queue] = offset

    def remove(self, queue: MessageQueue) -> None:
        """Forget a queue that is no longer owned."""
        self._offsets.pop(queue, None)

    def send(self, queues: Iterable[MessageQueue]) -> None:
        """Commit without waiting for answers, over open connections; a later commit repeats what gets lost."""
        for queue in queues:
            offset = self._offsets.get(queue)
            address = self._instance.routes.replica(queue.broker_name)
            link = self._instance.connections.opened(address) if address is not None else None
            if offset is not None and link is not None:
                link.send_oneway(self._command(queue, offset, oneway=True))

    async def commit(self, queues: Iterable[MessageQueue], timeout: float = OFFSET_TIMEOUT_S) -> list[MessageQueue]:
        """Commit and wait for the answers; returns the queues whose commit failed, which is logged."""
        waiting: list[tuple[MessageQueue, asyncio.Future[RemotingCommand], str]] = []
        failed = []
        for queue in queues:
            offset = self._offsets.get(queue)
            if offset is None:
                continue
            try:
                link = await self._instance.broker_link(queue.broker_name, patient=True)
                waiting.append((queue, link.request(self._command(queue, offset), timeout), link.address))
            except RocketMQError as problem:
                _log.warning("offset %d of %s was not committed: %s", offset, queue, problem)
                failed.append(queue)
        for queue, response, address in waiting:
            try:
                answer = await response
                if answer.code != ResponseCode.SUCCESS:
                    raise broker_error(answer.code, answer.remark, address)
            except RocketMQError as problem:
                _log.warning("the offset of %s was not committed: %s", queue, problem)
                failed.append(queue)
        return failed

    async def fetch(self, queue: MessageQueue, *, guess_zero: bool = True) -> int | None:
        """The committed offset at the broker; None when there is none.

        guess_zero: let the broker answer 0 for a queue that is young enough, as upstream does.
        Raises: BrokerError, RequestTimeout, ConnectionLost, NoRoute.
        """
        return await fetch_committed(self._instance, self._group, queue, guess_zero=guess_zero)

    def _command(self, queue: MessageQueue, offset: int, *, oneway: bool = False) -> RemotingCommand:
        return commit_command(self._group, queue, offset, oneway=oneway)


def commit_command(group: str, queue: MessageQueue, offset: int, *, oneway: bool = False) -> RemotingCommand:
    """The request that commits one offset."""
    header = UpdateConsumerOffsetHeader(
        consumer_group=group, topic=queue.topic, queue_id=queue.queue_id, commit_offset=offset
    )
    return request_command(UPDATE_CONSUMER_OFFSET.code, to_ext(header), oneway=oneway)


async def fetch_committed(instance: ClientInstance, group: str, queue: MessageQueue, *, guess_zero: bool) -> int | None:
    """The committed offset of a group; None when there is none."""
    header = QueryConsumerOffsetHeader(
        consumer_group=group,
        topic=queue.topic,
        queue_id=queue.queue_id,
        set_zero_if_not_found=None if guess_zero else False,
    )
    link = await instance.broker_link(queue.broker_name)
    try:
        reply, _ = await instance.call(link, QUERY_CONSUMER_OFFSET, header, timeout=OFFSET_TIMEOUT_S)
    except NotFound:
        return None
    return reply.offset


async def min_offset(instance: ClientInstance, queue: MessageQueue) -> int:
    """The offset of a queue's oldest message."""
    link = await instance.broker_link(queue.broker_name)
    reply, _ = await instance.call(link, GET_MIN_OFFSET, QueueHeader(topic=queue.topic, queue_id=queue.queue_id))
    return reply.offset


async def max_offset(instance: ClientInstance, queue: MessageQueue) -> int:
    """The offset that the next message of a queue will get."""
    link = await instance.broker_link(queue.broker_name)
    reply, _ = await instance.call(link, GET_MAX_OFFSET, QueueHeader(topic=queue.topic, queue_id=queue.queue_id))
    return reply.offset


async def search_offset(instance: ClientInstance, queue: MessageQueue, timestamp_ms: int) -> int:
    """The offset of the first message stored at or after a time; the end when there is none."""
    link = await instance.broker_link(queue.broker_name)
    header = SearchOffsetHeader(topic=queue.topic, queue_id=queue.queue_id, timestamp=timestamp_ms)
    reply, _ = await instance.call(link, SEARCH_OFFSET_BY_TIMESTAMP, header)
    return reply.offset


def unix_ms(when: datetime | float) -> int:
    """Unix milliseconds of a datetime (naive: local time) or of Unix seconds."""
    return int((when.timestamp() if isinstance(when, datetime) else when) * 1000)
