"""Consumer offsets and the bounds of queues.

Source: apache/rocketmq: remoting/.../protocol/header/QueryConsumerOffsetRequestHeader.java and its neighbours
"""

from protocol.codes import RequestCode
from protocol.header import Header, Int32, Int64
from protocol.request import request_spec


class QueryConsumerOffsetHeader(Header, kw_only=True):
    """set_zero_if_not_found: false makes the broker answer QUERY_NOT_FOUND instead of guessing 0."""

    consumer_group: str
    topic: str
    queue_id: Int32
    set_zero_if_not_found: bool | None = None


class OffsetReply(Header, kw_only=True):
    """A queue offset."""

    offset: Int64


class UpdateConsumerOffsetHeader(Header, kw_only=True):
    """commit_offset: the next queue offset that the group will consume. Both numbers are required by the handler."""

    consumer_group: str
    topic: str
    queue_id: Int32 | None = None
    commit_offset: Int64 | None = None


class SearchOffsetHeader(Header, kw_only=True):
    """timestamp: Unix milliseconds; boundary_type: LOWER (default) or UPPER."""

    topic: str
    queue_id: Int32
    timestamp: Int64
    boundary_type: str | None = None


class QueueHeader(Header, kw_only=True):
    """One queue of this broker."""

    topic: str
    queue_id: Int32


class TimestampReply(Header, kw_only=True):
    """Unix milliseconds, -1 for an empty queue."""

    timestamp: Int64


QUERY_CONSUMER_OFFSET = request_spec(RequestCode.QUERY_CONSUMER_OFFSET, QueryConsumerOffsetHeader, OffsetReply)
UPDATE_CONSUMER_OFFSET = request_spec(RequestCode.UPDATE_CONSUMER_OFFSET, UpdateConsumerOffsetHeader)
SEARCH_OFFSET_BY_TIMESTAMP = request_spec(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, SearchOffsetHeader, OffsetReply)
GET_MAX_OFFSET = request_spec(RequestCode.GET_MAX_OFFSET, QueueHeader, OffsetReply)
GET_MIN_OFFSET = request_spec(RequestCode.GET_MIN_OFFSET, QueueHeader, OffsetReply)
GET_EARLIEST_MSG_STORETIME = request_spec(RequestCode.GET_EARLIEST_MSG_STORETIME, QueueHeader, TimestampReply)
