"""Producer: send messages and know where they went.

A send that is cancelled, times out or loses its connection has an unknown outcome: the broker may have stored the
message. Its unique id is the same on all attempts, so consumers can tell duplicates.
Source: apache/rocketmq: client/.../impl/producer/DefaultMQProducerImpl.java; behaviour.md 1.6, 2.1-2.6
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar, overload

from protocol.batch import BatchItem, encode_batch
from protocol.bodies.heartbeat import HeartbeatData, ProducerData
from protocol.codes import RequestCode
from protocol.command import RemotingCommand, request_command
from protocol.errors import RocketMQError
from protocol.header import to_ext
from protocol.headers.client import UNREGISTER_CLIENT, UnregisterClientHeader
from protocol.headers.send import SendMessageReply
from protocol.message import Message, MessageQueue, PropertyName, encode_properties
from protocol.names import NOT_SENDABLE_TOPICS, RETRY_PREFIX, check_group, check_topic
from rmq_client.backoff import Backoff
from rmq_client.config import ClientConfig, ProducerConfig, merged
from rmq_client.errors import (
    BrokerError,
    ClientError,
    ConnectFailed,
    ConnectionLost,
    Misuse,
    RequestTimeout,
    broker_error,
)
from rmq_client.identity import new_id_generator
from rmq_client.inflight import ByteBudget
from rmq_client.instance import ClientInstance, now_ms
from rmq_client.latency import FaultTable
from rmq_client.log import logger
from rmq_client.results import SendResult, SendStatus
from rmq_client.routes import TopicRoute
from rmq_client.selection import RoundRobin, queue_of_key
from rmq_client.transport import Link

_log = logger("producer")

QueueSelector = Callable[[Sequence[MessageQueue], Message], MessageQueue]
"""Chooses one of a topic's queues for a message."""

_STATUS_OF_CODE = {status.value: status for status in SendStatus}
_SEND = int(RequestCode.SEND_MESSAGE_V2)
_SEND_BATCH = int(RequestCode.SEND_BATCH_MESSAGE)

T = TypeVar("T")

_Choice = Callable[[TopicRoute, str | None], MessageQueue]


class _Parcel:
    """One send as it goes on the wire, the same for every attempt but for its queue."""

    __slots__ = ("body", "code", "ext", "msg_id", "topic")

    def __init__(self, code: int, topic: str, body: bytes, msg_id: str, ext: dict[str, str]) -> None:
        self.code = code
        self.topic = topic
        self.body = body
        self.msg_id = msg_id
        self.ext = ext

    def command(self, queue: MessageQueue, *, oneway: bool = False) -> RemotingCommand:
        ext = self.ext
        ext["e"] = str(queue.queue_id)
        ext["n"] = queue.broker_name
        return request_command(self.code, ext, self.body, oneway=oneway)


class Producer:
    """Sends messages.

    group:       the producer group, which brokers show in their lists.
    namesrv:     as ClientConfig.namesrv.
    timeout:     seconds for a whole send: route lookup, waiting for room, and all attempts.
    address_map: as ClientConfig.address_map.

    Use:    `async with Producer("orders") as producer: await producer.send("Topic", b"body")`
    Raises: InvalidName for an illegal group.
    """

    def __init__(
        self,
        group: str,
        *,
        namesrv: str | None = None,
        timeout: float = 3.0,
        address_map: Mapping[str, str] | None = None,
        client: ClientConfig | None = None,
        config: ProducerConfig | None = None,
    ) -> None:
        check_group(group)
        self.group = group
        self._timeout = timeout
        self._config = config or ProducerConfig()
        self._instance = ClientInstance(merged(client, namesrv, address_map), self._heartbeat)
        self._budget = ByteBudget(self._config.max_in_flight_bytes)
        self._ids = new_id_generator()
        self._faults = FaultTable() if self._config.avoid_slow_brokers else None
        self._turns: dict[str, RoundRobin] = {}
        self._default_queues = str(self._config.default_topic_queues)

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
        """The id under which brokers know this producer."""
        return self._instance.client_id

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of bodies that wait for their answer."""
        return self._budget.used

    # Sending

    @overload
    async def send(
        self,
        topic: Message,
        *,
        ordering_key: str | None = None,
        queue: MessageQueue | None = None,
        selector: QueueSelector | None = None,
        timeout: float | None = None,
    ) -> SendResult: ...

    @overload
    async def send(
        self,
        topic: str,
        body: bytes | bytearray | memoryview,
        *,
        tag: str | None = None,
        keys: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        ordering_key: str | None = None,
        queue: MessageQueue | None = None,
        selector: QueueSelector | None = None,
        timeout: float | None = None,
    ) -> SendResult: ...

    async def send(
        self,
        topic: str | Message,
        body: bytes | bytearray | memoryview | None = None,
        *,
        tag: str | None = None,
        keys: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        ordering_key: str | None = None,
        queue: MessageQueue | None = None,
        selector: QueueSelector | None = None,
        timeout: float | None = None,
    ) -> SendResult:
        """Send one message and return where it was stored.

        Give a Message, or topic and body with what else a Message takes. Without a choice the queues take turns, and a
        failed attempt is repeated on another broker, within the time-out.
        ordering_key: messages of equal keys go to one queue, whatever fails; send them one after the other.
        queue:        exactly this queue.
        selector:     called with the topic's queues and the message; returns one of them.
        timeout:      seconds, instead of the producer's.
        Raises: TypeError for a body that is not bytes-like; Misuse, ProtocolError for a message that cannot be sent;
                NoRoute, RequestTimeout, ConnectionLost, BrokerError for the last attempt that failed. With
                RequestTimeout, ConnectionLost (but not ConnectFailed) and cancellation the message may be stored.
        """
        if isinstance(topic, Message):
            message = topic
            if body is not None:
                raise Misuse("a Message has its body already: give send() either a Message, or a topic and a body")
        else:
            message = Message(topic, body, tag=tag, keys=keys, properties=dict(properties or {}))  # type: ignore[arg-type]
        parcel = self._parcel(message)
        if ordering_key is None and queue is None and selector is None:
            return await self._send(parcel, None, timeout)
        return await self._send(parcel, _choice(message, ordering_key, queue, selector), timeout)

    async def send_batch(
        self, messages: Iterable[Message], *, queue: MessageQueue | None = None, timeout: float | None = None
    ) -> SendResult:
        """Send several messages of one topic in one request; they are stored together, one after the other.

        Raises: Misuse when they are none, of several topics, differ in wait_store_ok, or exceed max_message_bytes in
                sum; else as `send`.
        """
        parcel, first = self._batch(list(messages))
        return await self._send(parcel, None if queue is None else _choice(first, None, queue, None), timeout)

    async def send_oneway(
        self,
        topic: str | Message,
        body: bytes | bytearray | memoryview | None = None,
        *,
        tag: str | None = None,
        keys: Iterable[str] = (),
        queue: MessageQueue | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send one message without waiting for an answer: whether it was stored stays unknown.

        Raises: as `send`, for what goes wrong before the message is written.
        """
        message = topic if isinstance(topic, Message) else Message(topic, body, tag=tag, keys=keys)  # type: ignore[arg-type]
        parcel = self._parcel(message)
        choice = None if queue is None else _choice(message, None, queue, None)
        self._instance.check_running()
        seconds = self._timeout if timeout is None else timeout
        deadline = asyncio.get_running_loop().time() + seconds
        route = self._known_route(parcel.topic)
        if route is None:
            route = await _within(deadline, self._publish_route(parcel.topic))
        chosen = self._choose(route, choice, None)
        link = self._ready_link(chosen)
        if link is None:
            link = await _within(deadline, self._link(chosen))
        link.send_oneway(parcel.command(chosen, oneway=True))

    async def queues(self, topic: str) -> tuple[MessageQueue, ...]:
        """The queues of a topic that can be written to.

        Raises: NoRoute, RequestTimeout, ConnectionLost.
        """
        return (await self._publish_route(topic)).write_queues

    # One send

    async def _send(self, parcel: _Parcel, choice: _Choice | None, timeout: float | None) -> SendResult:
        self._instance.check_running()
        loop = asyncio.get_running_loop()
        seconds = self._timeout if timeout is None else timeout
        deadline = loop.time() + seconds
        size = len(parcel.body)
        if not self._budget.try_take(size):
            try:
                async with asyncio.timeout_at(deadline):
                    await self._budget.take(size)
            except TimeoutError:
                raise RequestTimeout(
                    f"no room for {size} more bytes under way within {seconds:.1f} s ({self._budget.used} wait)"
                ) from None
        try:
            return await self._attempts(parcel, choice, loop, deadline)
        finally:
            self._budget.give_back(size)

    async def _attempts(
        self, parcel: _Parcel, choice: _Choice | None, loop: asyncio.AbstractEventLoop, deadline: float
    ) -> SendResult:
        kept: SendResult | None = None
        problem: ClientError | BrokerError | None = None
        tried: list[str] = []
        waits: Backoff | None = None
        attempts = 1 + self._config.retries
        for attempt in range(attempts):
            started = loop.time()
            if started >= deadline:
                break
            broker: str | None = None
            try:
                route = self._known_route(parcel.topic)
                if route is None:
                    route = await _within(deadline, self._publish_route(parcel.topic))
                queue = self._choose(route, choice, tried[-1] if tried else None)
                broker = queue.broker_name
                link = self._ready_link(queue)
                if link is None:
                    link = await _within(deadline, self._link(queue))
                response = await link.request(parcel.command(queue), deadline - loop.time())
                result = _result(parcel, queue, response, link)
            except (ClientError, BrokerError) as failure:
                problem = failure
                if broker is not None:
                    tried.append(broker)
                self._note_fault(broker, started, loop.time(), failure)
                if failure.refresh_route:
                    self._instance.look_for_brokers()
                sent = not isinstance(failure, ConnectFailed)
                if not failure.retriable or (choice is not None and sent) or attempt + 1 == attempts:
                    break
                if isinstance(failure, BrokerError) and failure.back_off:
                    waits = waits or Backoff(self._config.flow_control)
                    pause_s = waits.next_s()
                    if loop.time() + pause_s >= deadline:
                        break
                    await asyncio.sleep(pause_s)
                elif failure.refresh_route:
                    await self._look_again(parcel.topic, deadline)
            else:
                self._note_fault(broker, started, loop.time(), None)
                if result.status is SendStatus.SEND_OK or not self._config.retry_not_stored_ok or choice is not None:
                    return result
                kept = result
                tried.append(queue.broker_name)
        if kept is not None:
            return kept
        if problem is None:
            problem = RequestTimeout(f"no time to send to {parcel.topic}")
        if tried:
            problem.add_note(f"sending to {parcel.topic}, message {parcel.msg_id[:64]}, tried {', '.join(tried)}")
        raise problem

    def _known_route(self, topic: str) -> TopicRoute | None:
        route = self._instance.routes.get(topic)
        return route if route is not None and route.write_queues else None

    def _ready_link(self, queue: MessageQueue) -> Link | None:
        """The connection to a queue's broker when nothing needs to be waited for: the usual case."""
        address = self._instance.routes.master(queue.broker_name)
        link = self._instance.connections.opened(address) if address is not None else None
        return None if link is None or link.is_congested else link

    async def _link(self, queue: MessageQueue) -> Link:
        link = await self._instance.broker_link(queue.broker_name)
        await link.writable()
        return link

    def _choose(self, route: TopicRoute, choice: _Choice | None, last_broker: str | None) -> MessageQueue:
        if choice is not None:
            return choice(route, last_broker)
        turns = self._turns.get(route.topic)
        if turns is None:
            turns = self._turns[route.topic] = RoundRobin(random.getrandbits(31), self._faults)
        if self._faults is None and last_broker is None:
            return turns.next(route.write_queues)
        if last_broker is not None and self._faults is not None:
            turns.reset(random.getrandbits(31))
        return turns.select(route.write_queues, now_ms(), last_broker)

    async def _publish_route(self, topic: str) -> TopicRoute:
        if topic not in self._instance.topics:
            check_topic(topic)
            if topic in NOT_SENDABLE_TOPICS:
                raise Misuse(f"applications may not send to the topic {topic}")
        return await self._instance.publish_route(
            topic, self._config.create_topic_key, self._config.default_topic_queues
        )

    async def _look_again(self, topic: str, deadline: float) -> None:
        """Before another attempt: a broker that cannot be reached may be somewhere else now."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._instance.refresh(topic)
        except (TimeoutError, RocketMQError) as problem:
            _log.debug("the route of %s stays as it is: %s", topic, problem)

    def _note_fault(
        self, broker: str | None, started: float, now: float, failure: ClientError | BrokerError | None
    ) -> None:
        if self._faults is None or broker is None:
            return
        remote = isinstance(failure, BrokerError | ConnectionLost | RequestTimeout)
        self._faults.update(
            broker,
            (now - started) * 1000,
            now_ms(),
            isolate=remote,
            reachable=not isinstance(failure, BrokerError),
        )

    # What goes on the wire

    def _parcel(self, message: Message) -> _Parcel:
        body = message.body
        self._check_body(len(body))
        unique_id = self._ids.next_id(born := now_ms())
        properties = encode_properties(message.wire_properties(unique_id))
        ext = self._ext(message.topic, born, message.flag, properties, batch="false")
        return _Parcel(_SEND, message.topic, body, unique_id, ext)

    def _batch(self, messages: list[Message]) -> tuple[_Parcel, Message]:
        if not messages:
            raise Misuse("a batch needs at least one message")
        first = messages[0]
        born = now_ms()
        items, ids = [], []
        for message in messages:
            if message.topic != first.topic:
                raise Misuse(f"a batch has one topic, not {first.topic} and {message.topic}")
            if message.wait_store_ok != first.wait_store_ok:
                raise Misuse("all messages of a batch have the same wait_store_ok")
            if not message.body:
                raise Misuse("the message body is empty")
            ids.append(self._ids.next_id(born))
            properties = encode_properties(message.wire_properties(ids[-1]))
            items.append(BatchItem(message.flag, message.body, properties.encode()))
        if first.topic.startswith(RETRY_PREFIX):
            raise Misuse("a batch cannot go to a retry topic")
        body = encode_batch(items)
        self._check_body(len(body))
        # No UNIQ_KEY for the batch itself: brokers would append it to every message, and consumers see it as the id.
        properties = encode_properties({PropertyName.WAIT: "true" if first.wait_store_ok else "false"})
        ext = self._ext(first.topic, born, 0, properties, batch="true")
        return _Parcel(_SEND_BATCH, first.topic, body, ",".join(ids), ext), first

    def _ext(self, topic: str, born_ms: int, flag: int, properties: str, batch: str) -> dict[str, str]:
        """SendMessageHeaderV2 as its string map; `to_ext` of the typed header is the plain twin (tests compare)."""
        return {
            "a": self.group,
            "b": topic,
            "c": self._config.create_topic_key,
            "d": self._default_queues,
            "e": "0",
            "f": "0",
            "g": str(born_ms),
            "h": str(flag),
            "i": properties,
            "j": "0",
            "k": "false",
            "m": batch,
            "n": "",
        }

    def _check_body(self, size: int) -> None:
        if not size:
            raise Misuse("the message body is empty")
        if size > self._config.max_message_bytes:
            raise Misuse(f"{size} bytes exceed max_message_bytes={self._config.max_message_bytes}")

    def _heartbeat(self, client_id: str) -> HeartbeatData:
        return HeartbeatData(client_id=client_id, producer_data_set=[ProducerData(group_name=self.group)])

    def _farewell(self) -> RemotingCommand:
        header = UnregisterClientHeader(client_id=self.client_id, producer_group=self.group)
        return request_command(UNREGISTER_CLIENT.code, to_ext(header))


async def _within(deadline: float, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, at most until a time of the loop's clock.

    Raises: RequestTimeout, and what `work` raises.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError as problem:
        if isinstance(problem, ClientError):
            raise
        raise RequestTimeout("neither route nor connection were there in time") from None


def _choice(
    message: Message, ordering_key: str | None, queue: MessageQueue | None, selector: QueueSelector | None
) -> _Choice:
    """How to choose the queue of a message whose sender has a say in it."""
    if (ordering_key is not None) + (queue is not None) + (selector is not None) > 1:
        raise Misuse("give one of ordering_key, queue and selector, not several")
    if queue is not None:
        if queue.topic != message.topic:
            raise Misuse(f"the queue belongs to {queue.topic}, the message to {message.topic}")
        return lambda route, last_broker: queue
    if ordering_key is not None:
        return lambda route, last_broker: queue_of_key(ordering_key, route.write_queues)
    assert selector is not None

    def select(route: TopicRoute, last_broker: str | None) -> MessageQueue:
        chosen = selector(route.write_queues, message)
        if not isinstance(chosen, MessageQueue):
            raise Misuse(f"the selector returned {chosen!r} instead of one of the queues")
        return chosen

    return select


def _result(parcel: _Parcel, queue: MessageQueue, response: RemotingCommand, link: Link) -> SendResult:
    status = _STATUS_OF_CODE.get(response.code)
    if status is None:
        raise broker_error(response.code, response.remark, link.address)
    reply = response.read_header(SendMessageReply)
    if reply.queue_id != queue.queue_id:
        queue = MessageQueue(queue.topic, queue.broker_name, reply.queue_id)
    return SendResult(
        parcel.msg_id,
        reply.msg_id,
        status,
        queue,
        reply.queue_offset,
        reply.transaction_id,
        reply.region_id or "DefaultRegion",
        reply.trace_on != "false",
    )
