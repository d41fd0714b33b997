"""SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE: check, complete the properties, append, answer when durable.

Source: apache/rocketmq: broker/.../processor/SendMessageProcessor.java, AbstractSendMessageProcessor.java
"""

from collections.abc import Awaitable, Callable
from random import Random

from protocol import names
from protocol.batch import decode_batch
from protocol.bodies.topic_config import TopicConfig
from protocol.codes import ResponseCode
from protocol.flags import MessageSysFlag
from protocol.hashing import tags_code
from protocol.headers.send import SEND_BATCH_MESSAGE, SEND_MESSAGE, SEND_MESSAGE_V2, SendMessageHeader
from protocol.message import NAME_SEPARATOR, PROPERTY_SEPARATOR, PropertyName, decode_properties
from protocol.message_id import offset_message_id
from protocol.record import Record
from protocol.request import handles
from protocol.template import ReplyTemplate
from rmq_server.broker.config import BrokerConfig
from rmq_server.broker.groups import SubscriptionGroups
from rmq_server.broker.topics import TopicTable
from rmq_server.core.errors import Reject
from rmq_server.net.peer import Reply
from rmq_server.net.router import Request
from rmq_server.store.dispatch import tag_of
from rmq_server.store.errors import StoreError
from rmq_server.store.flush import FlushResult
from rmq_server.store.message_store import MessageStore, PutResult

SendRequest = Request[SendMessageHeader]

_PLACE = ("msgId", "queueId", "queueOffset")


class SendProcessor:
    """Takes messages from producers."""

    def __init__(
        self,
        config: BrokerConfig,
        store: MessageStore,
        topics: TopicTable,
        groups: SubscriptionGroups,
        *,
        store_host: bytes,
        max_message_bytes: int,
        unique_id: Callable[[], str],
        random: Random,
        announce: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._topics = topics
        self._groups = groups
        self._store_host = store_host
        self._max_message_bytes = max_message_bytes
        self._unique_id = unique_id
        self._random = random
        self._announce = announce
        told = {
            PropertyName.MSG_REGION: config.region_id,
            PropertyName.TRACE_ON: "true" if config.trace_on else "false",
        }
        self._own_properties = _text({**told, PropertyName.CLUSTER: config.cluster_name})
        self._stored = ReplyTemplate(ResponseCode.SUCCESS, told, _PLACE)
        self._stored_as = ReplyTemplate(ResponseCode.SUCCESS, told, (*_PLACE, "transactionId"))

    @handles(SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE)
    def send(self, request: SendRequest) -> Reply | Awaitable[Reply | None] | None:
        """Store one message or a batch; a message to a new topic waits until the topic is on disk."""
        topic = self._topics.get(request.header.topic)
        if topic is None:
            return self._create_topic_and_send(request)
        return self._send(request, topic)

    async def _create_topic_and_send(self, request: SendRequest) -> Reply | None:
        header = request.header
        topic = self._topics.derive(header.topic, header.default_topic, header.default_topic_queue_nums)
        if topic is None or not topic.write_queue_nums:
            raise Reject(ResponseCode.TOPIC_NOT_EXIST, f"topic[{header.topic}] not exist, apply first please!")
        if header.topic.startswith(names.RETRY_PREFIX):
            self._check_retry_group(header.topic)
        if await self._topics.store(topic):
            await self._announce()
        return self._send(request, topic)

    def _send(self, request: SendRequest, topic: TopicConfig) -> Reply | None:
        header = request.header
        queue_id = self._check(header, topic)
        if request.command.code == SEND_BATCH_MESSAGE.code:
            return self._send_batch(request, queue_id)
        body = request.command.body
        if len(body) > self._max_message_bytes:
            raise self._too_large(len(body))
        text = header.properties or ""
        properties = decode_properties(text)
        if header.sys_flag & MessageSysFlag.TRANSACTION_MASK or not _SPECIAL.isdisjoint(properties):
            _check_kind(header, properties)
            text = _text({name: value for name, value in properties.items() if name not in _REWRITTEN})
        unique_id = properties.get(PropertyName.UNIQ_KEY)
        if unique_id is None:
            unique_id = self._unique_id()
            text = f"{PropertyName.UNIQ_KEY}{NAME_SEPARATOR}{unique_id}{PROPERTY_SEPARATOR}{text}"
        record = self._record(request, queue_id, body, self._completed(text))
        try:
            put = self._store.put(record, tags_code(properties.get(PropertyName.TAGS)), deferred=True)
        except StoreError as error:
            raise _not_stored(error) from error
        message_id = offset_message_id(self._store_host, put.physical_offset)
        reply = self._reply(message_id, queue_id, put.queue_offset, unique_id)
        return self._answer(request, put, reply, wait=properties.get(PropertyName.WAIT) != "false")

    def _send_batch(self, request: SendRequest, queue_id: int) -> Reply | None:
        header = request.header
        text = header.properties or ""
        properties = decode_properties(text)
        _check_kind(header, properties)
        if header.topic.startswith(names.RETRY_PREFIX):
            raise Reject(ResponseCode.MESSAGE_ILLEGAL, "batch request does not support retry group")
        if len(request.body) > self._max_message_bytes:
            raise self._too_large(len(request.body))
        items = decode_batch(request.body)
        if not items:
            raise Reject(ResponseCode.MESSAGE_ILLEGAL, "the batch holds no message")
        shared = self._completed(text)
        shared_tag = properties.get(PropertyName.TAGS)
        records, codes = [], []
        for flag, body, own in items:
            if own and not own.endswith(_SEPARATOR):
                own += _SEPARATOR
            if b"DELAY" in own or b"TIMER_DE" in own or b"TRAN_MSG" in own:  # rarely: then a closer look
                _check_kind(header, decode_properties(str(own, "utf-8", "replace")))
            record = self._record(request, queue_id, body, own + shared)
            record.flag = flag
            records.append(record)
            codes.append(tags_code(shared_tag or tag_of(own)))
        try:
            put = self._store.put_batch(records, codes, deferred=True)
        except StoreError as error:
            raise _not_stored(error) from error
        message_ids = ",".join([offset_message_id(self._store_host, record.physical_offset) for record in records])
        reply = self._reply(message_ids, queue_id, put.queue_offset, properties.get(PropertyName.UNIQ_KEY))
        return self._answer(request, put, reply, wait=properties.get(PropertyName.WAIT) != "false")

    # Checks, in upstream's order.

    def _check(self, header: SendMessageHeader, topic: TopicConfig) -> int:
        """Refuse what no message may be; returns the queue to use."""
        name = header.topic
        if name in names.NOT_SENDABLE_TOPICS:
            raise Reject(ResponseCode.NO_PERMISSION, f"Sending message to topic[{name}] is forbidden.")
        queue_id = header.queue_id
        if queue_id >= max(topic.write_queue_nums, topic.read_queue_nums):
            raise Reject(
                ResponseCode.INVALID_PARAMETER,
                f"request queueId[{queue_id}] is illegal, topic[{name}] has {topic.write_queue_nums} write and "
                f"{topic.read_queue_nums} read queues",
            )
        if name.startswith(names.RETRY_PREFIX):
            self._check_retry_group(name)
        if queue_id < 0:
            queue_id = self._random.randrange(max(topic.write_queue_nums, 1))
        return queue_id

    def _check_retry_group(self, topic: str) -> None:
        group = topic.removeprefix(names.RETRY_PREFIX)
        if self._groups.get(group) is None:
            raise Reject(ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST, f"subscription group not exist, {group}")

    def _too_large(self, body_bytes: int) -> Reject:
        return Reject(
            ResponseCode.MESSAGE_ILLEGAL,
            f"the message body has {body_bytes} bytes, the limit (maxMessageSize) is {self._max_message_bytes}",
        )

    # The record and the reply.

    def _completed(self, text: str) -> bytes:
        """The properties text with the broker's own."""
        if text and not text.endswith(PROPERTY_SEPARATOR):
            text += PROPERTY_SEPARATOR
        data = (text + self._own_properties).encode()
        if len(data) > names.MAX_PROPERTIES_BYTES:
            raise Reject(
                ResponseCode.MESSAGE_ILLEGAL,
                f"the message properties have {len(data)} bytes, the limit is {names.MAX_PROPERTIES_BYTES}",
            )
        return data

    def _record(self, request: SendRequest, queue_id: int, body: bytes, properties: bytes) -> Record:
        header = request.header
        return Record(
            topic=header.topic,
            queue_id=queue_id,
            body=body,
            properties=properties,
            flag=header.flag,
            sys_flag=header.sys_flag,
            born_timestamp_ms=header.born_timestamp,
            born_host=request.peer.packed_host,
            store_host=self._store_host,
            reconsume_times=header.reconsume_times or 0,
        )

    def _reply(self, message_id: str, queue_id: int, queue_offset: int, unique_id: str | None) -> Reply:
        if unique_id is None:
            return Reply(ext=self._stored.ext((message_id, str(queue_id), str(queue_offset))))
        values = (message_id, str(queue_id), str(queue_offset), unique_id)
        if unique_id.isalnum() and unique_id.isascii():
            return Reply(template=self._stored_as, values=values)
        return Reply(ext=self._stored_as.ext(values))

    def _answer(self, request: SendRequest, put: PutResult, reply: Reply, *, wait: bool) -> Reply | None:
        """At once, for the transport writes the log before the answer; or when the log is on disk."""
        if not wait or not self._store.sync_flush:
            return reply

        def flushed(result: FlushResult) -> None:
            if result is FlushResult.OK:
                request.respond(reply)
            elif result is FlushResult.TIMEOUT:
                ext = reply.ext if reply.template is None else reply.template.ext(reply.values)
                request.respond(Reply(ResponseCode.FLUSH_DISK_TIMEOUT, ext=ext))
            else:
                request.respond(Reply(ResponseCode.SYSTEM_ERROR, remark="the message could not be flushed to disk"))

        self._store.when_durable(put.end_offset, flushed)
        return None


_SEPARATOR = PROPERTY_SEPARATOR.encode()
_DELAYED = (
    PropertyName.DELAY,
    PropertyName.TIMER_DELIVER_MS,
    PropertyName.TIMER_DELAY_MS,
    PropertyName.TIMER_DELAY_SEC,
)
_REWRITTEN = frozenset(
    {PropertyName.POP_CHECKPOINT, PropertyName.MSG_REGION, PropertyName.TRACE_ON, PropertyName.CLUSTER}
)
_SPECIAL = _REWRITTEN | {*_DELAYED, PropertyName.TRANSACTION_PREPARED}
"""Properties that most messages do not have, and that need a closer look."""


def _check_kind(header: SendMessageHeader, properties: dict[str, str]) -> None:
    """Transactions and delays need services that this broker does not have yet: better refused than visible."""
    if header.sys_flag & MessageSysFlag.TRANSACTION_MASK or (
        properties.get(PropertyName.TRANSACTION_PREPARED, "").lower() == "true"
    ):
        raise Reject(ResponseCode.MESSAGE_ILLEGAL, "transaction messages are not supported by this broker yet")
    for name in _DELAYED:
        if properties.get(name, "0") != "0":
            raise Reject(
                ResponseCode.MESSAGE_ILLEGAL,
                f"delayed messages are not supported by this broker yet (property {name})",
            )


def _not_stored(error: StoreError) -> Reject:
    return Reject(ResponseCode.SERVICE_NOT_AVAILABLE, f"the message was not stored: {error}")


def _text(properties: dict[str, str]) -> str:
    return "".join([f"{name}{NAME_SEPARATOR}{value}{PROPERTY_SEPARATOR}" for name, value in properties.items()])
