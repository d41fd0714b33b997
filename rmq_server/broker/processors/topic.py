"""Creating and changing topics.

Source: apache/rocketmq: broker/.../processor/AdminBrokerProcessor.java, updateAndCreateTopic
"""

from collections.abc import Awaitable, Callable

from protocol import names
from protocol.bodies.topic_config import TopicConfig
from protocol.codes import ResponseCode
from protocol.flags import PermName
from protocol.headers.topic import UPDATE_AND_CREATE_TOPIC, CreateTopicHeader
from protocol.request import handles
from rmq_server.broker.topics import TopicTable
from rmq_server.core.errors import Reject
from rmq_server.net.peer import Reply
from rmq_server.net.router import Request

_FILTER_TYPES = ("SINGLE_TAG", "MULTI_TAG")
_MAX_QUEUES = 65_535


class TopicProcessor:
    """Changes the topics of this broker."""

    def __init__(self, topics: TopicTable, announce: Callable[[], Awaitable[None]]) -> None:
        self._topics = topics
        self._announce = announce

    @handles(UPDATE_AND_CREATE_TOPIC)
    async def update(self, request: Request[CreateTopicHeader]) -> Reply:
        """Create or change a topic; answered when it is on disk and the NameServers know it."""
        header = request.header
        _check(header)
        if self._topics.is_system(header.topic):
            raise Reject(ResponseCode.INVALID_PARAMETER, f"The topic[{header.topic}] is conflict with system topic.")
        existing = self._topics.get(header.topic)
        topic = TopicConfig(
            topic_name=header.topic,
            read_queue_nums=header.read_queue_nums,
            write_queue_nums=header.write_queue_nums,
            perm=header.perm,
            topic_filter_type=header.topic_filter_type,
            topic_sys_flag=header.topic_sys_flag or 0,
            order=header.order,
            attributes=_changed(existing.attributes if existing else {}, header.attributes or ""),
        )
        if await self._topics.store(topic):
            await self._announce()
        return Reply()


def _check(header: CreateTopicHeader) -> None:
    names.check_topic(header.topic)
    for name, count in (("readQueueNums", header.read_queue_nums), ("writeQueueNums", header.write_queue_nums)):
        if not 1 <= count <= _MAX_QUEUES:
            raise Reject(
                ResponseCode.INVALID_PARAMETER, f"the header field `{name}` is outside 1..{_MAX_QUEUES}: {count}"
            )
    if not 0 <= header.perm < PermName.PRIORITY:
        raise Reject(ResponseCode.INVALID_PARAMETER, f"the header field `perm` is outside 0..7: {header.perm}")
    if header.topic_filter_type not in _FILTER_TYPES:
        raise Reject(
            ResponseCode.INVALID_PARAMETER,
            f"the header field `topicFilterType` is neither SINGLE_TAG nor MULTI_TAG: {header.topic_filter_type}",
        )


def _changed(attributes: dict[str, str], changes: str) -> dict[str, str]:
    """Apply `+key=value,-key` to attributes."""
    result = dict(attributes)
    for change in filter(None, (part.strip() for part in changes.split(","))):
        key, separator, value = change[1:].partition("=")
        if change[0] == "+" and key and separator:
            result[key] = value
        elif change[0] == "-" and key and not separator:
            result.pop(key, None)
        else:
            raise Reject(
                ResponseCode.SYSTEM_ERROR, f"the header field `attributes` has {change!r}: write +key=value or -key"
            )
    return result
