"""PushConsumer: messages of subscribed topics come to the application, shared among the members of a group.

One task per owned queue pulls and hands over to `dispatch`; one rebalances; one commits. All belong to the instance.
Source: apache/rocketmq: client/.../impl/consumer/DefaultMQPushConsumerImpl.java; behaviour.md 3, 4, 5.1, 6.1
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

from protocol.bodies.codec import decode_body
from protocol.bodies.heartbeat import ConsumeFromWhere, ConsumerData, ConsumerList, HeartbeatData
from protocol.codes import RequestCode
from protocol.command import RemotingCommand, request_command
from protocol.errors import RocketMQError
from protocol.header import to_ext
from protocol.headers.client import (
    GET_CONSUMER_LIST_BY_GROUP,
    UNREGISTER_CLIENT,
    ConsumerGroupHeader,
    UnregisterClientHeader,
)
from protocol.message import MessageQueue
from protocol.names import RETRY_PREFIX, check_group, retry_topic
from rmq_client.config import ClientConfig, ConsumeFrom, ConsumerConfig, merged
from rmq_client.consumer.dispatch import Dispatcher, Handler, MessageLoop
from rmq_client.consumer.offsets import OffsetStore, max_offset, search_offset, unix_ms
from rmq_client.consumer.process_queue import ProcessQueue
from rmq_client.consumer.puller import Puller
from rmq_client.consumer.rebalance import allocate, change_of
from rmq_client.consumer.subscription import subscription_of, subscriptions_of
from rmq_client.instance import ClientInstance, now_ms
from rmq_client.log import logger
from rmq_client.transport import Link

_log = logger("consumer")

UNBALANCED_RETRY_S = 1.0


@dataclass(slots=True)
class _Owned:
    """A queue that this member consumes, and the task that pulls it."""

    process_queue: ProcessQueue
    pull: asyncio.Task[None]


class PushConsumer:
    """Consumes topics as a member of a group.

    group:         members of a group share the messages; every group gets all of them.
    subscriptions: `{topic: tags}` with tags joined by `||`, `*` for all; or one topic, of which all is wanted. All
                   members of a group must subscribe alike.
    namesrv, address_map: as in ClientConfig.

    Use:    `async with PushConsumer("stock", {"OrderPaid": "created || paid"}) as consumer:` and then either
            `await consumer.run(handle)` or `async for message in consumer:`
    Raises: InvalidName, Misuse; on entering RequestTimeout or ConnectionLost when no nameserver answers.
    """

    def __init__(
        self,
        group: str,
        subscriptions: str | Mapping[str, str],
        *,
        namesrv: str | None = None,
        address_map: Mapping[str, str] | None = None,
        client: ClientConfig | None = None,
        config: ConsumerConfig | None = None,
    ) -> None:
        check_group(group)
        self.group = group
        self._config = config or ConsumerConfig()
        version = now_ms()
        self._subscriptions = subscriptions_of(subscriptions, version)
        self._subscriptions[retry_topic(group)] = subscription_of(retry_topic(group), "*", version)
        self._rebalance_now = asyncio.Event()
        self._instance = ClientInstance(
            merged(client, namesrv, address_map),
            self._heartbeat,
            consumes=True,
            handle={RequestCode.NOTIFY_CONSUMER_IDS_CHANGED: self._on_members_changed},
            on_connected=self._rebalance_now.set,
            on_route=self._on_route,
        )
        self._offsets = OffsetStore(self._instance, group)
        self._dispatcher = Dispatcher(self._instance.background, self._on_done, self._config.retry)
        self._owned: dict[MessageQueue, _Owned] = {}
        self._stack = AsyncExitStack()
        self._closing = False
        self._close_lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._instance)
            self._instance.topics.update(self._subscriptions)
            for topic in self._subscriptions:
                if await self._instance.refresh(topic) is None and not topic.startswith(RETRY_PREFIX):
                    _log.warning("no nameserver knows the topic %s yet", topic)
            await self._instance.heartbeat_all()
            self._instance.background.start(self._keep_balanced(), "rebalance")
            self._instance.background.start(self._keep_committed(), "commit")
            stack.push_async_callback(self.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._stack.__aexit__(*exc_info)

    @property
    def client_id(self) -> str:
        """The id under which brokers and other members know this one."""
        return self._instance.client_id

    @property
    def assignment(self) -> frozenset[MessageQueue]:
        """The queues of the subscribed topics that this member consumes now."""
        return frozenset(queue for queue in self._owned if not queue.topic.startswith(RETRY_PREFIX))

    # Consuming

    async def run(self, handler: Handler, *, concurrency: int = 20, batch: int | None = None) -> None:
        """Call `handler` with every message, until the consumer is closed or this is cancelled.

        A handler that returns has consumed its message. One that raises gets it again after a wait, on this client; the
        error is logged, and the committed offset does not pass the message. When this is cancelled, handlers that run
        go on until they end or `close` runs out of time.
        concurrency: handlers that run at the same time.
        batch:       give the handler lists of up to so many messages of one queue; it consumes all or none of them.
        Raises:      Misuse when the consumer is in use already; TypeError when the handler is not async.
        """
        self._instance.check_running()
        await self._dispatcher.run(handler, concurrency, batch)

    def __aiter__(self) -> MessageLoop:
        """Take message after message: asking for the next consumes the one before.

        A loop that is left by an exception, `break` or cancellation has not consumed its last message: it comes again,
        to the next loop or to whoever consumes the queue then.
        """
        self._instance.check_running()
        return self._dispatcher.messages()

    async def close(self) -> None:
        """Stop pulling, let running handlers finish within close_timeout_s, commit, and leave the group.

        Leaving the `async with` block does this; calling it earlier ends `run` and `async for`.
        """
        async with self._close_lock:  # so that whoever comes second returns when it is done
            if self._closing:
                return
            self._closing = True
            await self._close()

    async def _close(self) -> None:
        for owned in self._owned.values():
            owned.pull.cancel()
        await self._dispatcher.close(self._config.close_timeout_s)
        await self._offsets.commit(self._owned)
        for owned in self._owned.values():
            owned.process_queue.dropped = True
        self._owned.clear()
        await self._instance.unregister(self._farewell)

    # Rebalancing

    async def _keep_balanced(self) -> None:
        wait_s = 0.0
        while not self._closing:
            try:
                async with asyncio.timeout(wait_s):
                    await self._rebalance_now.wait()
            except TimeoutError:
                pass
            self._rebalance_now.clear()
            balanced = await self._rebalance()
            wait_s = self._config.rebalance_interval_s if balanced else UNBALANCED_RETRY_S

    async def _rebalance(self) -> bool:
        """Bring what is owned in line with who is there; False when it should be tried again soon."""
        balanced = True
        for topic in self._subscriptions:
            try:
                done = await self._rebalance_topic(topic)
            except RocketMQError as problem:
                _log.warning("rebalancing %s of %s failed, the queues stay: %s", topic, self.group, problem)
                done = False
            balanced = balanced and (done or topic.startswith(RETRY_PREFIX))
        return balanced

    async def _rebalance_topic(self, topic: str) -> bool:
        route = self._instance.routes.get(topic)
        if route is None:
            return False
        members = await self._members(topic)
        if self._closing:
            return True
        share: list[MessageQueue] = []
        if route.read_queues:
            share = allocate(self._config.allocate, self.group, self.client_id, route.read_queues, members)
        drop, add = change_of(self._owned.keys(), topic, share)
        for queue in drop:
            self._revoke(queue)
        unreachable = set()
        for queue in add:
            if queue.broker_name not in unreachable and not await self._assign(queue):
                unreachable.add(queue.broker_name)
        if drop or add:
            _log.info("%s of %s: %d queues, %d members", topic, self.group, len(share), len(members))
        return not unreachable

    async def _members(self, topic: str) -> list[str]:
        broker = self._instance.routes.any_broker_of(topic)
        if broker is None:
            return []
        link = await self._instance.broker_link(broker, patient=True)
        header = ConsumerGroupHeader(consumer_group=self.group)
        try:
            _, body = await self._instance.call(link, GET_CONSUMER_LIST_BY_GROUP, header)
        except RocketMQError:
            await self._instance.heartbeat_all()  # a broker that does not know the group has forgotten us
            raise
        return decode_body(ConsumerList, body).consumer_id_list

    async def _assign(self, queue: MessageQueue) -> bool:
        try:
            start = await self._start_of(queue)
        except RocketMQError as problem:
            _log.warning("no offset for %s yet: %s", queue, problem)
            return False
        if self._closing or queue in self._owned:
            return True
        process_queue = ProcessQueue(queue)
        self._offsets.remove(queue)
        puller = Puller(
            self._instance, self._config, self.group, self._subscriptions[queue.topic], self._offsets, process_queue
        )
        pull = self._instance.background.start(
            puller.run(start, self._dispatcher.submit, self._on_illegal_offset), f"pull {queue.queue_id}"
        )
        self._owned[queue] = _Owned(process_queue, pull)
        return True

    def _revoke(self, queue: MessageQueue) -> None:
        owned = self._owned.pop(queue)
        owned.process_queue.dropped = True
        owned.pull.cancel()
        self._offsets.send([queue])
        self._offsets.remove(queue)

    async def _start_of(self, queue: MessageQueue) -> int:
        """Where to begin: the committed offset, else where the configuration says."""
        begin = self._config.consume_from
        # With a time the broker must not guess 0 for a young queue: the time decides.
        stored = await self._offsets.fetch(queue, guess_zero=isinstance(begin, ConsumeFrom))
        retries = queue.topic.startswith(RETRY_PREFIX)
        if stored is not None:
            return stored
        if not isinstance(begin, ConsumeFrom):
            if retries:
                return await max_offset(self._instance, queue)
            return await search_offset(self._instance, queue, unix_ms(begin))
        return 0 if retries or begin is ConsumeFrom.FIRST else await max_offset(self._instance, queue)

    async def _on_illegal_offset(self, process_queue: ProcessQueue, right: int) -> None:
        """The broker says where the queue really begins or ends: commit that and start the queue anew."""
        queue = process_queue.queue
        process_queue.dropped = True
        _log.warning("the offset of %s was outside the queue, going on at %d", queue, right)
        self._offsets.reset(queue, right)
        await self._offsets.commit([queue])
        owned = self._owned.get(queue)
        if owned is not None and owned.process_queue is process_queue:
            del self._owned[queue]
            self._offsets.remove(queue)
        self._rebalance_now.set()

    # Offsets

    def _on_done(self, process_queue: ProcessQueue, offset: int) -> None:
        if offset >= 0:
            self._offsets.advance(process_queue.queue, offset)

    async def _keep_committed(self) -> None:
        while True:
            await asyncio.sleep(self._config.commit_interval_s)
            self._offsets.send(self._owned)

    # Callbacks of the instance

    def _on_members_changed(self, link: Link, request: RemotingCommand) -> None:
        if request.ext.get("consumerGroup") == self.group:
            # Before anybody asks where a queue begins that moves now: all members are told at the same time.
            self._offsets.send(self._owned)
            self._rebalance_now.set()

    def _on_route(self, topic: str) -> None:
        if topic in self._subscriptions:
            self._rebalance_now.set()

    def _heartbeat(self, client_id: str) -> HeartbeatData:
        begin = self._config.consume_from
        consumer = ConsumerData(
            group_name=self.group,
            consume_from_where=begin.value if isinstance(begin, ConsumeFrom) else ConsumeFromWhere.TIMESTAMP,
            subscription_data_set=list(self._subscriptions.values()),
        )
        return HeartbeatData(client_id=client_id, consumer_data_set=[consumer])

    def _farewell(self) -> RemotingCommand:
        header = UnregisterClientHeader(client_id=self.client_id, consumer_group=self.group)
        return request_command(UNREGISTER_CLIENT.code, to_ext(header))
