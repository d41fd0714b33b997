"""PullConsumer: the application says what to pull, and keeps or commits the offsets itself.

Source: apache/rocketmq: client/.../impl/consumer/DefaultMQPullConsumerImpl.java; behaviour.md 7.4
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from protocol.bodies.heartbeat import ConsumerData, ConsumeType, HeartbeatData
from protocol.command import RemotingCommand, request_command
from protocol.header import to_ext
from protocol.headers.client import UNREGISTER_CLIENT, UnregisterClientHeader
from protocol.headers.offset import UPDATE_CONSUMER_OFFSET, UpdateConsumerOffsetHeader
from protocol.message import MessageQueue
from protocol.names import check_group, check_topic
from rmq_client.config import ClientConfig, merged
from rmq_client.consumer.fetch import PullOrder, read_messages, read_status
from rmq_client.consumer.offsets import fetch_committed, max_offset, min_offset, search_offset, unix_ms
from rmq_client.consumer.subscription import subscription_of
from rmq_client.errors import NoRoute
from rmq_client.instance import ClientInstance
from rmq_client.results import PullResult, PullStatus

PULL_TIMEOUT_S = 10.0


class PullConsumer:
    """Pulls queues where and when the application wants; no queues are assigned and nothing is committed by itself.

    group: whose offsets `committed` and `commit` mean, and the name under which brokers list this client.
    namesrv, address_map: as in ClientConfig.

    Use:    `async with PullConsumer("audit") as consumer:` then `await consumer.pull(queue, offset)`
    Raises: InvalidName. All methods: NoRoute, RequestTimeout, ConnectionLost, BrokerError.
    """

    def __init__(
        self,
        group: str,
        *,
        namesrv: str | None = None,
        address_map: Mapping[str, str] | None = None,
        client: ClientConfig | None = None,
    ) -> None:
        check_group(group)
        self.group = group
        self._instance = ClientInstance(merged(client, namesrv, address_map), self._heartbeat, consumes=True)

    async def __aenter__(self) -> Self:
        await self._instance.__aenter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        try:
            await self._instance.unregister(self._farewell)
        finally:
            await self._instance.__aexit__(*exc_info)

    @property
    def client_id(self) -> str:
        """The id under which brokers know this client."""
        return self._instance.client_id

    async def queues(self, topic: str) -> tuple[MessageQueue, ...]:
        """The queues of a topic that can be read from.

        Raises: NoRoute when no nameserver knows the topic.
        """
        self._instance.check_running()
        check_topic(topic)
        self._instance.topics.add(topic)
        route = await self._instance.route(topic)
        if route is None:
            raise NoRoute(f"no nameserver knows the topic {topic}")
        return route.read_queues

    async def pull(
        self,
        queue: MessageQueue,
        offset: int,
        max_messages: int = 32,
        *,
        expression: str = "*",
        wait: float = 0.0,
        timeout: float | None = None,
    ) -> PullResult:
        """Pull once.

        expression: tags joined with `||`, `*` for all.
        wait:       seconds for which the broker may hold the request when there is nothing yet.
        timeout:    seconds to wait for the answer; `wait` and ten more when not given.
        Raises:     besides the usual, CorruptRecord and UnreadableBody for messages that cannot be read.
        """
        await self._known(queue)
        subscription = subscription_of(queue.topic, expression, 0)
        order = PullOrder(
            group=self.group,
            queue=queue,
            offset=offset,
            max_messages=max_messages,
            subscription=subscription,
            suspend_s=wait,
            carry_subscription=True,
        )
        link = await self._instance.broker_link(queue.broker_name)
        await link.writable()
        response = await link.request(order.command(), timeout or wait + PULL_TIMEOUT_S, held=True)
        status, reply = read_status(response, link.address)
        messages = []
        if status is PullStatus.FOUND:
            messages = read_messages(response.body, queue, subscription.tags_set)
        return PullResult(status, messages, reply.next_begin_offset, reply.min_offset, reply.max_offset)

    async def committed(self, queue: MessageQueue) -> int | None:
        """The offset that the group committed; None when it did not."""
        await self._known(queue)
        return await fetch_committed(self._instance, self.group, queue, guess_zero=False)

    async def commit(self, queue: MessageQueue, offset: int) -> None:
        """Commit where the group goes on, and wait until the broker has it."""
        await self._known(queue)
        link = await self._instance.broker_link(queue.broker_name)
        header = UpdateConsumerOffsetHeader(
            consumer_group=self.group, topic=queue.topic, queue_id=queue.queue_id, commit_offset=offset
        )
        await self._instance.call(link, UPDATE_CONSUMER_OFFSET, header)

    async def min_offset(self, queue: MessageQueue) -> int:
        """The offset of the oldest message."""
        await self._known(queue)
        return await min_offset(self._instance, queue)

    async def max_offset(self, queue: MessageQueue) -> int:
        """The offset that the next message will get."""
        await self._known(queue)
        return await max_offset(self._instance, queue)

    async def search_offset(self, queue: MessageQueue, when: datetime | float) -> int:
        """The offset of the first message stored at or after a time; the end of the queue when there is none.

        when: a datetime (naive: local time) or Unix seconds.
        """
        await self._known(queue)
        return await search_offset(self._instance, queue, unix_ms(when))

    async def _known(self, queue: MessageQueue) -> None:
        """Have the route of a queue's topic, so that its broker has an address."""
        self._instance.check_running()
        if self._instance.routes.replica(queue.broker_name) is None:
            await self.queues(queue.topic)

    def _heartbeat(self, client_id: str) -> HeartbeatData:
        consumer = ConsumerData(group_name=self.group, consume_type=ConsumeType.ACTIVELY)
        return HeartbeatData(client_id=client_id, consumer_data_set=[consumer])

    def _farewell(self) -> RemotingCommand:
        header = UnregisterClientHeader(client_id=self.client_id, consumer_group=self.group)
        return request_command(UNREGISTER_CLIENT.code, to_ext(header))
