"""PULL_MESSAGE and LITE_PULL_MESSAGE: check, read, or hold until there is something to read.

Source: apache/rocketmq: broker/.../processor/PullMessageProcessor.java; remoting.md 4.3-4.6, behaviour.md 7.1-7.3
"""

from collections.abc import Awaitable, Callable
from functools import lru_cache

from protocol.bodies.heartbeat import ExpressionType, SubscriptionData
from protocol.bodies.topic_config import TopicConfig
from protocol.codes import ResponseCode
from protocol.flags import PermName, PullSysFlag
from protocol.headers.pull import LITE_PULL_MESSAGE, PULL_MESSAGE, PullMessageHeader
from protocol.request import handles
from protocol.template import ReplyTemplate
from rmq_server.broker.clients import Consumers
from rmq_server.broker.config import BrokerConfig
from rmq_server.broker.groups import SubscriptionGroups
from rmq_server.broker.long_polling import Hold, HoldTable
from rmq_server.broker.offsets import ConsumerOffsets
from rmq_server.broker.topics import TopicTable
from rmq_server.core.errors import Reject
from rmq_server.net.peer import Reply
from rmq_server.net.router import Request
from rmq_server.store.message_store import MessageStore
from rmq_server.store.reader import ColdRead, GetResult, GetStatus

PullRequest = Request[PullMessageHeader]

_CODES = {
    GetStatus.FOUND: ResponseCode.SUCCESS,
    GetStatus.NO_MATCHED_MESSAGE: ResponseCode.PULL_RETRY_IMMEDIATELY,
    GetStatus.MESSAGE_WAS_REMOVING: ResponseCode.PULL_RETRY_IMMEDIATELY,
    GetStatus.OFFSET_FOUND_NULL: ResponseCode.PULL_NOT_FOUND,
    GetStatus.OFFSET_OVERFLOW_ONE: ResponseCode.PULL_NOT_FOUND,
    GetStatus.OFFSET_OVERFLOW_BADLY: ResponseCode.PULL_OFFSET_MOVED,
    GetStatus.OFFSET_TOO_SMALL: ResponseCode.PULL_OFFSET_MOVED,
}
_FOUND = ReplyTemplate(
    ResponseCode.SUCCESS,
    {"suggestWhichBrokerId": "0", "topicSysFlag": "0", "groupSysFlag": "0"},
    ("nextBeginOffset", "minOffset", "maxOffset"),
    remark=GetStatus.FOUND.name,
)
_COLD_ATTEMPTS = 4
_NO_QUEUE = (GetStatus.NO_MATCHED_LOGIC_QUEUE, GetStatus.NO_MESSAGE_IN_QUEUE)


class Forbidden:
    """`forbiddenType` of a NO_PERMISSION answer."""

    BROKER = 1
    GROUP = 2
    TOPIC = 3
    BROADCASTING = 4
    SUBSCRIPTION = 5


class PullProcessor:
    """Gives messages to consumers.

    run_blocking: runs a callable where waiting for the disk disturbs nobody.
    """

    def __init__(
        self,
        config: BrokerConfig,
        store: MessageStore,
        topics: TopicTable,
        groups: SubscriptionGroups,
        offsets: ConsumerOffsets,
        consumers: Consumers,
        holds: HoldTable,
        run_blocking: Callable[[Callable[[], None]], Awaitable[None]],
    ) -> None:
        self._config = config
        self._store = store
        self._topics = topics
        self._groups = groups
        self._offsets = offsets
        self._consumers = consumers
        self._holds = holds
        self._run_blocking = run_blocking

    @handles(PULL_MESSAGE, LITE_PULL_MESSAGE)
    def pull(self, request: PullRequest) -> Reply | Awaitable[Reply | None] | None:
        """Answer with messages, later when they must be fetched from disk; or keep the request until some arrive."""
        header = request.header
        codes = self._check(request)
        if header.sys_flag & PullSysFlag.COMMIT_OFFSET and header.commit_offset >= 0:
            self._offsets.commit(
                header.consumer_group, header.topic, header.queue_id, header.commit_offset, request.peer.address
            )
        try:
            result = self._read(header, codes, may_block=False)
        except ColdRead as cold:
            return self._pull_cold(request, codes, cold)
        return self._answer(request, codes, result)

    async def _pull_cold(self, request: PullRequest, codes: frozenset[int] | None, cold: ColdRead) -> Reply | None:
        """Queue entries are fetched first, then their records; what memory does not keep so long is read at once."""
        result = None
        for attempt in range(1, _COLD_ATTEMPTS + 1):
            await self._run_blocking(cold.fetch)
            try:
                result = self._read(request.header, codes, may_block=attempt == _COLD_ATTEMPTS)
                break
            except ColdRead as again:
                cold = again
        assert result is not None
        return self._answer(request, codes, result)

    def _answer(self, request: PullRequest, codes: frozenset[int] | None, result: GetResult) -> Reply | None:
        if self._must_hold(request.header, result):
            self._hold(request, codes)
            return None
        return self._reply(request.header, result)

    def _must_hold(self, header: PullMessageHeader, result: GetResult) -> bool:
        return (
            header.sys_flag & PullSysFlag.SUSPEND != 0
            and header.suspend_timeout_millis > 0
            and _code_of(result, header.queue_offset) == ResponseCode.PULL_NOT_FOUND
        )

    def _hold(self, request: PullRequest, codes: frozenset[int] | None) -> None:
        header = request.header
        timeout_ms = header.suspend_timeout_millis if self._config.long_polling else self._config.short_polling_ms

        def resume() -> None:
            if request.peer.is_write_paused:
                # It has not even read its earlier answers: a small one now, the messages when it asks again.
                request.respond(self._reply(header, self._store.get(header.topic, header.queue_id, 2**62, 1, None)))
                return
            request.respond(self._reply(header, self._read(header, codes)))

        hold = Hold(request.peer, (header.topic, header.queue_id), header.queue_offset, codes, resume)
        self._holds.add(hold, timeout_ms / 1000)

    def _read(self, header: PullMessageHeader, codes: frozenset[int] | None, *, may_block: bool = True) -> GetResult:
        return self._store.get(
            header.topic,
            header.queue_id,
            header.queue_offset,
            header.max_msg_nums,
            None if codes is None else codes.__contains__,
            may_block=may_block,
        )

    def _reply(self, header: PullMessageHeader, result: GetResult) -> Reply:
        values = (str(result.next_offset), str(result.min_offset), str(result.max_offset))
        if result.status is GetStatus.FOUND:
            return Reply(template=_FOUND, values=values, pieces=result.views)
        code = _code_of(result, header.queue_offset)
        return Reply(code, ext=_FOUND.ext(values), remark=result.status.name)

    # Checks, in upstream's order.

    def _check(self, request: PullRequest) -> frozenset[int] | None:
        """Refuse what may not be pulled; returns the tag hashes to filter by, None for all."""
        header = request.header
        if not self._config.permission & PermName.READ:
            raise _forbidden(Forbidden.BROKER, "the broker is not readable")
        if request.command.code == LITE_PULL_MESSAGE.code and not self._config.lite_pull:
            raise _forbidden(Forbidden.BROKER, "the broker does not accept lite pulls (litePullMessageEnable)")
        group = self._groups.find_or_create(header.consumer_group)
        if group is None:
            raise Reject(
                ResponseCode.SUBSCRIPTION_GROUP_NOT_EXIST,
                f"subscription group [{header.consumer_group}] does not exist",
            )
        if not group.consume_enable:
            raise _forbidden(Forbidden.GROUP, f"subscription group no permission, {header.consumer_group}")
        self._check_queue(header)
        if header.max_msg_nums <= 0:
            raise Reject(
                ResponseCode.INVALID_PARAMETER, f"the header field `maxMsgNums` must be positive: {header.max_msg_nums}"
            )
        return self._filter(request, group.consume_broadcast_enable)

    def _check_queue(self, header: PullMessageHeader) -> TopicConfig:
        topic = self._topics.get(header.topic)
        if topic is None:
            raise Reject(ResponseCode.TOPIC_NOT_EXIST, f"topic[{header.topic}] not exist, apply first please!")
        if not topic.perm & PermName.READ:
            raise _forbidden(Forbidden.TOPIC, f"the topic[{header.topic}] is not readable")
        if not 0 <= header.queue_id < topic.read_queue_nums:
            raise Reject(
                ResponseCode.INVALID_PARAMETER,
                f"queueId[{header.queue_id}] is illegal, topic[{header.topic}] has {topic.read_queue_nums} read queues",
            )
        return topic

    def _filter(self, request: PullRequest, broadcast_enabled: bool) -> frozenset[int] | None:
        header = request.header
        if header.sys_flag & PullSysFlag.SUBSCRIPTION:
            return _codes_of(header.subscription, header.expression_type)
        subscription = self._registered(request, broadcast_enabled)
        return _codes(subscription)

    def _registered(self, request: PullRequest, broadcast_enabled: bool) -> SubscriptionData:
        """What the puller's heartbeat subscribed to."""
        header = request.header
        group = self._consumers.get(header.consumer_group)
        if group is None:
            raise Reject(
                ResponseCode.SUBSCRIPTION_NOT_EXIST, f"the consumer's group info not exist, {header.consumer_group}"
            )
        if group.is_broadcasting and not broadcast_enabled:
            raise _forbidden(Forbidden.BROADCASTING, f"the group[{header.consumer_group}] may not broadcast")
        if self._groups.is_forbidden(header.consumer_group, header.topic):
            raise _forbidden(
                Forbidden.SUBSCRIPTION, f"the group[{header.consumer_group}] may not read topic[{header.topic}]"
            )
        subscription = group.subscription(header.topic, request.peer)
        if subscription is None:
            raise Reject(
                ResponseCode.SUBSCRIPTION_NOT_EXIST,
                f"the consumer's subscription not exist, group: {header.consumer_group}, topic: {header.topic}",
            )
        if subscription.sub_version < header.sub_version:
            raise Reject(
                ResponseCode.SUBSCRIPTION_NOT_LATEST,
                f"the consumer's subscription not latest, group: {header.consumer_group}, topic: {header.topic}",
            )
        return subscription


def _codes(subscription: SubscriptionData) -> frozenset[int] | None:
    """The tag hashes of a subscription, None for all."""
    if subscription.expression_type not in (ExpressionType.TAG, ""):
        raise Reject(
            ResponseCode.SYSTEM_ERROR,
            f"The broker does not support consumer to filter message by {subscription.expression_type}",
        )
    return frozenset(subscription.code_set) if subscription.code_set else None


@lru_cache(maxsize=1024)
def _codes_of(expression: str | None, expression_type: str | None) -> frozenset[int] | None:
    """`_codes` of an expression that came with the pull, as it does with every one."""
    return _codes(SubscriptionData.of("", expression, 0, expression_type))


def _code_of(result: GetResult, asked: int) -> ResponseCode:
    if result.status in _NO_QUEUE:
        return ResponseCode.PULL_NOT_FOUND if asked == 0 else ResponseCode.PULL_OFFSET_MOVED
    return _CODES[result.status]


def _forbidden(kind: int, remark: str) -> Reject:
    return Reject(ResponseCode.NO_PERMISSION, remark, {"forbiddenType": str(kind)})
