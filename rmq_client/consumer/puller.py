"""The pull loop of one queue: as long as this member owns the queue, the next pull follows the answer to the last.

Source: apache/rocketmq: client/.../impl/consumer/DefaultMQPushConsumerImpl.java (pullMessage); behaviour.md 4.2
"""

import asyncio
from collections.abc import Awaitable, Callable

from protocol.bodies.heartbeat import SubscriptionData
from protocol.bodies.route import MASTER_ID
from protocol.codes import ResponseCode
from protocol.errors import RocketMQError
from protocol.message import MessageExt
from rmq_client.config import ConsumerConfig
from rmq_client.consumer.fetch import PullOrder, UnreadableBody, read_messages, read_status
from rmq_client.consumer.offsets import OffsetStore
from rmq_client.consumer.process_queue import ProcessQueue
from rmq_client.errors import BrokerError, ClientError, ConnectionLost, SubscriptionStale
from rmq_client.instance import ClientInstance
from rmq_client.log import logger
from rmq_client.results import PullStatus

_log = logger("consumer")

PROBLEM_WAIT_S = 1.0
FLOW_CONTROL_WAIT_S = 0.02
_LOG_EVERY = 60

Submit = Callable[[ProcessQueue, list[MessageExt]], None]
OnIllegalOffset = Callable[[ProcessQueue, int], Awaitable[None]]


class Puller:
    """Pulls one queue for one group."""

    def __init__(
        self,
        instance: ClientInstance,
        config: ConsumerConfig,
        group: str,
        subscription: SubscriptionData,
        offsets: OffsetStore,
        process_queue: ProcessQueue,
    ) -> None:
        self._instance = instance
        self._config = config
        self._group = group
        self._subscription = subscription
        self._tags = frozenset(subscription.tags_set)
        self._offsets = offsets
        self._process_queue = process_queue
        self._broker_id = MASTER_ID
        self._problems = 0

    async def run(self, offset: int, submit: Submit, on_illegal_offset: OnIllegalOffset) -> None:
        """Pull from `offset` on until the queue is dropped or this is cancelled.

        submit:            takes what was found.
        on_illegal_offset: told where to begin instead, when the broker does not have the offset; then this ends.
        """
        config = self._config
        process_queue = self._process_queue
        queue = process_queue.queue
        while not process_queue.dropped:
            if process_queue.is_full(config.max_cached_messages, config.max_cached_bytes, config.max_cached_span):
                await self._room()
                continue
            try:
                link = await self._instance.broker_link(queue.broker_name, self._broker_id, patient=True)
                await link.writable()
                command = self._order(offset).command()
                response = await link.request(command, config.pull_timeout_s, held=True)
                status, reply = read_status(response, link.address)
                messages = read_messages(response.body, queue, self._tags) if status is PullStatus.FOUND else []
            except UnreadableBody as problem:
                offset = max(problem.offset, offset)
                self._hand_over(problem.before, submit)
                await self._pause(problem)
                continue
            except RocketMQError as problem:
                await self._pause(problem)
                continue
            if process_queue.dropped:
                return
            self._problems = 0
            self._broker_id = reply.suggest_which_broker_id
            if status is PullStatus.OFFSET_ILLEGAL:
                await on_illegal_offset(process_queue, reply.next_begin_offset)
                return
            offset = process_queue.pulled_to = reply.next_begin_offset
            self._hand_over(messages, submit)
            if not process_queue.count:
                self._offsets.advance(queue, offset)

    def _order(self, offset: int) -> PullOrder:
        config = self._config
        queue = self._process_queue.queue
        return PullOrder(
            group=self._group,
            queue=queue,
            offset=offset,
            max_messages=config.pull_batch,
            subscription=self._subscription,
            suspend_s=config.suspend_s,
            commit=self._offsets.get(queue) if self._broker_id == MASTER_ID else None,
        )

    def _hand_over(self, messages: list[MessageExt], submit: Submit) -> None:
        if messages:
            self._process_queue.put(messages)
            submit(self._process_queue, messages)

    async def _room(self) -> None:
        """Wait until a message of this queue is finished."""
        process_queue = self._process_queue
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def note() -> None:
            if not finished.done():
                finished.set_result(None)

        process_queue.on_room = note
        try:
            await finished
        finally:
            process_queue.on_room = None

    async def _pause(self, problem: RocketMQError) -> None:
        """Wait before the next attempt, for as long as the problem suggests."""
        self._problems += 1
        quiet = self._problems % _LOG_EVERY != 1
        queue = self._process_queue.queue
        if isinstance(problem, BrokerError) and problem.code == ResponseCode.FLOW_CONTROL:
            await asyncio.sleep(FLOW_CONTROL_WAIT_S)
            return
        if not quiet:
            level = _log.warning if isinstance(problem, ClientError | BrokerError) else _log.error
            level("pulling %s pauses: %s", queue, problem)
        if isinstance(problem, SubscriptionStale):
            await self._instance.heartbeat_all()
        if isinstance(problem, ClientError | BrokerError) and problem.refresh_route:
            self._instance.look_for_brokers()
        if isinstance(problem, ConnectionLost):
            await self._instance.changed.wait(PROBLEM_WAIT_S)
        else:
            await asyncio.sleep(PROBLEM_WAIT_S)
