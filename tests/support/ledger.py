"""What producers were told was stored, against what a broker has: for tests that kill brokers, whoever wrote them."""

import asyncio
from collections.abc import Awaitable, Callable

from rmq_client import BrokerError, MessageQueue, Producer, ProducerConfig, PullConsumer
from rmq_client.errors import ClientError

SENDERS = 16
LARGEST_BODY = 3000

Ledger = dict[tuple[int, int], int]
"""Queue id and queue offset -> number of the message, from which follows its body."""


def body_of(number: int) -> bytes:
    """Messages of many sizes."""
    return b"%d " % number + bytes(number % LARGEST_BODY)


class Load:
    """Producers that write down what was acknowledged, over the lives of several brokers."""

    def __init__(self, namesrv: str, topic: str) -> None:
        self._namesrv = namesrv
        self._topic = topic
        self._next = 0
        self.acknowledged: Ledger = {}

    async def run(self, kill: Callable[[], Awaitable[object]], *, at_least: int = 1, seconds: float = 0.0) -> None:
        """Send from several tasks; `kill` the broker under them after `seconds`, but not before `at_least` were
        acknowledged.
        """
        goal = len(self.acknowledged) + at_least
        reached, dying = asyncio.Event(), asyncio.Event()

        async def send(producer: Producer) -> None:
            while not dying.is_set():
                self._next = number = self._next + 1
                try:
                    sent = await producer.send(self._topic, body_of(number))
                except (ClientError, BrokerError):
                    if dying.is_set():
                        return
                    raise
                key = sent.queue.queue_id, sent.offset
                assert key not in self.acknowledged, f"two acknowledged messages have the place {key}"
                self.acknowledged[key] = number
                if len(self.acknowledged) >= goal:
                    reached.set()

        config = ProducerConfig(retries=0)
        async with Producer("ledger", namesrv=self._namesrv, config=config) as producer, asyncio.TaskGroup() as tasks:
            for _ in range(SENDERS):
                tasks.create_task(send(producer))
            await asyncio.gather(reached.wait(), asyncio.sleep(seconds))
            dying.set()
            await kill()


async def check_ledger(namesrv: str, topic: str, ledger: Ledger) -> int:
    """Every acknowledged message is at its place, and the queues have neither holes nor doubles; how many messages
    there are, with those that were stored but not acknowledged.
    """
    total = 0
    async with PullConsumer("ledger-reader", namesrv=namesrv) as consumer:
        for queue in await consumer.queues(topic):
            stored = await read_all(consumer, queue)
            assert sorted(stored) == list(range(await consumer.max_offset(queue)))
            expected = {offset: number for (queue_id, offset), number in ledger.items() if queue_id == queue.queue_id}
            lost = {offset for offset, number in expected.items() if stored.get(offset) != body_of(number)}
            assert not lost, f"acknowledged in {queue}, but not there: {sorted(lost)}"
            total += len(stored)
    return total


async def read_all(consumer: PullConsumer, queue: MessageQueue) -> dict[int, bytes]:
    """All messages of a queue by their offsets; each at its place and met once."""
    stored: dict[int, bytes] = {}
    offset, end = await consumer.min_offset(queue), await consumer.max_offset(queue)
    while offset < end:
        result = await consumer.pull(queue, offset)
        offsets = [message.queue_offset for message in result.messages]
        assert offsets == list(range(offset, result.next_offset)), f"at {offset} of {queue}: {offsets}"
        stored.update({message.queue_offset: message.body for message in result.messages})
        assert result.next_offset > offset
        offset = result.next_offset
    return stored
